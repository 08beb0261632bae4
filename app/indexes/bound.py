"""Lower bounds of distances from a few principal components, so that few vectors need to be measured whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from app.domain import Vectors

_UNIT = 2.0**-24  # the relative rounding error of float32
_CHUNK = 8192  # rows that are taken to float64 at once

Floats = NDArray[np.float64]


class Asked(NamedTuple):
    """A query as coefficients are multiplied with, and what its length adds to every bound.

    For the coefficients c of a row, c · ``factors`` + ``own`` does not exceed the squared distance.
    """

    factors: Vectors
    own: float

    def limit(self, square: float) -> np.float32:
        """What c · factors cannot be above for a row within a squared distance; rounded up."""
        above: np.float32 = np.nextafter(np.float32(square - self.own), np.float32(np.inf))
        return above


@dataclass(frozen=True, slots=True)
class PrincipalBound:
    """A rotation to m principal components (Pearson 1901) and the length of what they leave over.

    With x and q centred, h the first m components and r the length of the rest,
    |x - q|² >= |h_x - h_q|² + (r_x - r_q)²: the rests of two vectors can at best point the same way.
    Both sides carry rounding errors; ``error`` is a factor g with |computed - true| <= g (|x|² + |q|²), so a bound
    that is lowered by it never exceeds the true distance.
    """

    centre: Vectors
    axes: Floats

    @classmethod
    def fit(cls, vectors: Vectors, components: int | None = None) -> Self:
        """The rotation of some vectors (n, dim), n > 0, to ``components`` (default: all)."""
        centre = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        return cls(centre, _principal_axes(vectors, centre)).first(components or vectors.shape[1])

    def first(self, components: int) -> Self:
        """The same rotation with fewer components."""
        return type(self)(self.centre, np.ascontiguousarray(self.axes[:, :components]))

    @property
    def components(self) -> int:
        """How many components are kept."""
        return int(self.axes.shape[1])

    @property
    def error(self) -> float:
        """The factor g of the rounding error, for sums of m + 2 float32 products in any order."""
        return 4 * (self.components + 16) * _UNIT

    def project(self, vectors: Vectors) -> Vectors:
        """Vectors (n, dim) as h and r: float32 (n, m + 1)."""
        projected = np.empty((len(vectors), self.components + 1), np.float32)
        for start in range(0, len(vectors), _CHUNK):
            # Centred in float32, which rounds each difference once; all else in float64, rounded at the end.
            centred = (vectors[start : start + _CHUNK] - self.centre).astype(np.float64)
            head = centred @ self.axes
            rest = np.einsum("ij,ij->i", centred, centred) - np.einsum("ij,ij->i", head, head)
            projected[start : start + _CHUNK, :-1] = head
            projected[start : start + _CHUNK, -1] = np.sqrt(np.maximum(rest, 0.0))
        return projected

    def fold(self, projected: Vectors) -> Vectors:
        """What ``project`` would give, from vectors that were projected to more components of the same rotation."""
        rest = projected[:, self.components :]
        lengths = np.sqrt(np.einsum("ij,ij->i", rest, rest, dtype=np.float64)).astype(np.float32)
        return np.column_stack([projected[:, : self.components], lengths])

    def coefficients(self, projected: Vectors) -> Vectors:
        """What a query is multiplied with: -2 h, -2 r and the lowered squared length, float32 (n, m + 2)."""
        lengths = (1 - self.error) * np.einsum("ij,ij->i", projected, projected, dtype=np.float64)
        return np.column_stack([-2 * projected, lengths.astype(np.float32)])

    def ask(self, query: Vectors) -> Asked:
        """One query (dim,), ready for coefficients."""
        centred = (query - self.centre).astype(np.float64)
        head = centred @ self.axes
        factors = np.ones(self.components + 2, np.float32)
        factors[:-2] = head
        factors[-2] = np.sqrt(max(float(centred @ centred - head @ head), 0.0))
        point = factors[:-1].astype(np.float64)
        return Asked(factors, (1 - self.error) * float(point @ point))


def _principal_axes(vectors: Vectors, centre: Vectors) -> Floats:
    """Orthonormal axes (dim, dim), those of the largest variance first."""
    step = max(1, len(vectors) // 65_536)  # more rows would not turn the axes
    covariance = np.zeros((vectors.shape[1],) * 2)
    for start in range(0, len(vectors), _CHUNK * step):
        chunk = vectors[start : start + _CHUNK * step : step] - centre
        covariance += chunk.T @ chunk
    return np.ascontiguousarray(np.linalg.eigh(covariance)[1][:, ::-1])
