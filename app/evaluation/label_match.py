"""How many labels of a query its neighbours carry: the paper's counts, each with what chance gives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.evaluation.ground import Ground
from app.evaluation.protocol import K, Ranked
from app.indexes.base import Mask

Numbers = NDArray[np.float64]

RANDOM = "random"
"""The name of what draws neighbours at random."""

NO_ORGANS = "all images"
"""The one class of a library without any organ."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The rows (n,) whose organ class has at least ``least`` images: they are queries, all others only gallery.

    A library without organs has nothing to cut by: all its rows are one class, which is kept.
    """

    least: int
    kept: Mask
    classes: dict[str, NDArray[np.int64]]
    of_classes: int
    by_organ: bool

    @classmethod
    def of(cls, ground: Ground, least: int) -> Cut:
        """The paper's cut, which governs groups, diagnoses, findings and pixel tables too."""
        organs = ground.carriers("organ")
        if not organs:
            everything = np.arange(len(ground), dtype=np.int64)
            return cls(least, np.ones(len(ground), dtype=np.bool_), {NO_ORGANS: everything}, 1, by_organ=False)
        large = {label: rows for label, rows in organs.items() if len(rows) >= least}
        kept = np.zeros(len(ground), dtype=np.bool_)
        for rows in large.values():
            kept[rows] = True
        return cls(least, kept, large, len(organs), by_organ=True)

    def coverage(self, ranked: Ranked) -> str:
        """A sentence: how many classes and how many queries of a kind are left."""
        left, of_queries = int(np.count_nonzero(self.kept[ranked.queries])), len(ranked.queries)
        if not self.by_organ:
            return f"The library has no organs to cut by: all {of_queries} queries are kept."
        return (
            f"Kept are {len(self.classes)} of {self.of_classes} organ classes (at least {self.least} images each) "
            f"and with them {left} of {of_queries} queries; the gallery stays whole."
        )


@dataclass(frozen=True, slots=True)
class ClassMatch:
    """One label of a kind: how many of the ten neighbours of its queries carry it, on average.

    ``images`` of the gallery carry it (n_c of N), ``queries`` of them are kept. ``expected`` is 10 n_c / N, which
    counts the query's own image as the paper does; ``expected_without_own`` is 10 (n_c - 1) / (N - 1), which is
    what neighbours drawn at random give.
    """

    label: str
    images: int
    queries: int
    expected: float
    expected_without_own: float
    found: float


@dataclass(frozen=True, slots=True)
class LabelSets:
    """Per query (q,): its labels R against the distinct labels T of its ten neighbours.

    ``reference`` is |R|, ``common`` |R and T|, ``not_found`` |R without T|, ``extra`` |T without R|.
    """

    reference: Numbers
    common: Numbers
    not_found: Numbers
    extra: Numbers

    def means(self, places: NDArray[np.int64] | Mask) -> tuple[float, float, float, float]:
        """The mean of each over some queries."""
        return (
            float(self.reference[places].mean()),
            float(self.common[places].mean()),
            float(self.not_found[places].mean()),
            float(self.extra[places].mean()),
        )


def carried(mask: Mask, neighbours: NDArray[np.int64]) -> Mask:
    """Whether each neighbour (q, k) is of the rows that a mask (n,) marks; no neighbour (-1) is not."""
    return np.append(mask, False)[neighbours]


def matches(ground: Ground, ranked: Ranked) -> Numbers:
    """Per query (q,): how many of its neighbours carry at least one of its labels."""
    values = [frozenset(one) for one in ground.values(ranked.kind)]
    return np.asarray(
        [
            sum(row >= 0 and not values[query].isdisjoint(values[row]) for row in found)
            for query, found in zip(ranked.queries.tolist(), ranked.neighbours.tolist(), strict=True)
        ],
        dtype=np.float64,
    )


def match_classes(ground: Ground, ranked: Ranked, kept: Mask) -> list[ClassMatch]:
    """Found and expected of every label of which there is a kept query, labels in alphabetical order.

    found_c is the mean over the kept queries that carry c of the neighbours that carry it.
    """
    size = int(np.count_nonzero(ranked.gallery))
    result = []
    for label, rows in ground.carriers(ranked.kind).items():
        mask = np.zeros(len(ground), dtype=np.bool_)
        mask[rows] = True
        asked = mask[ranked.queries] & kept[ranked.queries]
        if not asked.any():
            continue
        result.append(
            ClassMatch(
                label=label,
                images=len(rows),
                queries=int(np.count_nonzero(asked)),
                expected=K * len(rows) / size,
                expected_without_own=K * (len(rows) - 1) / (size - 1),
                found=float(carried(mask, ranked.neighbours[asked]).sum(axis=1).mean()),
            )
        )
    return result


def weighted_average(counts: Sequence[int], values: Sequence[float]) -> float | None:
    """Sum n_c x_c / sum n_c; None where there is no class."""
    return float(np.average(values, weights=counts)) if counts else None


def compare_labels(ground: Ground, ranked: Ranked) -> LabelSets:
    """The labels of every query against those of its neighbours."""
    values = [frozenset(one) for one in ground.values(ranked.kind)]
    rows = []
    for query, found in zip(ranked.queries.tolist(), ranked.neighbours.tolist(), strict=True):
        own = values[query]
        theirs = frozenset().union(*(values[row] for row in found if row >= 0))
        rows.append((len(own), len(own & theirs), len(own - theirs), len(theirs - own)))
    return LabelSets(*np.asarray(rows, dtype=np.float64).reshape(-1, 4).T)


def labels_by_lot(ground: Ground, ranked: Ranked) -> LabelSets:
    """The same as ten others drawn at random give on average, exactly.

    A label that m of the N - 1 others carry is among ten of them with 1 - C(N - 1 - m, 10) / C(N - 1, 10)
    (hypergeometric distribution); sums of that over R and over all other labels.
    """
    carriers = ground.carriers(ranked.kind)
    others = int(np.count_nonzero(ranked.gallery)) - 1
    if_own = {label: _seen(len(rows) - 1, others) for label, rows in carriers.items()}
    if_not = {label: _seen(len(rows), others) for label, rows in carriers.items()}
    of_all = sum(if_not.values())
    values = ground.values(ranked.kind)
    rows = []
    for query in ranked.queries.tolist():
        own = values[query]
        common = sum(if_own[label] for label in own)
        rows.append((len(own), common, len(own) - common, of_all - sum(if_not[label] for label in own)))
    return LabelSets(*np.asarray(rows, dtype=np.float64).reshape(-1, 4).T)


def _seen(carrying: int, others: int) -> float:
    """The probability that at least one of ``carrying`` rows is among K drawn from ``others``."""
    free = others - carrying
    if free < min(K, others):
        return 1.0
    missed = np.prod([(free - drawn) / (others - drawn) for drawn in range(min(K, others))])
    return float(1.0 - missed)


def by_lot(ranked: Ranked, seed: int) -> Ranked:
    """The same queries with K others of the gallery drawn at random instead of neighbours."""
    generator = np.random.default_rng(seed)
    gallery = np.flatnonzero(ranked.gallery)
    drawn = np.full_like(ranked.neighbours, -1)
    for place, own in enumerate(np.searchsorted(gallery, ranked.queries).tolist()):
        picks = generator.choice(len(gallery) - 1, min(K, len(gallery) - 1), replace=False)
        drawn[place, : len(picks)] = gallery[picks + (picks >= own)]
    return replace(ranked, contestant=RANDOM, neighbours=drawn, distances=np.full(drawn.shape, np.nan))


def telling(ground: Ground, rankings: Sequence[Ranked]) -> Ranked:
    """The first ranking of a kind with more than one label, else the first: one organ tells no images apart."""
    return next((one for one in rankings if len(ground.carriers(one.kind)) > 1), rankings[0])


def of_kind(rankings: Iterable[Ranked], kind: str) -> list[Ranked]:
    """The rankings of one kind, contestants in their order."""
    return [one for one in rankings if one.kind == kind]
