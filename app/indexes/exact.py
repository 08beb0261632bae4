"""The scan: a bound for every vector, whole distances for the few that it leaves."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.domain import Vectors
from app.indexes.base import Hits, Mask
from app.indexes.bound import Asked, PrincipalBound
from app.indexes.components import Components, choose_components
from app.indexes.measure import kth_square, nearest
from app.indexes.sieve import Sieve
from app.indexes.tables import PlainTable, PrincipalTable, Table, lows_of

_GROUPS = 64
"""Rows of which only the lowest is looked at for a first guess: the k nearest of a guess come from different ones."""

_GUESSED = 4  # times k rows are measured for the guess
_MANY = 4  # times k candidates are worth a second look
_NUMBERS = 1 << 22  # bounds that are held at once for a batch of queries: 16 MB

_SMALL = 1 << 19
"""Numbers in a library that a plain scan reads sooner than the steps of a bound are done: it stays in the cache."""

Rows = NDArray[np.int64]


class ExactIndex:
    """One small matrix-vector product, then whole distances of what it leaves; nothing is approximate.

    The product gives a bound for every row, see PrincipalBound. The distances of some of the lowest say what the k-th
    nearest cannot exceed; rows whose bound is not above that pass a second, closer bound (Sieve) and are measured.
    A library that is small, or whose vectors point everywhere, is scanned whole (PlainTable).
    """

    engine = "exact"
    exact = True

    def __init__(self, vectors: Vectors, components: Components | None = None) -> None:
        self._vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self._table: Table
        self._sieve: Sieve | None = None
        if len(vectors):
            self._build(components)

    def _build(self, components: Components | None) -> None:
        if components is None and self._vectors.size <= _SMALL:
            self._table = PlainTable(self._vectors)
            return
        bound = PrincipalBound.fit(self._vectors)
        chosen = components or choose_components(self._vectors, bound)
        if chosen is None:
            self._table = PlainTable(self._vectors)
            return
        scanned, sieved = bound.first(chosen.scanned), bound.first(chosen.sieved)
        projected = sieved.project(self._vectors)
        self._table = PrincipalTable(scanned, scanned.fold(projected))
        self._sieve = Sieve(sieved, self._vectors, projected)

    def __len__(self) -> int:
        return len(self._vectors)

    def search(self, query: Vectors, k: int, allowed: Mask | None = None) -> Hits:
        """The nearest allowed rows of one query vector (dim,)."""
        k = self._answers(k, allowed)
        if k == 0:
            return Hits(np.empty(0, np.int64), np.empty(0, np.float64))
        query = query.astype(np.float32, copy=False)
        asked = self._table.ask(query)
        return self._nearest(query, k, allowed, asked, self._table.lows(asked.factors))

    def search_many(self, queries: Vectors, k: int, allowed: Sequence[Mask | None] | None = None) -> list[Hits]:
        """The nearest rows of each of several query vectors (q, dim), each with its own ``allowed``."""
        masks = allowed or [None] * len(queries)
        queries = queries.astype(np.float32, copy=False)
        at_once = max(1, _NUMBERS // max(1, len(self)))
        found: list[Hits] = []
        for start in range(0, len(queries), at_once):
            found += self._search_at_once(queries[start : start + at_once], k, masks[start : start + at_once])
        return found

    def _search_at_once(self, queries: Vectors, k: int, masks: Sequence[Mask | None]) -> list[Hits]:
        counts = [self._answers(k, mask) for mask in masks]
        if not any(counts):
            return [self.search(query, k, mask) for query, mask in zip(queries, masks, strict=True)]
        asked, lows = lows_of(queries, self._table)
        return [
            self._nearest(query, count, mask, one, low) if count else self.search(query, 0)
            for query, count, mask, one, low in zip(queries, counts, masks, asked, lows, strict=True)
        ]

    def _answers(self, k: int, allowed: Mask | None) -> int:
        return min(k, len(self) if allowed is None else int(np.count_nonzero(allowed)))

    def _nearest(self, query: Vectors, k: int, allowed: Mask | None, asked: Asked, lows: Vectors) -> Hits:
        guess = _lowest(lows, k, allowed)
        candidates = np.flatnonzero(lows <= asked.limit(kth_square(query, self._vectors, guess, k)))
        if allowed is not None:
            candidates = candidates[allowed[candidates]]
        if self._sieve and len(candidates) > _MANY * k:
            candidates = self._sieve.pass_on(query, candidates, k)
        return nearest(query, self._vectors, candidates, k)


def _lowest(lows: Vectors, k: int, allowed: Mask | None) -> Rows:
    """At least k allowed rows, most of them with low bounds: the lowest of the best groups, or of all rows."""
    wide = len(lows) // _GROUPS
    if wide >= 2 * _GUESSED * k:
        groups = lows[: wide * _GROUPS].reshape(_GROUPS, wide)
        best = np.argpartition(groups.min(axis=0), _GUESSED * k)[: _GUESSED * k]
        rows: Rows = groups[:, best].argmin(axis=0) * wide + best
        rows = rows if allowed is None else rows[allowed[rows]]
        if len(rows) >= k:
            return rows
    # A small library, or a filter that leaves little of it.
    if allowed is None:
        return np.argpartition(lows, k - 1)[:k]
    seen = np.flatnonzero(allowed)
    chosen: Rows = seen[np.argpartition(lows[seen], k - 1)[:k]]
    return chosen
