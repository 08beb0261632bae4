"""Small grounds with patients, devices and near-duplicates, and rankings as one wants them."""

import numpy as np

from app.domain import Labels
from app.evaluation.ground import Contestant, Ground
from app.evaluation.protocol import K, Protocol, Ranked
from app.library.embeddings import Shelf
from app.library.reference import LibraryInfo
from app.search.snapshot import build_snapshot


def judged_ground(labels, vectors=None, *, patients="own", devices=None, fingerprints=None, seed=0):
    """A ground and its only contestant. ``labels`` are Labels or organs; patients None: there are none."""
    n = len(labels)
    labels = [one if isinstance(one, Labels) else Labels(organ=one) for one in labels]
    if vectors is None:
        vectors = unit(np.random.default_rng(seed).normal(size=(n, 8)))
    if isinstance(patients, str):
        patients = [f"p{row}" for row in range(n)]
    shelf = Shelf(
        ids=[f"id-{row:04}" for row in range(n)],
        vectors=vectors,
        external_ids=[None] * n,
        labels=labels,
        attributes=[{} if device is None else {"device": device} for device in devices or [None] * n],
        patient_keys=patients or [None] * n,
        frame_digests=["sha256:frame"] * n,
        fingerprints=fingerprints or far_apart(n),
    )
    snapshot = build_snapshot(LibraryInfo("made", 1, n, "uid"), "sha256:x", shelf, "exact")
    return Ground.of(snapshot), Contestant("encoder", "sha256:x", snapshot)


def far_apart(n):
    """Perceptual hashes of which no two are near-duplicates."""
    return [f"{((row + 1) * 0x9E3779B97F4A7C15) % 2**64:016x}" for row in range(n)]


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def angles(*degrees):
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def random_ground(n=300, classes=4, patients=90, *, devices=3, dim=6, pull=0.0, seed=0):
    """Images of random patients, devices and classes; vectors are drawn towards their class by ``pull``."""
    generator = np.random.default_rng(seed)
    organs = generator.integers(0, classes, n)
    vectors = generator.normal(size=(n, dim)) + pull * generator.normal(size=(classes, dim))[organs]
    return judged_ground(
        [Labels(organ=f"organ-{organ}", organ_group=f"group-{organ // 2}") for organ in organs],
        unit(vectors),
        patients=[f"p{one}" for one in generator.integers(0, patients, n)],
        devices=[f"device-{one}" for one in generator.integers(0, devices, n)],
    )


def hand_ranked(ground, kind, neighbours, protocol=Protocol.PAPER, visible=None):
    """The neighbours of each annotated row, as lists of rows."""
    gallery = ground.annotated(kind)
    queries = np.flatnonzero(gallery)
    rows = np.full((len(queries), K), -1)
    for place, query in enumerate(queries.tolist()):
        rows[place, : len(neighbours[query])] = neighbours[query]
    seen = np.full(len(queries), len(queries) - 1) if visible is None else np.asarray(visible)
    return Ranked("encoder", protocol, kind, queries, gallery, rows, np.where(rows < 0, np.nan, 0.1), seen)
