"""The scan: a bound for every vector, whole distances for the few that it leaves."""

import numpy as np
from numpy.typing import NDArray

from app.domain import Vectors
from app.indexes.base import Hits, Mask, nearest_first, squared_distances
from app.indexes.bound import PrincipalBound

_BLOCK = 64
"""Rows of which the nearest is looked at first; a first guess of the k nearest comes from different blocks."""


class ExactIndex:
    """One small matrix-vector product over the leading principal components, then float64 distances.

    The bounds of all rows come out of a single product: a row holds -2 h, -2 r and its own length, see
    PrincipalBound for h and r. Some of the lowest bounds give a distance that the k-th nearest cannot exceed; only
    rows whose bound is not above it are measured. Nothing is approximate: a row that is left out is farther.
    """

    engine = "exact"
    exact = True

    def __init__(self, vectors: Vectors, components: int | None = None) -> None:
        self._vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        if len(vectors):
            self._bound = PrincipalBound.build(self._vectors, components)
            table, error = self._bound.table, self._bound.error
            lengths = (1 - error) * np.einsum("ij,ij->i", table, table, dtype=np.float64)
            self._rows = np.ascontiguousarray(np.column_stack([-2 * table, lengths.astype(np.float32)]))

    def __len__(self) -> int:
        return len(self._vectors)

    def search(self, query: Vectors, k: int, allowed: Mask | None = None) -> Hits:
        """The nearest allowed rows of one query vector (dim,)."""
        k = min(k, len(self) if allowed is None else int(np.count_nonzero(allowed)))
        if k == 0:
            return Hits(np.empty(0, np.int64), np.empty(0, np.float64))
        bounds, own = self._bounds(query.astype(np.float32))
        if allowed is not None:
            bounds[~allowed] = np.inf
        farthest = self._kth_distance(query, _lowest(bounds, k), k)
        candidates = np.flatnonzero(bounds <= _up(farthest - own))
        if len(candidates) > 8 * k:  # the guess was loose: measure the best of them, then look again
            nearest = candidates[np.argpartition(bounds[candidates], 4 * k)[: 4 * k]]
            farthest = min(farthest, self._kth_distance(query, nearest, k))
            candidates = candidates[bounds[candidates] <= _up(farthest - own)]
        return nearest_first(query, self._vectors, candidates, k)

    def _bounds(self, query: Vectors) -> tuple[Vectors, float]:
        """The bound of every row less a share of the query's own, and that share."""
        projected = self._bound.project(query[None])[0]
        own = (1 - self._bound.error) * float(projected.astype(np.float64) @ projected)
        return self._rows @ np.append(projected, np.float32(1)), own

    def _kth_distance(self, query: Vectors, rows: NDArray[np.int64], k: int) -> float:
        distances = squared_distances(query, self._vectors, rows)
        return float(np.partition(distances, k - 1)[k - 1])


def _lowest(bounds: Vectors, k: int) -> NDArray[np.int64]:
    """At least k rows that are allowed, most of them with low bounds: the lowest of the best blocks."""
    blocks = len(bounds) // _BLOCK
    if blocks >= 8 * k:
        whole = bounds[: blocks * _BLOCK].reshape(blocks, _BLOCK)
        lowest = whole.min(axis=1)
        best = np.argpartition(lowest, 4 * k)[: 4 * k]
        if np.isfinite(lowest[best]).sum() >= k:
            chosen = best[np.isfinite(lowest[best])]
            return np.asarray(chosen * _BLOCK + whole[chosen].argmin(axis=1), dtype=np.int64)
    # A small library, or a filter that leaves little of it.
    return np.argpartition(bounds, k - 1)[:k].astype(np.int64)


def _up(value: float) -> np.float32:
    """The next float32 above, so that rounding the limit leaves out nothing."""
    above: np.float32 = np.nextafter(np.float32(value), np.float32(np.inf))
    return above
