"""Figures of single ranked lists: precision, recall, average precision, graded gain. Pure NumPy.

``relevant`` (t, k) says of each neighbour of a list, nearest first, whether it is one that was looked for; ``visible``
(t,) how many rows the list could have been made of, ``alike`` (t,) how many of those are looked for. A figure that is
not defined for a list is nan.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.metrics.precision import Numbers

Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]


def precision_at(relevant: Flags, visible: Counts, k: int) -> Numbers:
    """Share (t,) of the first k that is relevant; of all that could be seen where that is less than k."""
    return _ratio(relevant[:, :k].sum(axis=1), np.minimum(k, visible))


def recall_at(relevant: Flags, alike: Counts, k: int) -> Numbers:
    """Share (t,) of what is looked for that is among the first k; nan where there is nothing to look for."""
    return _ratio(relevant[:, :k].sum(axis=1), alike)


def expected_precision(alike: Counts, visible: Counts) -> Numbers:
    """Precision (t,) of neighbours drawn at random: each of them is relevant with probability alike / visible."""
    return _ratio(alike, visible)


def average_precision_at_r(ranks: Counts, alike: int) -> float:
    """MAP@R of one list (Musgrave, Belongie and Lim 2020, A Metric Learning Reality Check, section 3).

    ``ranks`` are the places, from 1 and ascending, of relevant rows among the first R = ``alike``:
    (1/R) sum over them of precision at that place. nan for R = 0.
    """
    if alike == 0:
        return float("nan")
    inside = ranks[ranks <= alike]
    return float((np.arange(1, len(inside) + 1) / inside).sum() / alike)


def graded_gain(gains: Numbers, levels: dict[float, Counts]) -> Numbers:
    """NDCG (q,) of the gains (q, k) of ranked neighbours (Järvelin and Kekäläinen 2002, with log2 from rank 1).

    sum of gain_i / log2(i + 1) over the same sum for the best possible order. ``levels`` gives for each gain above 0
    how many rows (q,) of it could be seen; nan where there is none.
    """
    k = gains.shape[1]
    discounts = 1 / np.log2(np.arange(2, k + 2))
    worth = np.concatenate([[0.0], np.cumsum(discounts)])
    best, placed = np.zeros(len(gains)), np.zeros(len(gains), dtype=np.int64)
    for gain in sorted(levels, reverse=True):
        after = np.minimum(k, placed + levels[gain])
        best += gain * (worth[after] - worth[placed])
        placed = after
    return _ratio((gains * discounts).sum(axis=1), best)


def _ratio(above: NDArray[np.generic], below: NDArray[np.generic]) -> Numbers:
    high, low = above.astype(np.float64), below.astype(np.float64)
    shares: Numbers = np.divide(high, low, out=np.full(len(high), np.nan), where=low > 0)
    return shares
