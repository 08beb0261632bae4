"""Small shelves with known answers."""

import numpy as np

from app.domain import Labels
from app.library.embeddings import Shelf
from app.library.reference import LibraryInfo
from app.search.snapshot import Snapshot, build_snapshot


def angles(*degrees: float) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def make_snapshot(vectors, organs, patients, fingerprints=None, devices=None, engine="exact") -> Snapshot:
    n = len(vectors)
    shelf = Shelf(
        ids=[f"id-{row}" for row in range(n)],
        vectors=vectors,
        external_ids=[None] * n,
        labels=[Labels(organ=organ) for organ in organs],
        attributes=[{"device": device} for device in devices or ["E6"] * n],
        patient_keys=patients,
        frame_digests=["sha256:frame"] * n,
        fingerprints=fingerprints or [f"{(row * 0x9E3779B97F4A7C15) % 2**64:016x}" for row in range(n)],
    )
    return build_snapshot(LibraryInfo("fetal", 1, n, "uid"), "sha256:x", shelf, engine)
