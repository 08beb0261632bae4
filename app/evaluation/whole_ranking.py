"""Rankings beyond the first ten, in blocks of similarities: average precision at R, and graded gain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.evaluation.ground import Contestant, Ground
from app.evaluation.protocol import K
from app.evaluation.trials import Rows, Trials, blocks, carried, visible_block
from app.metrics.precision import Numbers
from app.metrics.ranked_lists import average_precision_at_r, graded_gain

GROUP_OF = {"organ": "organ_group", "diagnoses": "diagnosis_groups"}
"""The kind whose labels are worth half of one of the kind itself."""

_DEEPEST = 500
"""Nearest rows that are kept of every query at most: the ten, and who follows where a patient is left out."""

_STEPS = 1e12
"""Nearness is counted in steps this small: equal distances come out of a matrix product with a last digit of their own.
"""

_HIDDEN = -9 * _STEPS  # below every cosine


class Similarities:
    """Nearness of some rows to a gallery, in blocks; what a query may not see is ``HIDDEN``, below all that it may."""

    HIDDEN = _HIDDEN

    def __init__(self, ground: Ground, contestant: Contestant, trials: Trials) -> None:
        self._ground = ground
        self._ranked = trials.ranked
        self.columns: Rows = np.flatnonzero(trials.ranked.gallery)
        self._vectors = contestant.snapshot.vectors
        shown = self._vectors[self.columns]
        # Equal vectors are multiplied once, so that their nearness is equal to the last bit.
        _, first, place_of = np.unique(shown, axis=0, return_index=True, return_inverse=True)
        self._place_of: Rows | None = None
        if len(first) < len(shown):
            shown, self._place_of = shown[first], place_of.reshape(-1)
        self._unique = shown.astype(np.float64) * _STEPS
        self._lengths = np.einsum("ij,ij->i", self._unique, shown.astype(np.float64))

    def blocks(self, rows: Rows) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Which of the queries' rows, and their nearness (b, g) to the gallery: larger is nearer."""
        for part in blocks(len(rows), len(self.columns)):
            near = self._vectors[rows[part]].astype(np.float64) @ self._unique.T
            # |x - q|² without |q|²: the order of distances, even where lengths are not quite 1.
            near -= self._lengths / 2
            np.rint(near, out=near)
            if self._place_of is not None:
                near = near[:, self._place_of]
            near[~visible_block(self._ground, self._ranked, rows[part], self.columns)] = _HIDDEN
            yield part, near


def nearest_columns(near: Numbers, k: int) -> Rows:
    """The first k columns of one query's nearness (g,), ties by column; fewer where fewer may be seen."""
    seen = int(np.count_nonzero(near > _HIDDEN))
    k = min(k, seen)
    if k == 0:
        return np.empty(0, dtype=np.int64)
    kth = np.partition(near, len(near) - k)[len(near) - k]
    candidates = np.flatnonzero(near >= kth)
    first: Rows = candidates[np.argsort(-near[candidates], kind="stable")][:k]
    return first


@dataclass(frozen=True, slots=True)
class WholeLists:
    """What rankings say beyond the first ten.

    ``average_precisions`` (t,) are at R, nan where the query may see nobody who carries the label. ``first`` (q, depth)
    are the nearest rows of every query that has trials, -1 where fewer can be seen.
    """

    average_precisions: Numbers
    first: Rows


def whole_lists(ground: Ground, contestant: Contestant, trials: Trials) -> WholeLists:
    """Go once through the whole ranking of every query."""
    similarities = Similarities(ground, contestant, trials)
    member = carried(len(ground), list(ground.carriers(trials.ranked.kind).values()))[similarities.columns]
    queries = trials.rows[trials.first_of_queries()]
    starts = np.searchsorted(trials.rows, queries)
    ends = np.append(starts[1:], len(trials))
    depth = _depth(ground, trials)
    found, first = np.full(len(trials), np.nan), np.full((len(queries), depth), -1, dtype=np.int64)
    for part, near in similarities.blocks(queries):
        for line, query in enumerate(range(part.start, part.stop)):
            start, end = int(starts[query]), int(ends[query])
            order = nearest_columns(near[line], max(depth, int(trials.alike[start:end].max())))
            first[query, : min(depth, len(order))] = similarities.columns[order[:depth]]
            for trial in range(start, end):
                ranks = np.flatnonzero(member[order, trials.classes[trial]]) + 1
                found[trial] = average_precision_at_r(ranks, int(trials.alike[trial]))
    return WholeLists(found, first)


def _depth(ground: Ground, trials: Trials) -> int:
    """So many that ten are left without any one patient, however many images he has, up to a bound of memory."""
    _, images = np.unique(ground.patients[trials.ranked.gallery], return_counts=True)
    return min(_DEEPEST, K + int(images.max(initial=0)))


def graded_gains(ground: Ground, trials: Trials) -> Numbers:
    """NDCG@10 (t,) with gain 2 for a neighbour that shares a label with the query and 1 for one of the same group.

    The same number for every label of a query; nan where nothing that it may see has a gain.
    """
    ranked, kind = trials.ranked, trials.ranked.kind
    columns = np.flatnonzero(ranked.gallery)
    position = np.full(len(ground) + 1, -1, dtype=np.int64)
    position[columns] = np.arange(len(columns))
    same = carried(len(ground), list(ground.carriers(kind).values()))[columns].astype(np.float32)
    kindred_rows = list(ground.carriers(GROUP_OF[kind]).values()) if kind in GROUP_OF else []
    kindred = carried(len(ground), kindred_rows)[columns].astype(np.float32)
    gains_of = np.full(len(ranked.queries), np.nan)
    for part in blocks(len(ranked.queries), len(columns)):
        rows = ranked.queries[part]
        places = position[rows]
        gains = np.where(same[places] @ same.T > 0, 2.0, np.where(kindred[places] @ kindred.T > 0, 1.0, 0.0))
        gains[~visible_block(ground, ranked, rows, columns)] = 0.0
        levels = {gain: np.count_nonzero(gains == gain, axis=1).astype(np.int64) for gain in (2.0, 1.0)}
        neighbours = ranked.neighbours[part]
        shown = np.take_along_axis(gains, position[neighbours].clip(0), axis=1) * (neighbours >= 0)
        gains_of[part] = graded_gain(shown[:, :K], levels)
    return gains_of[trials.places]
