"""A library in Qdrant as an index of rows: ids are asked for in words, rows are measured here, in float64."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from app.domain import Vectors
from app.indexes.base import Hits, Sight
from app.indexes.qdrant import QdrantStore
from app.indexes.qdrant_points import Found, Place
from app.logs import get_logger

_log = get_logger("indexes")

_Rows = NDArray[np.int64]
_MARGIN = 32
"""So many more than k are fetched at least: distances in float32 may be out of order."""
_ROUNDING = 1e-5
_ROWS_AT_ONCE = 4_096
_MOST_TIES = 4_096
"""Beyond so many equal distances they are no longer fetched to be put in order of id."""


class QdrantIndex:
    """The rows of one snapshot, searched by Qdrant.

    ``row_of`` finds the row of every reference that can be found, ``vectors_of`` the vectors (n, dim) of some rows,
    infinities for those that have been removed meanwhile: these are left out.
    What Qdrant knows and the snapshot does not, or may not show, is passed over: so more is fetched until k are there.
    """

    engine = "qdrant"

    def __init__(
        self, store: QdrantStore, place: Place, row_of: Mapping[str, int], vectors_of: Callable[[_Rows], Vectors]
    ) -> None:
        self._store = store
        self._place = place
        self._row_of = row_of
        self._vectors_of = vectors_of
        settings = store.settings
        self.exact = settings.exact or len(row_of) <= settings.exact_below

    def __len__(self) -> int:
        return len(self._row_of)

    def search(self, query: Vectors, k: int, sight: Sight) -> Hits:
        """The nearest rows in sight of one query vector (dim,), ties by reference id."""
        seen = int(np.count_nonzero(sight.rows))
        k = min(k, seen)
        if k == 0:
            return Hits(np.empty(0, np.int64), np.empty(0, np.float64))
        ids = self._candidates(query, k, sight, seen)
        if len(ids) < k:
            # Qdrant lacks points: one that was emptied, or a replica that is behind. The rows are the truth.
            _log.warning("qdrant_incomplete", collection=self._place.collection, found=len(ids), wanted=k)
            return self._nearest_of(query, k, [key for key in self._row_of if self._in_sight(key, sight)])
        return self._nearest_of(query, k, ids)

    def _candidates(self, query: Vectors, k: int, sight: Sight, seen: int) -> list[str]:
        """The ids of at least k references in sight, and of all that may be as near as the k-th."""
        settings = self._store.settings
        # Few in sight: their plain scan costs little, and the graph finds its way badly among them.
        exact = settings.exact or seen <= settings.exact_below
        limit = max(int(k * settings.overfetch), k + _MARGIN)
        while True:
            found = self._store.nearest(self._place, query, limit, sight, exact=exact)
            shown = [at for at, key in enumerate(found.ids) if self._in_sight(key, sight)]
            fewer = len(found.ids) < limit
            if fewer and not exact:
                exact = True  # the graph has lost its way, or it is small: the scan tells
            elif fewer or (len(shown) >= k and self._is_clear(found, shown[k - 1], limit)):
                return [found.ids[at] for at in shown]
            else:
                limit *= 2  # too many were passed over, or are as far as the k-th

    def _in_sight(self, key: str, sight: Sight) -> bool:
        row = self._row_of.get(key)
        return row is not None and bool(sight.rows[row])

    def _is_clear(self, found: Found, kth: int, limit: int) -> bool:
        """Whether what was not fetched is farther than the k-th, beyond what rounding may hide."""
        return limit >= _MOST_TIES or found.distances[-1] > found.distances[kth] * (1 + _ROUNDING) + 1e-12

    def _nearest_of(self, query: Vectors, k: int, ids: list[str]) -> Hits:
        rows = np.asarray([self._row_of[key] for key in ids], dtype=np.int64)
        parts = [self._distances(query, rows[at : at + _ROWS_AT_ONCE]) for at in range(0, len(rows), _ROWS_AT_ONCE)]
        distances = np.concatenate([*parts, np.empty(0)])
        order = np.lexsort((np.asarray(ids), distances))
        order = order[np.isfinite(distances[order])][:k]
        return Hits(rows[order], distances[order])

    def _distances(self, query: Vectors, rows: _Rows) -> NDArray[np.float64]:
        differences = self._vectors_of(rows).astype(np.float64) - query.astype(np.float64)
        distances: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", differences, differences))
        return distances
