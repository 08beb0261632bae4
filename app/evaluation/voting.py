"""What a query's five nearest neighbours would call it, and how often they are right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.evaluation.ground import Ground
from app.evaluation.trials import Rows, Trials, carried
from app.metrics.classification import Confusion, confusion, exactly_right, f1, majority_vote, vote_per_label
from app.metrics.intervals import Ratio
from app.metrics.precision import Numbers
from app.metrics.ranked_lists import Flags

VOTERS = 5


@dataclass(frozen=True, slots=True)
class Vote:
    """The vote on every query that sees anything, in the order of ``Trials.first_of_queries``.

    ``right`` (q,) says whether a query was given its labels, all of them and no other; ``confusion`` holds (q, C).
    """

    right: Flags
    confusion: Confusion

    def accuracy(self, trials: Trials) -> Ratio:
        """The share of queries that were given exactly their labels."""
        patients = trials.patients[trials.first_of_queries()]
        above = _sums(self.right.astype(np.float64)[:, None], patients, trials.groups)
        return Ratio(above, _sums(np.ones((len(self.right), 1)), patients, trials.groups))

    def macro_f1(self, trials: Trials, classes: Rows) -> Ratio:
        """The mean over some classes of 2 TP / (2 TP + FP + FN), over all queries."""
        patients = trials.patients[trials.first_of_queries()]
        hits, extras, misses = (_sums(one[:, classes], patients, trials.groups) for one in self.confusion)
        return Ratio(2 * hits, 2 * hits + extras + misses)

    def f1(self) -> Numbers:
        """F1 (C,) of every class over all queries."""
        return f1(*(one.sum(axis=0).astype(np.float64) for one in self.confusion))


def vote_of_five(ground: Ground, trials: Trials) -> Vote:
    """The five nearest vote: for the most frequent label where an image has one at most, else label by label.

    A tie falls to the nearest of those that tie; label by label, more than half of the voters must carry it.
    """
    member = carried(len(ground), list(ground.carriers(trials.ranked.kind).values()))
    first = trials.first_of_queries()
    truth = member[trials.rows[first]]
    voters = trials.ranked.neighbours[trials.places[first]][:, :VOTERS]
    given = _plurality(member, voters) if member.sum(axis=1).max() <= 1 else _label_by_label(member, voters)
    return Vote(exactly_right(truth, given), confusion(truth, given))


def _plurality(member: Flags, voters: Rows) -> Flags:
    chosen = majority_vote(np.where(voters >= 0, member.argmax(axis=1)[voters], -1))
    given: Flags = chosen[:, None] == np.arange(member.shape[1])
    return given


def _label_by_label(member: Flags, voters: Rows) -> Flags:
    return vote_per_label(member[voters] & (voters >= 0)[:, :, None], np.count_nonzero(voters >= 0, axis=1))


def _sums(values: NDArray[np.float64] | Flags, patients: Rows, groups: int) -> Numbers:
    """Sums (groups, c) of values (q, c) by patient."""
    sums = np.zeros((groups, values.shape[1]))
    np.add.at(sums, patients, values.astype(np.float64))
    return sums
