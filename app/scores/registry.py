"""The scores by name, and the scoring of one query against some references."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain import Pixels
from app.errors import BadInput
from app.scores.dreamsim import DreamSimScore, dreamsim_score
from app.scores.pixels import Histogram, histogram_intersection, make_canvas, make_histogram, mean_squared_error


@dataclass(frozen=True, slots=True)
class ScoreInput:
    """What scores are computed from: a 256 x 256 canvas, its histogram, a DreamSim embedding where there is one."""

    canvas: Pixels
    histogram: Histogram
    dreamsim: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, pixels: Pixels) -> "ScoreInput":
        """From the pixels of a frame, without a DreamSim embedding."""
        canvas = make_canvas(pixels)
        return cls(canvas, make_histogram(canvas))


def _histogram(a: ScoreInput, b: ScoreInput) -> float:
    return histogram_intersection(a.histogram, b.histogram)


def _mse(a: ScoreInput, b: ScoreInput) -> float:
    return mean_squared_error(a.canvas, b.canvas)


def _dreamsim(a: ScoreInput, b: ScoreInput) -> DreamSimScore | None:
    return None if a.dreamsim is None or b.dreamsim is None else dreamsim_score(a.dreamsim, b.dreamsim)


DREAMSIM = "dreamsim"
SCORES: dict[str, Callable[[ScoreInput, ScoreInput], Any]] = {
    "histogram": _histogram,
    "mse": _mse,
    DREAMSIM: _dreamsim,
}
"""Name -> function, which gives None where an input lacks what it needs."""


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


def score_pairs(query: ScoreInput, others: Sequence[ScoreInput], names: Sequence[str]) -> list[dict[str, Any]]:
    """The named scores of the query against each other input, None where unavailable."""
    return [{name: SCORES[name](query, other) for name in names} for other in others]
