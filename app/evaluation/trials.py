"""Trials: each query once for every label that it carries, with what was found and what chance would give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.evaluation.ground import Ground
from app.evaluation.protocol import K, Ranked, hidden_groups
from app.indexes.base import Mask
from app.metrics.intervals import Ratio
from app.metrics.precision import Numbers
from app.metrics.ranked_lists import Flags, expected_precision

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Trials:
    """A trial (t) is a query and a label that it carries. A query that may see nothing has none: ``blind`` of them.

    ``labels`` (C) are in alphabetical order, ``sizes`` (C,) how many images carry each; ``places`` (t,) say which
    query of the ranking a trial is of, ``rows`` (t,) which row, ``classes`` (t,) which label. ``relevant`` (t, K)
    marks the neighbours that carry the label; ``visible`` (t,) counts the rows that the query may see, ``alike`` (t,)
    those of them that carry the label. ``patients`` (t,) number the patients of the queries, from 0 to ``groups``.
    """

    ranked: Ranked
    labels: tuple[str, ...]
    sizes: Rows
    places: Rows
    rows: Rows
    classes: Rows
    relevant: Flags
    visible: Rows
    alike: Rows
    patients: Rows
    groups: int
    blind: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def found(self) -> Numbers:
        """Neighbours (t,) that carry the label."""
        found: Numbers = self.relevant.sum(axis=1).astype(np.float64)
        return found

    @property
    def shown(self) -> Rows:
        """How many neighbours (t,) there are: K, or all that may be seen."""
        shown: Rows = np.minimum(K, self.visible)
        return shown

    @property
    def expected(self) -> Numbers:
        """Neighbours (t,) that would carry the label at random, the query itself and what it may not see left out."""
        chance: Numbers = self.shown * expected_precision(self.alike, self.visible)
        return chance

    def ratio(self, values: Numbers, weights: Numbers | None = None) -> Ratio:
        """The mean of values (t,) over trials, as sums by patient; nan counts for nothing, ``weights`` (t,) may be."""
        return self._by_patient(values, weights, np.zeros(len(self), dtype=np.int64), 1)

    def class_ratio(self, values: Numbers, chosen: Rows, weights: Numbers | None = None) -> Ratio:
        """The mean over some classes of the mean of values (t,) within each."""
        column_of = np.full(len(self.labels), -1, dtype=np.int64)
        column_of[chosen] = np.arange(len(chosen))
        return self._by_patient(values, weights, column_of[self.classes], len(chosen))

    def _by_patient(self, values: Numbers, weights: Numbers | None, columns: Rows, width: int) -> Ratio:
        weights = np.ones(len(self)) if weights is None else weights
        counted = np.isfinite(values) & (columns >= 0)
        cells = (self.patients * width + columns)[counted]
        shape, size = (self.groups, width), self.groups * width
        above = np.bincount(cells, weights=(values * weights)[counted], minlength=size).astype(np.float64)
        below = np.bincount(cells, weights=weights[counted], minlength=size).astype(np.float64)
        return Ratio(above.reshape(shape), below.reshape(shape))

    def large(self, min_images: int) -> Rows:
        """The classes with at least so many images, and with a query that sees anything: those of a macro figure."""
        asked = np.bincount(self.classes, minlength=len(self.labels)) > 0
        chosen: Rows = np.flatnonzero((self.sizes >= min_images) & asked)
        return chosen

    def first_of_queries(self) -> Rows:
        """One trial (q,) of each query that has any: for figures that a query has once."""
        return np.unique(self.places, return_index=True)[1].astype(np.int64)


def trials_of(ground: Ground, ranked: Ranked) -> Trials:
    """The trials of a ranking, in order of query and then of label."""
    carriers = ground.carriers(ranked.kind)
    sizes = np.asarray([len(rows) for rows in carriers.values()], dtype=np.int64)
    rows, classes = np.concatenate(list(carriers.values())), np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((classes, rows))
    rows, classes = rows[order], classes[order]
    places = np.searchsorted(ranked.queries, rows)
    kept = ranked.visible[places] > 0
    member = carried(len(ground), list(carriers.values()))
    seen = VisibleCounts(ground, ranked)
    neighbours = ranked.neighbours[places]
    patients = np.unique(ground.patients[rows[kept]], return_inverse=True)
    return Trials(
        ranked=ranked,
        labels=tuple(carriers),
        sizes=sizes,
        places=places[kept],
        rows=rows[kept],
        classes=classes[kept],
        relevant=(member[neighbours, classes[:, None]] & (neighbours >= 0))[kept],
        visible=ranked.visible[places][kept],
        alike=seen.of_own(rows, classes, (rows, classes))[kept],
        patients=patients[1].astype(np.int64),
        groups=len(patients[0]),
        blind=int(np.count_nonzero(ranked.visible == 0)),
    )


def carried(count: int, carriers: list[Rows]) -> Flags:
    """Which rows (count, C) carry each of C labels."""
    member = np.zeros((count, len(carriers)), dtype=np.bool_)
    for column, rows in enumerate(carriers):
        member[rows, column] = True
    return member


class VisibleCounts:
    """Counts what the queries of a ranking may see, without a mask of all rows for each of them."""

    def __init__(self, ground: Ground, ranked: Ranked) -> None:
        first, second = hidden_groups(ground, ranked.protocol)
        both = np.unique(np.stack([first, second], axis=1), axis=0, return_inverse=True)[1].reshape(-1)
        self._gallery: Mask = ranked.gallery
        # Hidden are the rows of the first group and of the second; those of both were counted twice.
        self._hidden = ((first, 1), (second, 1), (both.astype(np.int64), -1))

    def of_own(self, rows: Rows, codes: Rows, marked: tuple[Rows, Rows]) -> Rows:
        """How many rows each of some queries' rows (t,) may see that are marked with its code (t,).

        ``marked`` are rows of the ground and the code of each; a row with several codes stands there several times.
        """
        places, marks = (one[self._gallery[marked[0]]] for one in marked)
        width = int(max(marks.max(initial=0), codes.max(initial=0))) + 1
        count = np.bincount(marks, minlength=width)[codes].astype(np.int64)
        for group, sign in self._hidden:
            count -= sign * _looked_up(group[rows] * width + codes, group[places] * width + marks)
        return count


def _looked_up(asked: Rows, keys: Rows) -> Rows:
    """How often each key that is asked for is among the keys."""
    distinct, counts = np.unique(keys, return_counts=True)
    places = np.searchsorted(distinct, asked).clip(max=max(0, len(distinct) - 1))
    found: Rows = np.where(distinct[places] == asked, counts[places], 0) if len(keys) else np.zeros_like(asked)
    return found


def visible_block(ground: Ground, ranked: Ranked, queries: Rows, columns: Rows) -> Mask:
    """What some queries' rows (b,) may see of the rows ``columns`` (g,) of their gallery: (b, g)."""
    first, second = hidden_groups(ground, ranked.protocol)
    seen: Mask = (first[queries, None] != first[None, columns]) & (second[queries, None] != second[None, columns])
    return seen


def blocks(count: int, width: int, *, numbers: int = 1 << 22) -> list[slice]:
    """Slices of ``count`` queries such that a block against ``width`` rows holds at most so many numbers."""
    step = max(1, numbers // max(1, width))
    return [slice(start, min(count, start + step)) for start in range(0, count, step)]
