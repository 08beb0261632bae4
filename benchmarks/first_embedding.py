"""Seconds from the start of a process to its first embedding, and its peak memory.

python benchmarks/first_embedding.py [--encoder resnet-us] [--runs 5]
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time

import numpy as np


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="resnet-us")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--born", type=float, help="of the measured process: when it was started")
    options = parser.parse_args()
    if options.born:
        embed_once(options.encoder)
        print(time.time() - options.born, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    rows = [run(options.encoder) for _ in range(options.runs)]
    seconds, megabytes = zip(*rows, strict=True)
    print(
        f"{options.encoder}: {min(seconds):.2f} to {max(seconds):.2f} s to the first embedding, median "
        f"{statistics.median(seconds):.2f} s; peak {max(megabytes):.0f} MB"
    )


def run(encoder):
    command = [sys.executable, __file__, "--encoder", encoder, "--born", str(time.time())]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return tuple(float(part) for part in done.stdout.split())


def embed_once(name):
    from app.config import Settings
    from app.domain import Frame, ImageFacts
    from app.encoders.base import embed
    from app.encoders.registry import open_encoder
    from app.encoders.weights import WeightStore

    ramp = np.tile(np.arange(640, dtype=np.uint16) // 3, (480, 1)).astype(np.uint8)
    encoder = open_encoder(name, WeightStore(Settings().models_dir))
    embed(encoder, [Frame(ramp, ImageFacts(sha256="", format="png", width=640, height=480))])


if __name__ == "__main__":
    main()
