"""Precision at k against chance of whole rankings at once, with an interval by patient. Pure NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Precision:
    """Per query: neighbours of its label among the first k, and how many chance would give."""

    k: int
    matches: Numbers
    expected: Numbers
    groups: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Matches of the average query, 0..k."""
        return float(self.matches.mean())

    @property
    def chance(self) -> float:
        """Matches of the average query under random order, 0..k."""
        return float(self.expected.mean())

    def interval(self, *, seed: int = 0, draws: int = 2000) -> tuple[float, float]:
        """The 95 % bootstrap interval of the mean, whole groups (patients) drawn with replacement."""
        return bootstrap_interval(self.matches, self.groups, seed=seed, draws=draws)


def precision_at_k(
    vectors: NDArray[np.float32], labels: Sequence[str], groups: Sequence[str], k: int = 10
) -> Precision:
    """Each row (n, dim) as a query against the rows of all other groups, by Euclidean distance."""
    names, patients = np.asarray(labels), np.asarray(groups)
    wide = vectors.astype(np.float64)
    matches, expected = np.empty(len(wide)), np.empty(len(wide))
    for row, vector in enumerate(wide):
        others = np.flatnonzero(patients != patients[row])
        same = names[others] == names[row]
        nearest = np.argsort(np.square(wide[others] - vector).sum(axis=1), kind="stable")[:k]
        matches[row] = same[nearest].sum()
        expected[row] = len(nearest) * same.mean() if len(others) else 0.0
    return Precision(k, matches, expected, tuple(patients.tolist()))


def bootstrap_interval(
    values: Numbers, groups: Sequence[str], *, seed: int = 0, draws: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """The percentile bootstrap interval of a mean when whole groups are drawn (Efron 1979; cluster bootstrap)."""
    _, numbers = np.unique(np.asarray(groups), return_inverse=True)
    sums, counts = np.bincount(numbers, weights=values), np.bincount(numbers)
    drawn = np.random.default_rng(seed).integers(0, len(sums), size=(draws, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
