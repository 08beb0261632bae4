"""The engines against a plain scan on real embeddings, repeated with jitter to size, one thread each.

OMP_NUM_THREADS=1 python benchmarks/engines.py MANIFEST [--sizes 1116,15000,130000] [--jitter 0.02]
Embeds the manifest with resnet-us first. kdtree-raw is left out above 20,000 rows.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from app.config import Settings
from app.indexes.registry import ENGINES, open_index
from app.library.manifest import read_manifest
from app.logs import configure_logs
from app.wiring import running_service

QUERIES, K = 60, 10


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--sizes", default="1116,15000,130000")
    parser.add_argument("--jitter", type=float, default=0.02)
    options = parser.parse_args()
    configure_logs("warning")
    vectors = embedded(options.manifest)
    print(f"median ms of {QUERIES} queries, {vectors.shape[1]} dimensions, jitter {options.jitter}\n")
    print(f"| rows | {' | '.join(ENGINES)} | plain scan |\n{'| --- ' * (len(ENGINES) + 2)}|")
    for size in (int(part) for part in options.sizes.split(",")):
        rng = np.random.default_rng(0)
        rows = vectors if size == len(vectors) else jittered(rng, vectors, size, options.jitter)
        medians = timed(rows, jittered(rng, vectors, QUERIES, options.jitter))
        print(f"| {size} | {' | '.join(medians)} |")


def embedded(manifest):
    with tempfile.TemporaryDirectory() as folder, running_service(Settings(data=Path(folder))) as service:
        service.importer.run("bench", read_manifest(manifest), allow_unmasked=True)
        return service.shelves.snapshot("bench", service.batcher.default).vectors


def jittered(rng, vectors, count, jitter):
    rows = vectors[rng.integers(0, len(vectors), count)] + jitter * rng.normal(size=(count, vectors.shape[1]))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def timed(rows, queries):
    engines = {name: open_index(name, rows) for name in ENGINES if name != "kdtree-raw" or len(rows) <= 20_000}
    searches = {name: lambda query, index=index: index.search(query, K) for name, index in engines.items()}
    searches["scan"] = lambda query: np.argpartition(-(rows @ query), K)[:K]
    times = {name: [] for name in searches}
    for query in queries:
        for name, search in searches.items():
            begin = time.perf_counter()
            search(query)
            times[name].append(time.perf_counter() - begin)
    return [f"{1000 * statistics.median(times[name]):.2f}" if name in times else "" for name in (*ENGINES, "scan")]


if __name__ == "__main__":
    main()
