"""Labels given by a vote of the nearest neighbours, and how often they are right. Pure NumPy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.metrics.precision import Numbers

Codes = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Confusion(NamedTuple):
    """Per query and class (q, c): rightly given, wrongly given, wrongly withheld."""

    hits: Flags
    extras: Flags
    misses: Flags


def majority_vote(labels: Codes) -> Codes:
    """The most frequent label (q,) of the voters (q, k), nearest first; a tie falls to the nearest of those that tie.

    A voter of -1 has no vote; -1 where nobody has one.
    """
    has_vote = labels >= 0
    votes = ((labels[:, :, None] == labels[:, None, :]) & has_vote[:, None, :]).sum(axis=2)
    # argmax gives the first, that is the nearest, of those with the most votes.
    winner = np.argmax(np.where(has_vote, votes, -1), axis=1)
    chosen: Codes = labels[np.arange(len(labels)), winner]
    return chosen


def vote_per_label(carried: Flags, voters: NDArray[np.int64]) -> Flags:
    """The labels (q, c) that more than half of the ``voters`` (q,) carry, from ``carried`` (q, k, c)."""
    given: Flags = 2 * carried.sum(axis=1) > voters[:, None]
    return given


def confusion(truth: Flags, given: Flags) -> Confusion:
    """What was right and what was wrong of the labels (q, c) that were given."""
    return Confusion(truth & given, ~truth & given, truth & ~given)


def exactly_right(truth: Flags, given: Flags) -> Flags:
    """Whether a query (q,) was given its labels, all of them and no other (subset accuracy)."""
    right: Flags = (truth == given).all(axis=1)
    return right


def f1(hits: Numbers, extras: Numbers, misses: Numbers) -> Numbers:
    """F1 per class, 2 TP / (2 TP + FP + FN), from counts; nan where a class neither occurs nor is given."""
    below = 2 * hits + extras + misses
    shares: Numbers = np.divide(2 * hits, below, out=np.full(len(below), np.nan), where=below > 0)
    return shares
