"""The paper's tables of labels: 11 to 13 per class, 15 / 18, 16 / 19 and 20 per encoder, and one row per query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.evaluation.ground import Ground
from app.evaluation.label_match import (
    RANDOM,
    ClassMatch,
    Cut,
    LabelSets,
    by_lot,
    compare_labels,
    labels_by_lot,
    match_classes,
    matches,
    of_kind,
    weighted_average,
)
from app.evaluation.protocol import KINDS, Ranked
from app.evaluation.tables import Cell, Table

MIN_IMAGES = 20
"""The paper's cut: organ classes with fewer images ask no queries."""

_SETS = ("reference", "common", "not found", "extra")
_NAMES = {
    "organ": "organ",
    "organ_group": "group",
    "diagnoses": "diagnosis",
    "diagnosis_groups": "diagnosis group",
    "findings": "finding",
}
_MATCH_FORMULA = (
    "N images carry a label of the kind, n_c of them c. Expected: 10 n_c / N, the query's own image counted as the "
    "paper does; without own: 10 (n_c - 1) / (N - 1), which is what neighbours drawn at random give. Found: mean over "
    "the queries that carry c of the neighbours, among ten, that carry c"
)
_SET_FORMULA = (
    "R: the query's labels, T: the distinct labels among its ten neighbours. Reference |R|, common |R and T|, not "
    "found |R without T|, extra |T without R|, each as its mean over queries"
)
_AVERAGE_FORMULA = (
    "Weighted average: sum n_c x_c / sum n_c over the labels c of the kind, n_c counting the kept queries that carry c"
)
_BY_LOT = "random, expected"
_DRAWN = "random, drawn"


@dataclass(frozen=True, slots=True)
class PaperFigures:
    """One contestant's averages over the kept queries of one kind, as Tables 15 to 20 print them.

    ``expected_in_10`` counts the query's own image as the paper does, ``expected_without_own`` does not. ``classes``
    of the kind have kept queries, of ``of_classes``; ``queries`` are kept of ``of_queries``. None where none is kept.
    """

    contestant: str
    kind: str
    found_in_10: float | None
    expected_in_10: float | None
    expected_without_own: float | None
    lift: float | None
    reference: float | None
    common: float | None
    not_found: float | None
    extra: float | None
    classes: int
    of_classes: int
    queries: int
    of_queries: int


def paper_figures(ground: Ground, ranked: Ranked, cut: Cut) -> PaperFigures:
    """The averages of one ranking. ``lift`` is found / expected without the query's own image."""
    return _figures(ground, ranked, cut, compare_labels(ground, ranked))


def label_tables(ground: Ground, rankings: Sequence[Ranked], *, least: int = MIN_IMAGES, seed: int = 0) -> list[Table]:
    """Tables 11, 12, 13, 15 / 18, 16 / 19 and 20, those of kinds that were ranked.

    The rankings are of the paper's protocol, contestants in the same order for every kind.
    """
    cut = Cut.of(ground, least)
    kinds = {kind: found for kind in KINDS if (found := of_kind(rankings, kind))}
    tables: list[Table] = []
    if "organ" in kinds:
        tables.append(_per_class(11, ground, kinds["organ"], cut))
    if "organ_group" in kinds:
        tables.append(_per_class(12, ground, kinds["organ_group"], cut))
    if "diagnoses" in kinds:
        tables.append(_table_13(ground, kinds["diagnoses"], cut))
    for key, title, wanted in (
        ("table-15-18", "Tables 15 / 18: organ and group match", ("organ", "organ_group")),
        ("table-16-19", "Tables 16 / 19: diagnosis and diagnosis group match", ("diagnoses", "diagnosis_groups")),
        ("table-20", "Table 20: finding match", ("findings",)),
    ):
        there = {kind: kinds[kind] for kind in wanted if kind in kinds}
        if there:
            tables.append(_summary(key, title, ground, there, cut, seed))
    return tables


def query_table(ground: Ground, rankings: Sequence[Ranked], *, least: int = MIN_IMAGES) -> Table:
    """One row per image that was a query, with what every contestant found for it in every kind."""
    kept = Cut.of(ground, least).kept
    columns = ["reference_id", "external_id", *KINDS, "kept by the cut"]
    found: dict[str, dict[int, float]] = {}
    for ranked in rankings:
        sets = compare_labels(ground, ranked)
        numbers = [matches(ground, ranked), sets.common, sets.not_found, sets.extra]
        for name, values in zip(("matches", "common", "not found", "extra"), numbers, strict=True):
            pairs = zip(ranked.queries.tolist(), values.tolist(), strict=True)
            found[f"{ranked.contestant} {ranked.kind} {name}"] = dict(pairs)
    rows: list[list[Cell]] = []
    for row in sorted({row for values in found.values() for row in values}):
        one = ground.references[row]
        labels: list[Cell] = ["; ".join(one.labels.values(kind)) or None for kind in KINDS]
        numbers_of_row: list[Cell] = [values.get(row) for values in found.values()]
        rows.append([one.id, one.external_id, *labels, "yes" if kept[row] else "no", *numbers_of_row])
    return Table(
        key="queries",
        title="One row per query",
        caption="What each query found among its ten neighbours, before any cut.",
        columns=(*columns, *found),
        rows=rows,
        formula=f"Matches: neighbours that share a label with the query. {_SET_FORMULA}",
    )


def _per_class(number: int, ground: Ground, rankings: Sequence[Ranked], cut: Cut) -> Table:
    """Table 11 or 12: a row per class, and the weighted average last."""
    kind = rankings[0].kind
    found = {one.contestant: match_classes(ground, one, cut.kept) for one in rankings}
    rows: list[list[Cell]] = []
    for same in zip(*found.values(), strict=True):
        first: ClassMatch = same[0]
        counts = [first.images, first.queries, first.expected, first.expected_without_own]
        rows.append([first.label, *counts, *[one.found for one in same]])
    first_found = next(iter(found.values()))
    rows.append(
        [
            "weighted average",
            sum(one.images for one in first_found),
            sum(one.queries for one in first_found),
            _average(first_found, "expected"),
            _average(first_found, "expected_without_own"),
            *[_average(one, "found") for one in found.values()],
        ]
    )
    size = int(np.count_nonzero(rankings[0].gallery))
    return Table(
        key=f"table-{number}",
        title=f"Table {number}: label match per {_NAMES[kind]}",
        caption=f"Neighbours of the query's own {_NAMES[kind]} among ten, against ten drawn at random of N = {size}.",
        columns=(_NAMES[kind], "images", "queries", "expected", "expected without own", *found),
        rows=rows,
        formula=f"{_MATCH_FORMULA}. {_AVERAGE_FORMULA}",
        notes=(cut.coverage(rankings[0]),),
    )


def _table_13(ground: Ground, rankings: Sequence[Ranked], cut: Cut) -> Table:
    """Reference, common, not found and extra diagnoses per organ class, for every contestant after the lot."""
    queries = rankings[0].queries
    sets = {_BY_LOT: labels_by_lot(ground, rankings[0])}
    sets |= {one.contestant: compare_labels(ground, one) for one in rankings}
    rows: list[list[Cell]] = []
    for label, carriers in cut.classes.items():
        asked = np.isin(queries, carriers)
        if asked.any():
            rows += [[label, int(asked.sum()), name, *one.means(asked)] for name, one in sets.items()]
    return Table(
        key="table-13",
        title="Table 13: diagnosis match per organ class",
        caption="How many diagnoses of an image stand among those of its ten neighbours, and how many others.",
        columns=("organ", "queries", "encoder", *_SETS),
        rows=rows,
        formula=_SET_FORMULA,
        notes=(*_outside(ground, rankings[0], cut), cut.coverage(rankings[0])),
    )


def _summary(key: str, title: str, ground: Ground, kinds: Mapping[str, Sequence[Ranked]], cut: Cut, seed: int) -> Table:
    """A row per contestant after those of the lot, with the figures of one or two kinds side by side."""
    by_contestant: dict[str, dict[str, PaperFigures]] = {}
    for kind, rankings in kinds.items():
        expected = _lot_figures(ground, rankings[0], cut)
        drawn = paper_figures(ground, by_lot(rankings[0], seed), cut)
        by_contestant.setdefault(_BY_LOT, {})[kind] = expected
        by_contestant.setdefault(_DRAWN, {})[kind] = drawn
        for one in rankings:
            by_contestant.setdefault(one.contestant, {})[kind] = paper_figures(ground, one, cut)
    rows: list[list[Cell]] = [
        [name, *[cell for kind in kinds for cell in _cells(figures.get(kind))]]
        for name, figures in by_contestant.items()
    ]
    names = ("found", "expected", "expected without own", *_SETS)
    return Table(
        key=key,
        title=title,
        caption="Averages over all kept queries, random sampling first.",
        columns=("encoder", *[f"{_NAMES[kind]} {name}" for kind in kinds for name in names]),
        rows=rows,
        formula=f"{_MATCH_FORMULA}. {_SET_FORMULA}. {_AVERAGE_FORMULA}",
        notes=(
            *[f"{_NAMES[kind].capitalize()}: {cut.coverage(rankings[0])}" for kind, rankings in kinds.items()],
            f"{_BY_LOT}: exact, for ten of the N - 1 others without replacement; {_DRAWN}: ten others per query, "
            f"seed {seed}.",
        ),
    )


def _figures(ground: Ground, ranked: Ranked, cut: Cut, sets: LabelSets) -> PaperFigures:
    classes = match_classes(ground, ranked, cut.kept)
    asked = cut.kept[ranked.queries]
    reference, common, not_found, extra = sets.means(asked) if asked.any() else (None, None, None, None)
    found, without_own = _average(classes, "found"), _average(classes, "expected_without_own")
    return PaperFigures(
        contestant=ranked.contestant,
        kind=ranked.kind,
        found_in_10=found,
        expected_in_10=_average(classes, "expected"),
        expected_without_own=without_own,
        lift=found / without_own if found is not None and without_own else None,
        reference=reference,
        common=common,
        not_found=not_found,
        extra=extra,
        classes=len(classes),
        of_classes=len(ground.carriers(ranked.kind)),
        queries=int(np.count_nonzero(asked)),
        of_queries=len(ranked.queries),
    )


def _lot_figures(ground: Ground, ranked: Ranked, cut: Cut) -> PaperFigures:
    """What the lot gives on average: found is what is expected without the query's own image."""
    figures = _figures(ground, ranked, cut, labels_by_lot(ground, ranked))
    values = {name: getattr(figures, name) for name in PaperFigures.__slots__}
    values |= {"contestant": RANDOM, "found_in_10": figures.expected_without_own}
    values["lift"] = None if figures.expected_without_own is None else 1.0
    return PaperFigures(**values)


def _cells(figures: PaperFigures | None) -> list[Cell]:
    if figures is None:
        return [None] * (3 + len(_SETS))
    counts = (figures.reference, figures.common, figures.not_found, figures.extra)
    return [figures.found_in_10, figures.expected_in_10, figures.expected_without_own, *counts]


def _average(classes: Sequence[ClassMatch], what: str) -> float | None:
    return weighted_average([one.queries for one in classes], [getattr(one, what) for one in classes])


def _outside(ground: Ground, ranked: Ranked, cut: Cut) -> list[str]:
    """A note on queries that belong to no organ class."""
    if not cut.by_organ:
        return []
    without = int(np.count_nonzero(~ground.annotated("organ")[ranked.queries]))
    return [f"{without} queries have no organ and stand in no class."] if without else []
