"""One query looked at closely: Tables 9 and 10, and the pictures of Figures 2 to 4."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.errors import BadInput
from app.evaluation.ground import Ground
from app.evaluation.label_match import Cut, by_lot, matches, of_kind, telling
from app.evaluation.protocol import KINDS, K, Ranked
from app.evaluation.roles import name_of
from app.evaluation.tables import Cell, Table

_NAMES = {"organ": "organ", "organ_group": "group"}


@dataclass(frozen=True, slots=True)
class Gallery:
    """Pictures that stand side by side: rows of the ground, nearest first, with the labels to print below each.

    ``matching`` says of each whether it shares a label with the query; ``distances`` are None where there are none.
    """

    key: str
    title: str
    caption: str
    rows: tuple[int, ...]
    labels: tuple[str, ...]
    matching: tuple[bool, ...]
    distances: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """The query that is looked at, a row of the ground, and in a sentence why it."""

    row: int
    how: str


def choose_example(ground: Ground, rankings: Sequence[Ranked], cut: Cut, *, wanted: str | None = None) -> Example:
    """The query of Tables 9 and 10: the ``wanted`` reference (id or external id), or the typical one by rule.

    By rule it is of the largest class that the first kind with several has among kept queries, and has the median
    number of matches there under the first contestant (the first by id among equals). Queries with diagnoses come
    first.
    Raises BadInput ``unknown_example``.
    """
    if wanted is not None:
        return Example(row_of(ground, wanted), "The query was named by --example.")
    first = telling(ground, rankings)
    asked = cut.kept[first.queries]
    if not asked.any():
        asked = np.ones_like(asked)
    diagnosed = asked & ground.annotated("diagnoses")[first.queries]
    among = np.flatnonzero(diagnosed if diagnosed.any() else asked)
    values = ground.values(first.kind)
    sizes = Counter(label for place in among for label in values[first.queries[place]])
    largest = max(sizes, key=lambda label: (sizes[label], label))
    of_class = [int(place) for place in among if largest in values[first.queries[place]]]
    counts = matches(ground, first)[of_class]
    median = np.sort(counts)[len(counts) // 2]
    row = int(first.queries[of_class[int(np.flatnonzero(counts == median)[0])]])
    who = "queries with a diagnosis" if diagnosed.any() else "queries"
    return Example(
        row,
        f"The query was chosen by rule: of the {who} with the commonest {first.kind} it has the median number of "
        f"matches under {first.contestant}, and is the first by id among equals.",
    )


def row_of(ground: Ground, wanted: str) -> int:
    """The row of a reference by id or external id; raises BadInput ``unknown_example``."""
    for row, found in enumerate(ground.references):
        if wanted in (found.id, found.external_id):
            return row
    raise BadInput(
        "unknown_example",
        f"no reference of {ground.info.name!r} has the id that was given for the example",
        hint="give the id or the external id of a reference of this library",
    )


def table_9(ground: Ground, rankings: Sequence[Ranked], example: Example, *, seed: int = 0) -> Table | None:
    """Organ and group counts among the ten neighbours of one query, and among ten others; None without organs."""
    rows: list[list[Cell]] = []
    names: list[str] = []
    for kind in _NAMES:
        found = [one for one in of_kind(rankings, kind) if example.row in one.queries]
        if not found:
            continue
        names = ["random", *[one.contestant for one in found]]
        counts = [_counts(ground, one, example.row) for one in (by_lot(found[0], seed), *found)]
        own = ground.values(kind)[example.row]
        for label in sorted({label for one in counts for label in one} | set(own), key=lambda it: (it not in own, it)):
            rows.append([_NAMES[kind], label, "yes" if label in own else "no", *[one[label] for one in counts]])
    if not rows:
        return None
    return Table(
        key="table-9",
        title="Table 9: organs and groups among the neighbours of one query",
        caption=f"Query {name_of(ground, example.row)}. {example.how}",
        columns=("kind", "label", "query's own", *names),
        rows=rows,
        formula=f"images among the {K} nearest that carry the label; random: among {K} others, seed {seed}",
    )


def table_10(ground: Ground, rankings: Sequence[Ranked], example: Example) -> Table | None:
    """Common, not found and extra diagnoses of one query under every contestant; None where it has no diagnosis."""
    found = [one for one in of_kind(rankings, "diagnoses") if example.row in one.queries]
    if not found:
        return None
    values = ground.values("diagnoses")
    own = set(values[example.row])
    rows: list[list[Cell]] = []
    for one in found:
        theirs = {label for row in _neighbours(one, example.row) for label in values[row]}
        named = [sorted(own), sorted(own & theirs), sorted(own - theirs), sorted(theirs - own)]
        rows.append([one.contestant, *["; ".join(labels) or None for labels in named], *map(len, named)])
    columns = ("reference", "common", "not found", "extra")
    return Table(
        key="table-10",
        title="Table 10: diagnoses of one query and of its neighbours",
        caption=f"Query {name_of(ground, example.row)}. {example.how}",
        columns=("encoder", *columns, *[f"{name} (number)" for name in columns]),
        rows=rows,
        formula=f"R: the query's diagnoses, T: the distinct ones among its {K} neighbours. Common: R and T, not found: "
        "R without T, extra: T without R",
    )


def figures_2_to_4(ground: Ground, rankings: Sequence[Ranked], example: Example, *, seed: int = 0) -> list[Gallery]:
    """The query (2), its ten nearest under every contestant (3) and ten others drawn at random (4)."""
    asked = [one for one in rankings if example.row in one.queries]
    if not asked:
        return []
    kind = telling(ground, asked).kind
    found = [one for one in of_kind(rankings, kind) if example.row in one.queries]
    galleries = [
        _gallery(ground, "figure-2", "Figure 2: the query", example.how, kind, example.row, [(example.row, None)])
    ]
    for one in found:
        place = int(np.searchsorted(one.queries, example.row))
        pairs = zip(one.neighbours[place].tolist(), one.distances[place].tolist(), strict=True)
        nearest = [(row, distance) for row, distance in pairs if row >= 0]
        title = f"Figure 3: its ten nearest under {one.contestant}"
        caption = f"Nearest first; a match shares the query's {kind}."
        key = f"figure-3-{one.contestant}"
        galleries.append(_gallery(ground, key, title, caption, kind, example.row, nearest))
    drawn = [(row, None) for row in _neighbours(by_lot(found[0], seed), example.row)]
    caption = f"Drawn at random from the same gallery, seed {seed}."
    galleries.append(_gallery(ground, "figure-4", "Figure 4: ten random images", caption, kind, example.row, drawn))
    return galleries


def _neighbours(ranked: Ranked, query: int) -> list[int]:
    place = int(np.searchsorted(ranked.queries, query))
    return [row for row in ranked.neighbours[place].tolist() if row >= 0]


def _counts(ground: Ground, ranked: Ranked, query: int) -> Counter[str]:
    values = ground.values(ranked.kind)
    return Counter(label for row in _neighbours(ranked, query) for label in values[row])


def _gallery(
    ground: Ground,
    key: str,
    title: str,
    caption: str,
    kind: str,
    query: int,
    pictures: Sequence[tuple[int, float | None]],
) -> Gallery:
    own = set(ground.values(kind)[query])
    labels = [ground.references[row].labels for row, _ in pictures]
    return Gallery(
        key=key,
        title=title,
        caption=caption,
        rows=tuple(row for row, _ in pictures),
        labels=tuple("; ".join(value for kind in KINDS for value in one.values(kind)) for one in labels),
        matching=tuple(not own.isdisjoint(one.values(kind)) for one in labels),
        distances=tuple(distance for _, distance in pictures),
    )
