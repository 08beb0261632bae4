"""SciPy's KD-tree, as in the paper."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from app.domain import Vectors
from app.indexes.base import Hits, Mask, nearest_first

_TIE = 1e-9
_SPARE = 8  # rows asked for beyond k: the query itself and a few of its patient are often left out


class KDTreeIndex:
    """A KD-tree over all dimensions.

    The tree knows no filters: it is asked for more and more rows until k allowed ones are among them
    and the last is farther than the k-th, so that ties are broken by row number and not by the tree.
    """

    engine = "kdtree"
    exact = True

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self._tree = KDTree(self._vectors) if len(vectors) else None

    def __len__(self) -> int:
        return len(self._vectors)

    def search(self, query: Vectors, k: int, allowed: Mask | None = None) -> Hits:
        """The nearest allowed rows of one query vector (dim,)."""
        k = min(k, len(self) if allowed is None else int(np.count_nonzero(allowed)))
        if k == 0:
            return Hits(np.empty(0, np.int64), np.empty(0, np.float64))
        return nearest_first(query, self._vectors, self._candidates(query, k, allowed), k)

    def _candidates(self, query: Vectors, k: int, allowed: Mask | None) -> NDArray[np.int64]:
        assert self._tree is not None
        fetch = k + _SPARE
        while True:
            fetch = min(fetch, len(self))
            distances, rows = self._tree.query(query, k=np.arange(1, fetch + 1))
            rows = rows.astype(np.int64)
            kept = np.arange(fetch) if allowed is None else np.flatnonzero(allowed[rows])
            beyond_ties = len(kept) >= k and distances[-1] > distances[kept[k - 1]] + _TIE
            if fetch == len(self) or beyond_ties:
                return np.asarray(rows[kept], dtype=np.int64)
            fetch *= 2
