"""Trees over the leading principal components; over all dimensions as in the paper where that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain import Vectors
from app.indexes.base import Hits, Mask
from app.indexes.bound import PrincipalBound
from app.indexes.measure import kth_square, nearest
from app.indexes.sieve import Sieve

_SPARE = 8  # rows asked for beyond k: the query itself and a few of its patient are often left out
_TIE = 1e-9  # of a squared distance: trees round in float64
_MANY = 4  # times k candidates are worth a second look
_FEW = 32  # a filter that lets through one row in so many is faster gone through than met in a tree
_COMPONENTS = 12
"""In more dimensions a tree visits nearly every point; in fewer, nearly every point is a candidate."""

_SIEVED = 64

Rows = NDArray[np.int64]


class Tree(Protocol):
    """What of SciPy's and scikit-learn's trees is used, in float64."""

    def first(self, point: Vectors, count: int) -> tuple[NDArray[np.float64], Rows]:
        """The distances and rows of the ``count`` points nearest to one (dimensions,), nearest first."""
        ...

    def within(self, point: Vectors, radius: float) -> Rows:
        """The rows of all points within a radius, in any order."""
        ...


class _Reduced(NamedTuple):
    """How a tree over principal components is asked, and what is done with its many candidates."""

    bound: PrincipalBound
    sieve: Sieve
    longest: float

    def point(self, query: Vectors) -> tuple[Vectors, float]:
        """The query among the tree's points, and how far its squared distances may be off."""
        point = self.bound.ask(query).factors[:-1]
        length = float(point.astype(np.float64) @ point)
        return point, self.bound.error * (self.longest + length)


class TreeIndex:
    """A tree that is asked twice: for about k points, then for all that can be as near as the k-th of them.

    Its distances are lower bounds of the true ones (PrincipalBound); with ``components=0`` the tree holds whole
    vectors and they are the true ones. It knows no filters: rows that are not allowed are passed over.
    """

    engine: str
    exact = True

    def __init__(self, vectors: Vectors, components: int = _COMPONENTS) -> None:
        self._vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self._reduced: _Reduced | None = None
        if len(vectors):
            points = self._vectors if components == 0 else self._reduce(min(components, vectors.shape[1]))
            self._tree = self.plant(points)

    def _reduce(self, components: int) -> Vectors:
        whole = PrincipalBound.fit(self._vectors)
        bound, sieved = whole.first(components), whole.first(min(_SIEVED, whole.components))
        projected = sieved.project(self._vectors)
        points = bound.fold(projected) if components <= sieved.components else bound.project(self._vectors)
        longest = float(np.einsum("ij,ij->i", points, points, dtype=np.float64).max())
        self._reduced = _Reduced(bound, Sieve(sieved, self._vectors, projected), longest)
        return points

    def __len__(self) -> int:
        return len(self._vectors)

    def plant(self, points: Vectors) -> Tree:
        """Build the tree over points (n, dimensions)."""
        raise NotImplementedError

    def search(self, query: Vectors, k: int, allowed: Mask | None = None) -> Hits:
        """The nearest allowed rows of one query vector (dim,)."""
        seen = len(self) if allowed is None else int(np.count_nonzero(allowed))
        k = min(k, seen)
        if k == 0:
            return Hits(np.empty(0, np.int64), np.empty(0, np.float64))
        query = query.astype(np.float32, copy=False)
        if allowed is not None and seen * _FEW < len(self):
            candidates: Rows = np.flatnonzero(allowed)
        else:
            candidates = self._candidates(query, k, allowed)
        if self._reduced and len(candidates) > _MANY * k:
            candidates = self._reduced.sieve.pass_on(query, candidates, k)
        return nearest(query, self._vectors, candidates, k)

    def search_many(self, queries: Vectors, k: int, allowed: Sequence[Mask | None] | None = None) -> list[Hits]:
        """The nearest rows of each of several query vectors (q, dim), each with its own ``allowed``."""
        masks = allowed or [None] * len(queries)
        return [self.search(query, k, mask) for query, mask in zip(queries, masks, strict=True)]

    def _candidates(self, query: Vectors, k: int, allowed: Mask | None) -> Rows:
        point, error = self._reduced.point(query) if self._reduced else (query, _TIE)
        bounds, near = self._near(point, k, allowed)
        farthest = kth_square(query, self._vectors, near, k) + error
        if bounds[-1] ** 2 > farthest or len(bounds) == len(self):  # all others lie beyond the last
            return near
        return _seen(self._tree.within(point, float(np.sqrt(farthest)) + _TIE), allowed)

    def _near(self, point: Vectors, k: int, allowed: Mask | None) -> tuple[NDArray[np.float64], Rows]:
        """The tree's first points, at least k of them allowed; the bounds are of all, the rows of those allowed."""
        fetch = k + _SPARE
        while True:
            bounds, rows = self._tree.first(point, min(fetch, len(self)))
            near = _seen(rows, allowed)
            if len(near) >= k:
                return bounds, near
            fetch *= 2


def _seen(rows: Rows, allowed: Mask | None) -> Rows:
    return rows if allowed is None else rows[allowed[rows]]


class KDTreeIndex(TreeIndex):
    """SciPy's KD-tree."""

    engine = "kdtree"

    def plant(self, points: Vectors) -> Tree:
        """Build the tree over points (n, dimensions)."""
        return _KDTree(points)


class BallTreeIndex(TreeIndex):
    """scikit-learn's ball tree."""

    engine = "balltree"

    def plant(self, points: Vectors) -> Tree:
        """Build the tree over points (n, dimensions)."""
        return _BallTree(points)


class RawKDTreeIndex(KDTreeIndex):
    """The paper's KD-tree, over all dimensions."""

    engine = "kdtree-raw"

    def __init__(self, vectors: Vectors) -> None:
        super().__init__(vectors, components=0)


class _KDTree:
    def __init__(self, points: Vectors) -> None:
        from scipy.spatial import KDTree

        self._tree = KDTree(points)

    def first(self, point: Vectors, count: int) -> tuple[NDArray[np.float64], Rows]:
        distances, rows = self._tree.query(point, k=np.arange(1, count + 1))
        return distances, rows.astype(np.int64)

    def within(self, point: Vectors, radius: float) -> Rows:
        return np.asarray(self._tree.query_ball_point(point, radius), np.int64)


class _BallTree:
    def __init__(self, points: Vectors) -> None:
        from sklearn.neighbors import BallTree

        self._tree = BallTree(points)

    def first(self, point: Vectors, count: int) -> tuple[NDArray[np.float64], Rows]:
        distances, rows = self._tree.query(point[None], k=count)
        return distances[0], rows[0]

    def within(self, point: Vectors, radius: float) -> Rows:
        rows: Rows = self._tree.query_radius(point[None], radius)[0]
        return rows
