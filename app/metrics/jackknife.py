"""Intervals by leaving out one patient at a time, where the figures without each patient are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.metrics.intervals import LEVEL
from app.metrics.precision import Numbers


@dataclass(frozen=True, slots=True)
class Jackknife:
    """A figure with its standard error, interval and two-sided p that it is 0; None where a figure is undefined."""

    value: float | None
    standard_error: float | None
    low: float | None
    high: float | None
    p: float | None


def jackknife(
    value: float, left_out: Numbers, *, bounds: tuple[float, float] = (-np.inf, np.inf), level: float = LEVEL
) -> Jackknife:
    """From a figure and the same without each of n patients (n,): Tukey 1958, with Student's t of n - 1 degrees.

    The variance (n - 1)/n sum (figure without one - their mean)² is not too small on average, whatever the figure
    (Efron and Stein 1981). A figure that does not change has p 1 where it is 0. The interval ends at the ``bounds``
    that the figure cannot pass. No p is below 2^(1-n), the least that flipping the signs of n patients can give: a few
    patients that agree prove little.
    """
    from scipy.stats import t  # 0.3 s: loaded when used

    count = len(left_out)
    if count < 2 or not np.isfinite(left_out).all() or not np.isfinite(value):
        return Jackknife(float(value) if np.isfinite(value) else None, None, None, None, None)
    error = float(np.sqrt((count - 1) / count * np.square(left_out - left_out.mean()).sum()))
    reach = float(t.ppf((1 + level) / 2, count - 1)) * error
    unmoved = 1.0 if value == 0 else 0.0
    p = float(2 * t.sf(abs(value) / error, count - 1)) if error > 0 else unmoved
    p = max(p, 2.0 ** (1 - count))
    return Jackknife(float(value), error, max(bounds[0], float(value) - reach), min(bounds[1], float(value) + reach), p)
