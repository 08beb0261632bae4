"""Trees over the leading principal components; over all dimensions as in the paper where that is asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from app.domain import Vectors
from app.indexes.base import Hits, Mask, nearest_first, squared_distances
from app.indexes.bound import PrincipalBound

_TIE = 1e-9
_SPARE = 8  # rows asked for beyond k: the query itself and a few of its patient are often left out
_COMPONENTS = 12
"""In more dimensions a tree visits nearly every point; in fewer, nearly every point is a candidate."""

Ask = Callable[[Vectors, int], tuple[NDArray[np.float64], NDArray[np.int64]]]
"""A tree's own search: a query (dim,) and a count to distances and rows, nearest first."""


class TreeIndex:
    """A tree that is asked for more and more rows until no other can be among the k nearest.

    Its distances are lower bounds of the true ones, less ``error`` (PrincipalBound); with ``components=0`` the tree
    holds whole vectors and they are the true ones. It knows no filters: rows that are not allowed are passed over.
    """

    engine: str
    exact = True

    def __init__(self, vectors: Vectors, components: int | None = None) -> None:
        self._vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self._bound: PrincipalBound | None = None
        if len(vectors):
            points = self._vectors
            if components != 0:
                self._bound = PrincipalBound.build(points, min(components or _COMPONENTS, points.shape[1]))
                points = self._bound.table
            self._ask = self.plant(points)
            self._longest = float(np.square(points.astype(np.float64)).sum(axis=1).max())

    def __len__(self) -> int:
        return len(self._vectors)

    def plant(self, points: Vectors) -> Ask:
        """Build the tree over points (n, dimensions)."""
        raise NotImplementedError

    def search(self, query: Vectors, k: int, allowed: Mask | None = None) -> Hits:
        """The nearest allowed rows of one query vector (dim,)."""
        k = min(k, len(self) if allowed is None else int(np.count_nonzero(allowed)))
        if k == 0:
            return Hits(np.empty(0, np.int64), np.empty(0, np.float64))
        return nearest_first(query, self._vectors, self._candidates(query, k, allowed), k)

    def _candidates(self, query: Vectors, k: int, allowed: Mask | None) -> NDArray[np.int64]:
        point, error = self._point(query)
        fetch = k + _SPARE
        while True:
            fetch = min(fetch, len(self))
            bounds, rows = self._ask(point, fetch)
            kept = rows if allowed is None else rows[allowed[rows]]
            if fetch == len(self):
                return kept
            if len(kept) >= k:
                distances = squared_distances(query, self._vectors, kept)
                farthest = np.sqrt(np.partition(distances, k - 1)[k - 1]) + _TIE
                # What the tree did not give lies beyond its last bound.
                if bounds[-1] ** 2 - error > farthest**2:
                    return kept
            fetch *= 2

    def _point(self, query: Vectors) -> tuple[Vectors, float]:
        """The query as the tree's points are, and how far its squared distances may be off."""
        if self._bound is None:
            return query, 0.0
        point = self._bound.project(query[None])[0]
        length = float(point.astype(np.float64) @ point)
        return point, self._bound.error * (self._longest + length)


class KDTreeIndex(TreeIndex):
    """SciPy's KD-tree."""

    engine = "kdtree"

    def plant(self, points: Vectors) -> Ask:
        """Build the tree over points (n, dimensions)."""
        from scipy.spatial import KDTree

        tree = KDTree(points)

        def ask(point: Vectors, count: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
            distances, rows = tree.query(point, k=np.arange(1, count + 1))
            return distances, rows.astype(np.int64)

        return ask


class BallTreeIndex(TreeIndex):
    """scikit-learn's ball tree."""

    engine = "balltree"

    def plant(self, points: Vectors) -> Ask:
        """Build the tree over points (n, dimensions)."""
        from sklearn.neighbors import BallTree

        tree = BallTree(points)

        def ask(point: Vectors, count: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
            distances, rows = tree.query(point[None], k=count)
            return distances[0], rows[0]

        return ask


class RawKDTreeIndex(KDTreeIndex):
    """The paper's KD-tree, over all dimensions."""

    engine = "kdtree-raw"

    def __init__(self, vectors: Vectors) -> None:
        super().__init__(vectors, components=0)
