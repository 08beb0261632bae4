"""Small grounds and rankings with known answers."""

import numpy as np

from app.evaluation.ground import Contestant, Ground
from app.evaluation.protocol import K, Protocol, Ranked
from app.library.embeddings import Shelf
from app.library.reference import LibraryInfo
from app.search.snapshot import build_snapshot


def make_ground(labels, vectors=None, patients=None) -> tuple[Ground, Contestant]:
    n = len(labels)
    if vectors is None:
        vectors = unit(np.random.default_rng(0).normal(size=(n, 8)))
    shelf = Shelf(
        ids=[f"id-{row:04}" for row in range(n)],
        vectors=vectors,
        external_ids=[f"case-{row}" if row % 2 else None for row in range(n)],
        labels=list(labels),
        attributes=[{}] * n,
        patient_keys=patients or [f"p{row}" for row in range(n)],
        frame_digests=["sha256:frame"] * n,
        fingerprints=[f"{(row * 0x9E3779B97F4A7C15) % 2**64:016x}" for row in range(n)],
    )
    snapshot = build_snapshot(LibraryInfo("made", 1, n, "uid"), "sha256:x", shelf, "exact")
    return Ground.of(snapshot), Contestant("made-encoder", "sha256:x", snapshot)


def unit(vectors) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def ranked(ground, kind, neighbours, contestant="made-encoder") -> Ranked:
    """From query -> its neighbours, for every row that is annotated with the kind."""
    gallery = ground.annotated(kind)
    queries = np.flatnonzero(gallery)
    rows = np.full((len(queries), K), -1)
    for place, query in enumerate(queries.tolist()):
        found = neighbours[query]
        rows[place, : len(found)] = found
    distances = np.where(rows >= 0, np.arange(K) / 10.0, np.nan)
    visible = np.full(len(queries), len(queries) - 1)
    return Ranked(contestant, Protocol.PAPER, kind, queries, gallery, rows, distances, visible)


def all_but(ground, kind, missed, contestant="made-encoder") -> Ranked:
    """Every query finds all others of the gallery but those it misses."""
    gallery = np.flatnonzero(ground.annotated(kind)).tolist()
    found = {query: [row for row in gallery if row not in (query, *missed[query])] for query in gallery}
    assert all(len(rows) == K for rows in found.values())
    return ranked(ground, kind, found, contestant)
