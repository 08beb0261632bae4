"""Vectors to search in: synthetic ones, and real embeddings repeated to size."""

from __future__ import annotations

import secrets
from pathlib import Path

import numpy as np

from app.domain import Vectors
from app.errors import BadInput

DATA = ("synthetic", "real", "real-isotropic")
_CLUSTERS, _DECAY, _WITHIN = 40, 0.5, 0.7
"""Clusters that overlap: SciPy's KD-tree visits nearly all vectors of 384 dimensions, as it does with embeddings."""

_CHUNK = 65_536
_NEIGHBOURS = 10
_SHARE = 0.5
"""Of the differences between nearest neighbours: so many near-duplicates come closer to each other than images do."""

_ISOTROPIC = 0.02  # a dimension


def make_vectors(data: str, n: int, dim: int, real: Vectors | None, seed: int) -> Vectors:
    """Unit vectors (n, dim) of one of DATA; the real kinds repeat ``real``, of whose length they are."""
    rng = np.random.default_rng(seed)
    if data == "synthetic":
        return _synthetic(n, dim, rng)
    if real is None:
        raise ValueError(f"{data} needs embeddings")
    return _repeated(real, n, rng, isotropic=data == "real-isotropic")


def _synthetic(n: int, dim: int, rng: np.random.Generator) -> Vectors:
    """Clusters whose centres and members have a power-law spectrum, as the embeddings of networks do."""
    spectrum = (np.arange(1, dim + 1) ** -_DECAY).astype(np.float32)
    centres = rng.standard_normal((_CLUSTERS, dim), np.float32) * spectrum
    vectors = np.empty((n, dim), np.float32)
    for start in range(0, n, _CHUNK):
        count = min(_CHUNK, n - start)
        noise = rng.standard_normal((count, dim), np.float32) * spectrum
        vectors[start : start + count] = _unit(centres[rng.integers(0, _CLUSTERS, count)] + _WITHIN * noise)
    return vectors


def _repeated(real: Vectors, n: int, rng: np.random.Generator, *, isotropic: bool) -> Vectors:
    """Real embeddings, drawn with repetition and each moved a little.

    The jitter of ``real`` has the covariance of the differences between each embedding and its nearest neighbours,
    and half their size: images of a larger library differ in what images differ in. Isotropic jitter moves every
    dimension alike, also those in which no two images differ.
    """
    differences = None if isotropic else _neighbour_differences(real)
    vectors = np.empty((n, real.shape[1]), np.float32)
    for start in range(0, n, _CHUNK):
        count = min(_CHUNK, n - start)
        jitter = _jitter(rng, count, real.shape[1], differences)
        vectors[start : start + count] = _unit(real[rng.integers(0, len(real), count)] + jitter)
    return vectors


def _jitter(rng: np.random.Generator, count: int, dim: int, differences: Vectors | None) -> Vectors:
    if differences is None:
        return np.float32(_ISOTROPIC) * rng.standard_normal((count, dim), np.float32)
    root = np.linalg.qr(differences, mode="r") * (_SHARE * len(differences) ** -0.5)
    jitter: Vectors = rng.standard_normal((count, len(root)), np.float32) @ root.astype(np.float32)
    return jitter


def _neighbour_differences(real: Vectors) -> Vectors:
    """From every embedding to each of its nearest neighbours: (10 n, dim)."""
    products = real @ real.T
    np.fill_diagonal(products, -2)
    near = np.argsort(-products, axis=1)[:, :_NEIGHBOURS]
    differences: Vectors = (real[near] - real[:, None]).reshape(-1, real.shape[1])
    return differences


def _unit(rows: Vectors) -> Vectors:
    unit: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def embedded(manifest: Path, encoder: str, models: Path) -> Vectors:
    """Embeddings (n, dim) of the images of a manifest; those that cannot be used are left out."""
    from app.encoders.base import embed
    from app.encoders.registry import open_encoder
    from app.encoders.weights import WeightStore
    from app.images.deidentify import Keyer
    from app.images.reader import read_frame
    from app.library.manifest import read_manifest

    opened, keyer = open_encoder(encoder, WeightStore(models)), Keyer(secrets.token_bytes(32))
    vectors: list[Vectors] = []
    for row in read_manifest(manifest).rows:
        try:
            frame = read_frame(row.path.read_bytes(), keyer=keyer, frame=row.frame, region=row.region)
            vectors.append(embed(opened, [frame]))
        except (BadInput, OSError):
            continue
    if len(vectors) <= _NEIGHBOURS:
        raise BadInput(
            "too_few_images",
            f"{len(vectors)} images of the manifest could be embedded",
            hint=f"name a manifest with more than {_NEIGHBOURS} images that the encoder accepts",
        )
    return np.concatenate(vectors)
