"""Where the time of a forward pass goes: torch's operators by their own time.

python benchmarks/profile_encoder.py [--encoder dinov2-vits14] [--precision fp32] [--batch 8]
Random weights where none are installed. On one thread, so that the time of an operator is that of its work.
"""

import argparse

import numpy as np
from torch.profiler import ProfilerActivity, profile

from app.config import Settings
from app.encoders.device import choose_placement
from app.encoders.random_weights import RandomWeights
from app.encoders.registry import open_folder
from app.encoders.weights import WeightStore

RUNS, SHOWN = 3, 8


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="dinov2-vits14")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()
    found = WeightStore(Settings().models_dir).find(options.encoder)
    folder = found if found.installed else RandomWeights(found.folder, found.manifest)
    encoder = open_folder(folder, choose_placement("cpu", options.precision, 1))
    size = found.manifest.preprocess["size"]
    batch = np.random.default_rng(0).normal(size=(options.batch, 3, size, size)).astype(np.float32)
    encoder.core(batch)
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        for _ in range(RUNS):
            encoder.core(batch)
    rows = sorted(trace.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in rows)
    print(
        f"{options.encoder} {options.precision}, batch {options.batch}: "
        f"{total / RUNS / options.batch / 1000:.1f} ms an image on one thread"
    )
    for row in rows[:SHOWN]:
        print(f"{row.self_cpu_time_total / total:6.1%}  {row.key}")


if __name__ == "__main__":
    main()
