"""Intervals by bootstrap over patients: whole patients are drawn, figures are ratios of sums over what was drawn."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from app.metrics.precision import Numbers

DRAWS = 2000
LEVEL = 0.95

_PATIENCE = 20
"""Times as many resamples as are needed are drawn at most, where many of them lack a class."""

_NUMBERS = 1 << 22  # weights held at once: 32 MB
_LEFT_OUT = 256  # patients that are left out at once for the acceleration of BCa


@dataclass(frozen=True, slots=True)
class Ratio:
    """A figure as the mean over columns of (sum of ``numerators``) / (sum of ``denominators``), both (patients, c).

    One column: a micro figure such as all matches over all places. A column per class: a macro figure.
    """

    numerators: Numbers
    denominators: Numbers

    @property
    def value(self) -> float:
        """The figure of all patients; nan where a column has no denominator."""
        return float(_means(self.numerators.sum(axis=0)[None], self.denominators.sum(axis=0)[None])[0])


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval; None where there is nothing to say.

    ``method`` is ``bca``, ``percentile`` (where BCa is degenerate) or ``none``; ``redrawn`` counts the resamples that
    were drawn anew because they lacked a class.
    """

    value: float | None
    low: float | None
    high: float | None
    method: str
    redrawn: int


def estimate(ratios: Sequence[Ratio], *, draws: int = DRAWS, seed: int = 0, level: float = LEVEL) -> list[Estimate]:
    """Each figure with its bootstrap interval over patients, all from the same resamples.

    As many patients as there are, are drawn with replacement (cluster bootstrap: Davison and Hinkley 1997, 3.8). The
    interval is BCa (Efron 1987), computed by scipy.stats.bootstrap; the percentile interval where that is degenerate:
    all resamples alike, or a patient without whom a class is gone. A resample that lacks a class of a figure is drawn
    anew for that figure. Figures whose resamples lack a class nearly always, and those of one patient, get none, and
    no figure does with 0 ``draws``.
    """
    if not ratios or not draws:
        return [Estimate(number(ratio.value), None, None, "none", 0) for ratio in ratios]
    spread, redrawn, complete = _distributions(ratios, draws, seed)
    lows, highs, methods = np.full(len(ratios), np.nan), np.full(len(ratios), np.nan), ["none"] * len(ratios)
    chosen = np.flatnonzero(complete).tolist()
    if chosen:
        lows[chosen], highs[chosen] = _accelerated([ratios[place] for place in chosen], spread[chosen], level)
    for place in chosen:
        methods[place] = "bca"
        if not np.isfinite([lows[place], highs[place]]).all():
            methods[place] = "percentile"
            lows[place], highs[place] = np.quantile(spread[place], [(1 - level) / 2, (1 + level) / 2])
    return [
        Estimate(number(ratio.value), number(low), number(high), method, int(again))
        for ratio, low, high, method, again in zip(ratios, lows, highs, methods, redrawn, strict=True)
    ]


def number(value: float) -> float | None:
    """A plain number, None for what is not finite: JSON has no nan."""
    return float(value) if np.isfinite(value) else None


def _distributions(
    ratios: Sequence[Ratio], draws: int, seed: int
) -> tuple[Numbers, NDArray[np.int64], NDArray[np.bool_]]:
    """Resampled figures (m, draws), how many resamples each did without, and whether it has all it needs."""
    tops, bottoms = _columns(ratios)
    ends = np.cumsum([ratio.numerators.shape[1] for ratio in ratios])[:-1]
    spread = np.full((len(ratios), draws), np.nan)
    filled, redrawn = np.zeros(len(ratios), dtype=np.int64), np.zeros(len(ratios), dtype=np.int64)
    hopeless = np.asarray([not np.isfinite(ratio.value) or _patients(ratio) < 2 for ratio in ratios])
    for weights in () if hopeless.all() else _resamples(len(tops), draws, seed):
        above, below = np.split(weights @ tops, ends, axis=1), np.split(weights @ bottoms, ends, axis=1)
        for place in np.flatnonzero((filled < draws) & ~hopeless).tolist():
            means = _means(above[place], below[place])
            kept = np.flatnonzero(np.isfinite(means))[: draws - filled[place]]
            looked_at = len(means) if filled[place] + len(kept) < draws else int(kept[-1]) + 1
            spread[place, filled[place] : filled[place] + len(kept)] = means[kept]
            filled[place] += len(kept)
            redrawn[place] += looked_at - len(kept)
        if (hopeless | (filled == draws)).all():
            break
    return spread, redrawn, filled == draws


def _columns(ratios: Sequence[Ratio]) -> tuple[Numbers, Numbers]:
    tops = np.concatenate([ratio.numerators for ratio in ratios], axis=1)
    return tops, np.concatenate([ratio.denominators for ratio in ratios], axis=1)


def _patients(ratio: Ratio) -> int:
    """How many patients the figure is about."""
    return int(np.count_nonzero((ratio.denominators != 0).any(axis=1)))


def _resamples(patients: int, draws: int, seed: int) -> Iterator[Numbers]:
    """How often each patient was drawn, (some, patients) at a time, up to the end of our patience."""
    generator = np.random.default_rng(seed)
    at_once = max(1, min(draws, _NUMBERS // patients))
    for _ in range(0, _PATIENCE * draws, at_once):
        drawn = generator.integers(0, patients, size=(at_once, patients))
        drawn += patients * np.arange(at_once)[:, None]
        counted = np.bincount(drawn.ravel(), minlength=at_once * patients)
        yield counted.reshape(at_once, patients).astype(np.float64)


def _means(above: Numbers, below: Numbers) -> Numbers:
    """The mean over columns of above / below, both (some, c); nan where a column has nothing below."""
    there = below > 1e-9
    ratios = np.divide(above, below, out=np.full(above.shape, np.nan), where=there)
    means: Numbers = ratios.mean(axis=1) if above.shape[1] else np.full(len(above), np.nan)
    return means


def _accelerated(ratios: Sequence[Ratio], spread: Numbers, level: float) -> tuple[Numbers, Numbers]:
    """The ends (m,) of BCa intervals from distributions (m, draws) that are there; nan where degenerate."""
    from scipy.stats import DegenerateDataWarning, bootstrap  # 0.3 s: loaded when used

    tops, bottoms = _columns(ratios)
    ends = np.cumsum([ratio.numerators.shape[1] for ratio in ratios])[:-1]
    patients = np.arange(len(tops))

    def figures(sample: NDArray[np.int64], axis: int = -1) -> Numbers:
        """The figures (m, ...) of all patients, or of all but one: scipy asks for nothing else here."""
        above, below = tops.sum(axis=0)[None], bottoms.sum(axis=0)[None]
        if sample.shape[axis] < len(patients):
            missing = patients.sum() - sample.sum(axis=axis)
            above, below = above - tops[missing], below - bottoms[missing]
        pairs = zip(np.split(above, ends, axis=1), np.split(below, ends, axis=1), strict=True)
        found = np.stack([_means(top, bottom) for top, bottom in pairs])
        return found if sample.ndim > 1 else found[:, 0]

    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", DegenerateDataWarning)
        result = bootstrap(
            (patients,),
            figures,
            n_resamples=0,
            batch=_LEFT_OUT,
            vectorized=True,
            confidence_level=level,
            method="BCa",
            bootstrap_result=SimpleNamespace(bootstrap_distribution=spread),
        )
    return result.confidence_interval.low, result.confidence_interval.high
