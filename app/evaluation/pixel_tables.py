"""Tables 6 to 8, 14 and 17 / 21: what the pixels of neighbours say, beside their labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import Conflict
from app.evaluation.ground import Ground
from app.evaluation.label_match import Cut, Numbers, by_lot
from app.evaluation.pixel_metrics import METRICS, bhattacharyya, histogram_correlation, measure_all
from app.evaluation.protocol import Ranked
from app.evaluation.roles import Picture, PixelSet, Role
from app.evaluation.tables import Cell, Table
from app.library.catalogue import Catalogue
from app.scores.dreamsim import dreamsim_score
from app.scores.pixels import histogram_intersection, mean_squared_error
from app.scores.registry import ScoreInput

DREAMSIM_ENCODER = "dreamsim-ensemble"
STAR = "*"
BIASED = ("dreamsim-", "dino-")
"""Encoders of these families are judged by themselves where DreamSim is the score: a DINO is part of its ensemble."""

_BLOCK = 32  # queries whose pictures, and those of their neighbours under every encoder, are in memory together
_MEASURES: tuple[Callable[[ScoreInput, ScoreInput], float], ...] = (
    lambda a, b: histogram_intersection(a.histogram, b.histogram),
    lambda a, b: histogram_correlation(a.histogram, b.histogram),
    lambda a, b: bhattacharyya(a.histogram, b.histogram),
    lambda a, b: mean_squared_error(a.canvas, b.canvas),
    lambda a, b: _dreamsim_similarity(a, b),
)
COLUMNS = ("histogram", "histogram correlation", "histogram Bhattacharyya", "MSE", "DreamSim similarity")
_FORMULA = (
    "mean over the ten neighbours of each query, then over queries. histogram: sum of min(h_a, h_b); correlation: "
    "Pearson's of the two histograms; Bhattacharyya: sum of sqrt(h_a h_b); MSE: mean of (a - b)² over 256 x 256 "
    "pixels of 0..255; DreamSim similarity: cosine of the two DreamSim vectors"
)
_NO_VECTOR = f"Pictures that are no references have a DreamSim distance only where {DREAMSIM_ENCODER} is installed."
_NOT_COMPARABLE = (
    "The paper gives the range of its histogram score but no formula; the three usual ones stand here, and none of "
    "them is comparable with the paper's numbers."
)


class StoredInputs:
    """What scores are computed from, as it is stored with a library: canvases and DreamSim vectors where there are any.

    ``why_not`` says why some or all of these are missing; ``encoders`` maps every digest to the name of its encoder.
    """

    def __init__(self, catalogue: Catalogue, ground: Ground) -> None:
        self._catalogue = catalogue
        self._ids = [found.id for found in ground.references]
        library = ground.info.name
        counts = catalogue.embeddings.counts(library)
        self.encoders = {digest: encoder for digest, (encoder, _) in counts.items()}
        # Of several digests the one with most vectors: the rest is half embedded.
        held = sorted((-count, digest) for digest, (name, count) in counts.items() if name == DREAMSIM_ENCODER)
        self._digest = held[0][1] if held else None
        self.why_not = _why_not(library, len(ground), -held[0][0] if held else 0)

    def __call__(self, rows: Sequence[int]) -> list[ScoreInput]:
        """Of some rows of the ground, in their order."""
        keys = [self._ids[row] for row in rows]
        canvases = self._catalogue.canvases(keys)
        if len(canvases) < len(set(keys)):
            raise Conflict(
                "library_changed",
                "a reference was deleted while the pictures of the library were compared",
                hint="run the evaluation again when nobody writes to the library",
            )
        vectors = self._catalogue.embeddings.many(keys, self._digest) if self._digest else {}
        return [ScoreInput(canvases[key].canvas, canvases[key].histogram, vectors.get(key)) for key in keys]


@dataclass(frozen=True, slots=True)
class NeighbourPixels:
    """Per query (q,) of one contestant: each of COLUMNS as its mean over the neighbours, nan where there is none."""

    contestant: str
    queries: NDArray[np.int64]
    values: dict[str, Numbers]

    def means(self, places: NDArray[np.bool_]) -> list[float | None]:
        """The mean of each column over some queries."""
        return [_mean(self.values[column][places]) for column in COLUMNS]


def measure_neighbours(
    rankings: Sequence[Ranked],
    inputs: StoredInputs,
    *,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _n: None,
) -> list[NeighbourPixels]:
    """Pixel metrics of queries against their neighbours: ten others drawn at random first, then every contestant.

    The rankings are of one kind and protocol, and so of the same queries; ``progress`` is told of queries done.
    """
    drawn = [by_lot(rankings[0], seed), *rankings]
    queries = rankings[0].queries
    values = np.full((len(drawn), len(queries), len(COLUMNS)), np.nan)
    for places in _blocks(len(queries)):
        known = _inputs_of(inputs, queries[places], [one.neighbours[places] for one in drawn])
        for number, one in enumerate(drawn):
            for place in places.tolist():
                found = one.neighbours[place]
                values[number, place] = _averages(known, int(queries[place]), found[found >= 0].tolist())
        progress(len(places))
    return [
        NeighbourPixels(one.contestant, queries, dict(zip(COLUMNS, values[number].T, strict=True)))
        for number, one in enumerate(drawn)
    ]


def table_14(measured: Sequence[NeighbourPixels], cut: Cut, *, notes: Sequence[str] = ()) -> Table:
    """Pixel metrics per organ class, for every contestant."""
    rows: list[list[Cell]] = []
    for label, carriers in cut.classes.items():
        for one in measured:
            asked = np.isin(one.queries, carriers)
            if asked.any():
                rows.append([label, int(asked.sum()), one.contestant, *one.means(asked)])
    return Table(
        key="table-14",
        title="Table 14: pixel metrics per organ class",
        caption="How much the pixels of an image resemble those of its ten neighbours, by the image's organ.",
        columns=("organ", "queries", "encoder", *COLUMNS),
        rows=rows,
        formula=_FORMULA,
        notes=(*notes, _NOT_COMPARABLE),
    )


def table_17_21(
    measured: Sequence[NeighbourPixels], cut: Cut, inputs: StoredInputs, *, notes: Sequence[str] = ()
) -> Table:
    """Pixel metrics per contestant over all kept queries, DreamSim's judgement of its own parts starred."""
    rows: list[list[Cell]] = [
        [one.contestant, *one.means(cut.kept[one.queries]), _star(one.contestant, inputs)] for one in measured
    ]
    return Table(
        key="table-17-21",
        title="Tables 17 / 21: pixel metrics per encoder",
        caption="The same averages over all kept queries, against ten others drawn at random for each.",
        columns=("encoder", *COLUMNS, "biased"),
        rows=rows,
        formula=f"{_FORMULA}. sum n_c x_c / sum n_c over the kept organ classes",
        notes=(
            *notes,
            f"{STAR} The DreamSim similarity of this encoder's neighbours is biased: the encoder is DreamSim, or a "
            "DINO such as stands inside DreamSim's ensemble, and chose the neighbours by much the same vectors.",
            _NOT_COMPARABLE,
        ),
    )


def tables_6_to_8(chosen: PixelSet, *, why_no_dreamsim: str | None = None) -> list[Table]:
    """One reference against itself and similar (6), different (7), natural pictures (8); how far 6 and 7 overlap.

    Raises Misconfigured ``extra_missing``.
    """
    reference = chosen.reference
    values = {
        role: [(one, measure_all(reference.scored, one.scored)) for one in chosen.of(role)]
        for role in (Role.REFERENCE, Role.SIMILAR, Role.DIFFERENT, Role.NATURAL)
    }
    missing = any(found["DreamSim distance"] is None for measured in values.values() for _, found in measured)
    notes = (chosen.how, *([why_no_dreamsim or _NO_VECTOR] if missing else ()))
    return [
        _table_of(6, "itself and similar images", [*values[Role.REFERENCE], *values[Role.SIMILAR]], notes),
        _table_of(7, "images that are not similar", values[Role.DIFFERENT], notes),
        _table_of(8, "natural images", values[Role.NATURAL], notes),
        _overlaps([found for _, found in values[Role.SIMILAR]], [found for _, found in values[Role.DIFFERENT]], notes),
    ]


def overlap(similar: Sequence[float], different: Sequence[float], *, larger_is_nearer: bool) -> float:
    """The share of pairs (similar, different) that a metric puts in the wrong order, a tie as half a pair.

    0: every similar picture is nearer than every different one; .5: the metric tells nothing (1 - Mann-Whitney's
    U / (n m)).
    """
    first, second = np.asarray(similar)[:, None], np.asarray(different)[None, :]
    wrong = first < second if larger_is_nearer else first > second
    return float(np.mean(wrong + 0.5 * (first == second)))


def _why_not(library: str, size: int, vectors: int) -> str | None:
    """Why DreamSim figures are missing, or rest on a part of the library; None where nothing is missing."""
    if vectors >= size:
        return None
    reembed = f"sonoseek reembed {library} --encoder {DREAMSIM_ENCODER}"
    if vectors:
        return f"DreamSim figures rest on the {vectors} of {size} images that have a vector of it. Run {reembed}."
    return (
        f"No DreamSim figures: {library!r} has no vectors of {DREAMSIM_ENCODER}. Run sonoseek models fetch "
        f"{DREAMSIM_ENCODER} (in a closed network: sonoseek models add {DREAMSIM_ENCODER} PATH), then {reembed}."
    )


def _blocks(count: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, count, _BLOCK):
        yield np.arange(start, min(start + _BLOCK, count), dtype=np.int64)


def _inputs_of(
    inputs: StoredInputs, queries: NDArray[np.int64], found: Sequence[NDArray[np.int64]]
) -> dict[int, ScoreInput]:
    rows = np.unique(np.concatenate([queries, *[one.ravel() for one in found]]))
    wanted = rows[rows >= 0].tolist()
    return dict(zip(wanted, inputs(wanted), strict=True))


def _averages(known: dict[int, ScoreInput], query: int, neighbours: Sequence[int]) -> Numbers:
    """Each measure's mean over the neighbours that have it, nan where none has."""
    pairs = [[measure(known[query], known[row]) for measure in _MEASURES] for row in neighbours]
    means = [_mean(column) for column in np.asarray(pairs, dtype=np.float64).reshape(-1, len(_MEASURES)).T]
    return np.asarray([np.nan if mean is None else mean for mean in means])


def _dreamsim_similarity(a: ScoreInput, b: ScoreInput) -> float:
    return np.nan if a.dreamsim is None or b.dreamsim is None else dreamsim_score(a.dreamsim, b.dreamsim)["similarity"]


def _mean(values: Numbers) -> float | None:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else None


def _star(contestant: str, inputs: StoredInputs) -> str | None:
    name = inputs.encoders.get(contestant, contestant)
    return STAR if name.startswith(BIASED) else None


def _table_of(
    number: int, whom: str, measured: Sequence[tuple[Picture, dict[str, float | None]]], notes: Sequence[str]
) -> Table:
    return Table(
        key=f"table-{number}",
        title=f"Table {number}: the reference against {whom}",
        caption="Every metric on the 256 x 256 grey canvases of two pictures.",
        columns=("picture", "role", *[metric.name for metric in METRICS]),
        rows=[[one.name, str(one.role), *[_shown(value) for value in found.values()]] for one, found in measured],
        formula="; ".join(f"{metric.name}: {metric.formula}" for metric in METRICS),
        notes=tuple(notes),
    )


def _overlaps(
    similar: Sequence[dict[str, float | None]], different: Sequence[dict[str, float | None]], notes: Sequence[str]
) -> Table:
    rows: list[list[Cell]] = []
    for metric in METRICS:
        near = [value for found in similar if (value := found[metric.name]) is not None]
        far = [value for found in different if (value := found[metric.name]) is not None]
        sense = "larger is nearer" if metric.larger_is_nearer else "smaller is nearer"
        if not near or not far:
            rows.append([metric.name, sense, None, None, None, None, None])
            continue
        ranges = [_shown(value) for value in (min(near), max(near), min(far), max(far))]
        rows.append([metric.name, sense, *ranges, overlap(near, far, larger_is_nearer=metric.larger_is_nearer)])
    return Table(
        key="tables-6-8-overlap",
        title="Tables 6 to 8: how far similar and not similar images overlap",
        caption="A metric that tells similar from not similar images has an overlap of 0; one that tells nothing, .5.",
        columns=("metric", "reads", "similar from", "to", "not similar from", "to ", "overlap"),
        rows=rows,
        formula="overlap: share of pairs (similar, not similar) in the wrong order, ties as half (1 - U / (n m))",
        notes=tuple(notes),
    )


def _shown(value: float | None) -> Cell:
    """A cell: JSON knows no infinity, which PSNR has for equal pictures."""
    return "∞" if value is not None and np.isinf(value) else value
