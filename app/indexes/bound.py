"""Lower bounds of distances from a few principal components, so that few vectors need to be measured whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app.domain import Vectors

_UNIT = 2.0**-24  # the relative rounding error of float32
_CHUNK = 8192  # rows that are taken to float64 at once
_PROBES = 32  # rows of the library that are asked for to choose the number of components
_SAMPLE = 4096  # rows on which their candidates are counted
_CHOICES = (8, 12, 16, 24, 32, 48, 64, 96)
_NEIGHBOURS = 10
_MEASURING = 6.0
"""Measuring a whole vector against scanning a number of the table, per number: gathered, in float64."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PrincipalBound:
    """A rotation by principal components (Pearson 1901) and what of each vector it leaves over.

    With x and q centred, h the first m components and r the length of the rest,
    |x - q|² >= |h_x - h_q|² + (r_x - r_q)²: the rests of two vectors can at best point the same way.
    ``table`` (n, m + 1) holds h and r as float32. Both sides carry rounding errors; ``error`` is a factor g with
    |computed - true| <= g (|x|² + |q|²), so a bound that is lowered by it never exceeds the true distance.
    """

    centre: Vectors
    axes: Floats
    table: Vectors

    @classmethod
    def build(cls, vectors: Vectors, components: int | None = None) -> Self:
        """The bound of some vectors (n, dim); without ``components`` the number that should be fastest."""
        centre = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        axes = _principal_axes(vectors, centre)
        if components is None:
            components = _fastest(vectors, centre, axes)
        axes = np.ascontiguousarray(axes[:, :components])
        chunks = (vectors[start : start + _CHUNK] for start in range(0, len(vectors), _CHUNK))
        return cls(centre, axes, np.concatenate([_projected(chunk, centre, axes) for chunk in chunks]))

    @property
    def components(self) -> int:
        """How many components are kept."""
        return int(self.axes.shape[1])

    @property
    def error(self) -> float:
        """The factor g of the rounding error, for sums of m + 2 float32 products in any order."""
        return 4 * (self.components + 16) * _UNIT

    def project(self, queries: Vectors) -> Vectors:
        """Queries (n, dim) as rows of the table (n, m + 1)."""
        return _projected(queries, self.centre, self.axes)


def _principal_axes(vectors: Vectors, centre: Vectors) -> Floats:
    """Orthonormal axes (dim, dim), those of the largest variance first."""
    step = max(1, len(vectors) // 65_536)  # more rows would not turn the axes
    covariance = np.zeros((vectors.shape[1],) * 2)
    for start in range(0, len(vectors), _CHUNK * step):
        chunk = vectors[start : start + _CHUNK * step : step] - centre
        covariance += chunk.T @ chunk
    return np.ascontiguousarray(np.linalg.eigh(covariance)[1][:, ::-1])


def _projected(vectors: Vectors, centre: Vectors, axes: Floats) -> Vectors:
    # Centred in float32, which rounds each difference once; all else in float64, rounded at the end.
    centred = (vectors - centre).astype(np.float64)
    head = centred @ axes
    rest = np.einsum("ij,ij->i", centred, centred) - np.einsum("ij,ij->i", head, head)
    return np.column_stack([head, np.sqrt(np.maximum(rest, 0.0))]).astype(np.float32)


def _fastest(vectors: Vectors, centre: Vectors, axes: Floats) -> int:
    """The number of components whose scan and candidates together cost least, tried on a sample."""
    count, dim = vectors.shape
    rng = np.random.default_rng(0)
    probes = vectors[rng.choice(count, min(_PROBES, count), replace=False)]
    sample = vectors[rng.choice(count, min(_SAMPLE, count), replace=False)]
    farthest = _kth_distances(vectors, probes, min(_NEIGHBOURS, count))

    def cost(components: int) -> float:
        rows, asked = (_projected(part, centre, axes[:, :components]) for part in (sample, probes))
        bounds = _squared_distances(rows, asked)
        candidates = count * float((bounds <= farthest).mean())
        return float(count * (components + 2) + _MEASURING * candidates * dim)

    choices: set[int] = {min(choice, dim) for choice in _CHOICES}
    return min(sorted(choices), key=cost)


def _kth_distances(vectors: Vectors, probes: Vectors, k: int) -> Floats:
    """The squared distance of each probe to its k-th nearest vector."""
    best = np.full((0, len(probes)), np.inf)
    for start in range(0, len(vectors), _CHUNK):
        distances = _squared_distances(vectors[start : start + _CHUNK], probes)
        best = np.sort(np.concatenate([best, distances]), axis=0)[:k]
    farthest: Floats = best[-1]
    return farthest


def _squared_distances(rows: Vectors, others: Vectors) -> Floats:
    """Of all pairs (rows, others), rounded: good enough to choose by."""
    products = (rows @ others.T).astype(np.float64)
    lengths = [np.einsum("ij,ij->i", part, part, dtype=np.float64) for part in (rows, others)]
    distances: Floats = np.maximum(lengths[0][:, None] + lengths[1] - 2 * products, 0.0)
    return distances
