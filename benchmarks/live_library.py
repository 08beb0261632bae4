"""How long until a reference that is added, relabelled or removed is seen by a search, in a library of many.

Also how much memory a process needs for what it knows of each reference besides its vector.

OMP_NUM_THREADS=1 python benchmarks/live_library.py [--rows 15000] [--dim 384] [--engine exact]
Synthetic vectors; without encoding, whose time belongs to the encoder.
"""

import argparse
import gc
import statistics
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np

from app.domain import ImageFacts, Labels
from app.library.catalogue import Catalogue
from app.library.database import open_database
from app.library.files import FrameFiles
from app.library.reference import NewReference, NewVector
from app.logs import configure_logs
from app.search.answer import EncoderInfo, Wish
from app.search.index_makers import LocalIndexes
from app.search.ranking import rank
from app.search.shelves import Shelves
from app.search.snapshot import rows_of, snapshot_of

ORGANS = [f"organ-{number}" for number in range(15)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=15_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--engine", default="exact")
    parser.add_argument("--changes", type=int, default=30)
    options = parser.parse_args()
    configure_logs("warning")
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options)


def measure(folder, options):
    catalogue = Catalogue(open_database(f"sqlite:///{folder}/library.db"), FrameFiles(folder / "frames"))
    catalogue.put_library("bench")
    rng = np.random.default_rng(0)
    fill(catalogue, rng, options)
    encoder = EncoderInfo("bench", "sha256:bench", options.dim, "fp32")
    shelves = Shelves(catalogue, LocalIndexes(options.engine))
    seconds = {name: [] for name in ("load, plain scan", "engine built", "add", "relabel", "remove")}

    query = np.full(options.dim, options.dim**-0.5, dtype=np.float32)

    def timed(name, action):
        begin = time.perf_counter()
        found = action()
        seconds[name].append(time.perf_counter() - begin)
        return found

    def seen():
        snapshot = shelves.snapshot("bench", encoder)
        rank(snapshot, query, Wish())

    print(f"memory of a reference besides its vector: {memory_each(catalogue):.0f} bytes\n")
    timed("load, plain scan", lambda: shelves.snapshot("bench", encoder))
    timed("engine built", shelves.settle)
    for number in range(options.changes):
        item = reference(rng, options.rows + number, options.dim)
        (key,) = timed("add", lambda item=item: (catalogue.add("bench", [item]), seen())[0])
        timed("relabel", lambda key=key: (catalogue.update(key, Labels(organ="other"), {}), seen()))
        timed("remove", lambda key=key: (catalogue.remove([key]), seen()))
    print(f"{options.rows} references of {options.dim} dimensions, {options.engine}, ms until a search sees it\n")
    print("| what | median ms | slowest ms |\n| --- | --- | --- |")
    for name, values in seconds.items():
        print(f"| {name} | {1000 * statistics.median(values):.1f} | {1000 * max(values):.1f} |")
    shelves.close()


def memory_each(catalogue):
    """As of the engine qdrant, which keeps no vectors in the service: bytes that Python and NumPy hold in the end."""
    tracemalloc.start()
    info, shelf = catalogue.embeddings.shelf("bench", "sha256:bench", with_vectors=False)
    snapshot = snapshot_of(rows_of(info, "bench", "sha256:bench", 0, shelf), shelf, None)
    del shelf
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / snapshot.size


def fill(catalogue, rng, options):
    for start in range(0, options.rows, 500):
        count = min(500, options.rows - start)
        catalogue.add("bench", [reference(rng, start + number, options.dim) for number in range(count)])


def reference(rng, number, dim):
    vector = rng.normal(size=dim) * np.arange(1, dim + 1) ** -0.5
    return NewReference(
        facts=ImageFacts(sha256=f"{number:064x}", format="png", width=640, height=480),
        frame_digest="sha256:frame",
        labels=Labels(organ=ORGANS[number % 15], organ_group="group", diagnoses=("normal",)),
        attributes={"device": "E6", "trimester": "2"},
        external_id=f"case-{number}",
        patient_key=f"{number // 3:064x}",
        png=b"",
        canvas=np.zeros((256, 256), dtype=np.uint8),
        histogram=np.zeros(256, dtype=np.int64),
        fingerprint=f"{rng.integers(2**63):016x}",
        vectors=(NewVector("bench", "sha256:bench", (vector / np.linalg.norm(vector)).astype(np.float32)),),
    )


if __name__ == "__main__":
    main()
