"""The referee: a scan of every vector."""

import numpy as np

from app.domain import Vectors
from app.indexes.base import Hits, Mask, nearest_first

# Cosines of unit vectors summed in float32 are off by less than this at any length we know (<= 1792).
_COSINE_ERROR = 1e-5


class ExactIndex:
    """One float32 matrix-vector product, then float64 distances of all that could be among the nearest."""

    engine = "exact"
    exact = True

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = np.ascontiguousarray(vectors, dtype=np.float32)

    def __len__(self) -> int:
        return len(self._vectors)

    def search(self, query: Vectors, k: int, allowed: Mask | None = None) -> Hits:
        """The nearest allowed rows of one query vector (dim,)."""
        rows = np.arange(len(self)) if allowed is None else np.flatnonzero(allowed)
        k = min(k, len(rows))
        if k == 0:
            return Hits(np.empty(0, np.int64), np.empty(0, np.float64))
        cosines = (self._vectors @ query.astype(np.float32))[rows]
        floor = np.partition(cosines, len(rows) - k)[len(rows) - k] - 2 * _COSINE_ERROR
        return nearest_first(query, self._vectors, rows[cosines >= floor], k)
