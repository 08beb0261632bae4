"""A library laid out on paper by t-SNE: pictures that an encoder finds alike lie near each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.errors import Misconfigured
from app.evaluation.columns import titled
from app.evaluation.drawing import COLOURS, GREY
from app.evaluation.ground import Contestant, Ground
from app.metrics.precision import Numbers

MOST_POINTS = 1500
"""References that a map shows, drawn by the seed."""

SIZE = 720
"""Width and height of the map in its own units."""

_PERPLEXITY = 30.0
_SHAPES = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "M-3.6 -3.6h7.2v7.2h-7.2z",
    "M0 -5L4.6 3.4h-9.2z",
    "M0 -5.2L5.2 0L0 5.2L-5.2 0z",
)
_OTHERS = "all other labels"
_NONE = "not annotated"


@dataclass(frozen=True, slots=True)
class Sort:
    """How the points of one label look: a colour and an SVG path about (0, 0)."""

    label: str
    points: int
    colour: str
    shape: str


@dataclass(frozen=True, slots=True)
class Point:
    """A reference on the map: its row, its place, which sort it is (an index) and all its labels in words."""

    row: int
    x: float
    y: float
    sort: int
    said: str


@dataclass(frozen=True, slots=True)
class Map:
    """The points in order of row, the sorts by size, and what is shown of what."""

    contestant: str
    kind: str
    sorts: Sequence[Sort]
    points: Sequence[Point]
    caption: str


def map_of(ground: Ground, contestant: Contestant, kind: str, said: Sequence[str], *, seed: int = 0) -> Map | None:
    """The map of one contestant, coloured by a kind; ``said`` (n,) are the words for each row.

    None where all vectors are equal. The same bytes in every run on one kind of machine. Raises Misconfigured
    ``extra_missing``.
    """
    rows = _some(len(ground), seed)
    vectors = contestant.snapshot.vectors[rows].astype(np.float64)
    if float(np.ptp(vectors, axis=0).max(initial=0.0)) == 0.0:
        return None
    places = _laid_out(vectors, seed)
    values = [ground.values(kind)[row] for row in rows]
    sorts, sort_of = _sorts([value[0] if value else _NONE for value in values])
    some = (
        f" {len(rows)} of {len(ground)} references, drawn at random with seed {seed}."
        if len(rows) < len(ground)
        else ""
    )
    caption = (
        f"t-SNE of the vectors of {contestant.name}, started from their principal components, seed {seed}; coloured by "
        f"{titled(kind).lower()}, of several labels by the first.{some} Near each other means alike to the encoder; "
        "distances between far clusters and the sizes of clusters mean nothing, and no figure is computed from it."
    )
    points = [
        Point(int(row), round(float(x), 1), round(float(y), 1), sort_of[place], said[row])
        for place, (row, (x, y)) in enumerate(zip(rows, places, strict=True))
    ]
    return Map(contestant.name, kind, sorts, points, caption)


def _some(count: int, seed: int) -> list[int]:
    if count <= MOST_POINTS:
        return list(range(count))
    drawn = np.random.default_rng(seed).choice(count, MOST_POINTS, replace=False)
    return [int(row) for row in np.sort(drawn)]


def _laid_out(vectors: Numbers, seed: int) -> Numbers:
    """Places (n, 2) within the map, with a margin."""
    try:
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError:
        raise Misconfigured(
            "extra_missing", "the map of a report needs scikit-learn", hint="pip install 'sonoseek[evaluation]'"
        ) from None
    perplexity = min(_PERPLEXITY, (len(vectors) - 1) / 3)
    # Sums over several threads differ in their last digits from run to run, and t-SNE makes them large.
    with threadpool_limits(1):
        found = TSNE(init="pca", random_state=seed, perplexity=perplexity).fit_transform(vectors)
    low, high = found.min(axis=0), found.max(axis=0)
    places: Numbers = 14 + (SIZE - 28) * (found - low) / np.maximum(high - low, 1e-9)
    return places


def _sorts(labels: Sequence[str]) -> tuple[list[Sort], list[int]]:
    """Looks for the commonest labels; what they do not reach to is grey, as is what has no label."""
    counts = Counter(labels)
    names = sorted((name for name in counts if name != _NONE), key=lambda name: (-counts[name], name))
    most = len(COLOURS) * len(_SHAPES)
    shown = names[:most]
    sorts = [
        Sort(name, counts[name], COLOURS[i % len(COLOURS)], _SHAPES[i // len(COLOURS)]) for i, name in enumerate(shown)
    ]
    place = {name: i for i, name in enumerate(shown)}
    for name, alike in ((_OTHERS, names[most:]), (_NONE, [_NONE] if _NONE in counts else [])):
        if alike:
            place |= dict.fromkeys(alike, len(sorts))
            sorts.append(Sort(name, sum(counts[one] for one in alike), GREY, _SHAPES[0]))
    return sorts, [place[label] for label in labels]
