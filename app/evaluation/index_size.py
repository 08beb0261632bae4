"""The index-size curve: precision when only some of the patients are in the library."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.evaluation.ground import Contestant, Ground
from app.evaluation.protocol import K, Protocol
from app.evaluation.trials import Rows, Trials, carried
from app.evaluation.whole_ranking import Similarities, nearest_columns
from app.metrics.precision import Numbers

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Shares of the patients that are kept."""

REPEATS = 5
"""Random choices of each share; the whole gallery needs one."""

QUERIES = 2000
"""Queries that are asked at most, drawn at random where there are more."""


@dataclass(frozen=True, slots=True)
class SizePoint:
    """Micro P@10 at one share of the patients: mean over the repeats, and their standard deviation (None for one).

    ``images`` is the mean size of the gallery, ``chance`` the mean precision of random neighbours in it.
    """

    share: float
    images: float
    p_at_10: float | None
    spread: float | None
    chance: float | None
    repeats: int


@dataclass(frozen=True, slots=True)
class IndexSizeCurve:
    """P@10 against the size of the gallery: whether more references would help."""

    contestant: str
    protocol: Protocol
    kind: str
    queries: int
    seed: int
    points: tuple[SizePoint, ...]


def index_size_curve(ground: Ground, contestant: Contestant, trials: Trials, *, seed: int = 0) -> IndexSizeCurve:
    """Ask the same queries of smaller galleries, out of which whole patients were left at random."""
    generator = np.random.default_rng(seed)
    first = trials.first_of_queries()
    if len(first) > QUERIES:
        first = np.sort(generator.choice(first, QUERIES, replace=False))
    similarities = Similarities(ground, contestant, trials)
    columns = similarities.columns
    draws = [
        (share, _kept(ground.patients[columns], share, generator))
        for share in SHARES
        for _ in range(1 if share == 1 else REPEATS)
    ]
    member = carried(len(ground), list(ground.carriers(trials.ranked.kind).values()))
    found, expected, asked = _measured(similarities, trials.rows[first], member, [kept for _, kept in draws])
    points = []
    for share in SHARES:
        own = np.asarray([place for place, (one, _) in enumerate(draws) if one == share])
        points.append(_point(share, [len(draws[place][1]) for place in own], found[own], expected[own], asked[own]))
    name, protocol, kind = trials.ranked.contestant, trials.ranked.protocol, trials.ranked.kind
    return IndexSizeCurve(name, protocol, kind, len(first), seed, tuple(points))


def _kept(patients: Rows, share: float, generator: np.random.Generator) -> Rows:
    """The columns of a random share of the patients, at least one of them."""
    distinct = np.unique(patients)
    chosen = generator.permutation(distinct)[: max(1, round(share * len(distinct)))]
    kept: Rows = np.flatnonzero(np.isin(patients, chosen))
    return kept


def _measured(
    similarities: Similarities, rows: Rows, member: np.ndarray[tuple[int, int], np.dtype[np.bool_]], kept: list[Rows]
) -> tuple[Numbers, Numbers, Numbers]:
    """Sums over trials of precision, of chance, and their number, for each choice of columns: three of (choices,)."""
    found, expected, asked = (np.zeros(len(kept)) for _ in range(3))
    of_column = member[similarities.columns]
    for part, near in similarities.blocks(rows):
        for row, nearness in zip(rows[part].tolist(), near, strict=True):
            own = of_column[:, member[row]]
            for place, columns in enumerate(kept):
                seen = columns[nearness[columns] > similarities.HIDDEN]
                if not len(seen):
                    continue
                nearest = seen[nearest_columns(nearness[seen], K)]
                found[place] += own[nearest].mean(axis=0).sum()
                expected[place] += own[seen].mean(axis=0).sum()
                asked[place] += own.shape[1]
    return found, expected, asked


def _point(share: float, sizes: list[int], found: Numbers, expected: Numbers, asked: Numbers) -> SizePoint:
    there = asked > 0
    precision = found[there] / asked[there]
    return SizePoint(
        share=share,
        images=float(np.mean(sizes)),
        p_at_10=float(precision.mean()) if len(precision) else None,
        spread=float(precision.std(ddof=1)) if len(precision) > 1 else None,
        chance=float((expected[there] / asked[there]).mean()) if len(precision) else None,
        repeats=len(precision),
    )
