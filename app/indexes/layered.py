"""An engine over the rows it was built from, and beside it the rows that came later."""

from collections.abc import Sequence

import numpy as np

from app.domain import Vectors
from app.indexes.base import Hits, Mask, Sight, VectorIndex, nearest_first
from app.indexes.measure import in_reach

_FEW = 64
"""Hidden rows that are asked for in vain rather than masked: a mask costs a pass over all rows."""


class LayeredIndex:
    """The index of a library that grows: built rows first, then ``late`` ones, which are few and all measured.

    ``ids`` are the reference ids of all rows, in order of id as far as ``base`` goes: ties go by id.
    Nothing changes in place; ``grown`` gives another index that shares what is old.
    """

    def __init__(self, engine: str, base: VectorIndex, vectors: Vectors, late: Vectors, ids: Sequence[str]) -> None:
        # ``vectors`` are those that ``base`` was built from.
        self.engine = engine
        self.exact = base.exact
        self.base = base
        self._vectors = vectors
        self._late = late
        self._ids = ids

    @property
    def vectors(self) -> Vectors:
        """The vectors (n, dim) of all rows, copied where there are late ones."""
        return _joined(self._vectors, self._late)

    @property
    def is_built(self) -> bool:
        """Whether the engine itself answers; else a plain scan stands in for it."""
        return self.base.engine == self.engine

    @property
    def late(self) -> int:
        """How many rows came after the engine was built."""
        return len(self._late)

    def grown(self, vectors: Vectors, ids: Sequence[str]) -> "LayeredIndex":
        """The index with more rows (m, dim); ``ids`` are those of all rows."""
        late = _joined(self._late, vectors)
        return LayeredIndex(self.engine, self.base, self._vectors, late, ids)

    def search(self, query: Vectors, k: int, sight: Sight) -> Hits:
        """The nearest rows in sight of one query vector (dim,), ties by reference id."""
        built = len(self.base)
        hits = _unmasked(self.base, query, k, sight.rows[:built])
        seen = in_reach(query, self._late, np.flatnonzero(sight.rows[built:]), k)
        if not len(seen):
            return hits
        late = nearest_first(query, self._late, seen, len(seen))
        return self._first(k, Hits(np.append(hits.rows, late.rows + built), np.append(hits.distances, late.distances)))

    def _first(self, k: int, hits: Hits) -> Hits:
        ids = np.asarray([self._ids[row] for row in hits.rows])
        order = np.lexsort((ids, hits.distances))[:k]
        return Hits(hits.rows[order], hits.distances[order])


def _joined(first: Vectors, second: Vectors) -> Vectors:
    """Rows of both; a library that was empty knows no dimension."""
    if len(first) and len(second):
        return np.concatenate([first, second])
    return first if len(first) else second


def _unmasked(index: VectorIndex, query: Vectors, k: int, allowed: Mask) -> Hits:
    """A search that does without a mask where only a few rows are hidden."""
    hidden = len(allowed) - int(np.count_nonzero(allowed))
    if hidden > _FEW:
        return index.search(query, k, allowed)
    hits = index.search(query, k + hidden, None)
    kept = np.flatnonzero(allowed[hits.rows])[:k]
    return Hits(hits.rows[kept], hits.distances[kept])
