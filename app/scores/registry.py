"""The scores by name, and the scoring of one query against some references."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain import Pixels
from app.errors import BadInput
from app.scores.pixels import Histogram, histogram_intersection, make_canvas, make_histogram, mean_squared_error


@dataclass(frozen=True, slots=True)
class ScoreInput:
    """What scores are computed from: a 256 x 256 canvas and its histogram."""

    canvas: Pixels
    histogram: Histogram

    @classmethod
    def of(cls, pixels: Pixels) -> "ScoreInput":
        """From the pixels of a frame."""
        canvas = make_canvas(pixels)
        return cls(canvas, make_histogram(canvas))


def _histogram(a: ScoreInput, b: ScoreInput) -> float:
    return histogram_intersection(a.histogram, b.histogram)


def _mse(a: ScoreInput, b: ScoreInput) -> float:
    return mean_squared_error(a.canvas, b.canvas)


SCORES: dict[str, Callable[[ScoreInput, ScoreInput], float] | None] = {
    "histogram": _histogram,
    "mse": _mse,
    "dreamsim": None,
}
"""Name -> function; None where what it needs is not there, see UNAVAILABLE."""

UNAVAILABLE = {
    "dreamsim": "this version of SonoSeek cannot load DreamSim weights yet; histogram and mse are unaffected"
}


def chosen_scores(names: Iterable[str] | None) -> tuple[str, ...]:
    """The scores that a caller wants: all without names; raises BadInput ``unknown_score``."""
    chosen = tuple(SCORES) if names is None else tuple(dict.fromkeys(names))
    unknown = [name for name in chosen if name not in SCORES]
    if unknown:
        raise BadInput(
            "unknown_score",
            "there is no score of that name",
            hint=f"scores are {', '.join(SCORES)}; write scores= for none",
        )
    return chosen


def unavailable_scores(names: Sequence[str]) -> dict[str, str]:
    """Why some of the named scores are null and what to do about it."""
    return {name: UNAVAILABLE[name] for name in names if SCORES[name] is None}


def score_pairs(query: ScoreInput, others: Sequence[ScoreInput], names: Sequence[str]) -> list[dict[str, Any]]:
    """The named scores of the query against each other input, null where unavailable."""
    return [{name: compute(query, other) if (compute := SCORES[name]) else None for name in names} for other in others]
