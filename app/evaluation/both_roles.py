"""P@10 without each patient in turn, as query and in the gallery: how far it hangs on who is in the library."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.evaluation.ground import Ground
from app.evaluation.protocol import K
from app.evaluation.trials import Rows, Trials, carried
from app.metrics.precision import Numbers
from app.metrics.ranked_lists import Flags


@dataclass(frozen=True, slots=True)
class LeftOut:
    """P@10 of all, and without each patient (patients,), as a mean over trials (micro) and over classes (macro)."""

    micro: float
    without_micro: Numbers
    macro: float
    without_macro: Numbers


def leave_out_patients(ground: Ground, trials: Trials, first: Rows, classes: Rows) -> LeftOut:
    """From the ``first`` rows (q, depth) of each query that has trials; ``classes`` are those of the macro figure.

    Without a patient its queries are gone, and in the lists of others its images make room for the next ones.
    """
    numbers = np.unique(ground.patients[trials.ranked.gallery], return_inverse=True)
    patient_of = np.full(len(ground) + 1, -1, dtype=np.int64)
    patient_of[:-1][trials.ranked.gallery] = numbers[1]
    places = np.searchsorted(trials.places[trials.first_of_queries()], trials.places)
    rows = first[places]
    relevant = carried(len(ground), list(ground.carriers(trials.ranked.kind).values()))[rows, trials.classes[:, None]]
    owners, there = patient_of[rows], rows >= 0
    changes = _Sums(len(numbers[0]), len(trials.labels))
    precision = _precision(relevant, there)
    own = patient_of[trials.rows]
    changes.add(own, trials.classes, -precision, -np.ones(len(trials)))
    for place in range(min(K, rows.shape[1])):
        owner = owners[:, place]
        # Once for each patient among the ten; the query's own is gone with the query.
        new = there[:, place] & (owner != own) & ~(owners[:, :place] == owner[:, None]).any(axis=1)
        kept = there & (owners != owner[:, None])
        after = _precision(relevant, kept)
        blind = ~kept.any(axis=1)
        change = np.where(blind, -precision, after - precision)
        changes.add(owner[new], trials.classes[new], change[new], -blind[new].astype(np.float64))
    found = np.bincount(trials.classes, weights=precision, minlength=len(trials.labels)).astype(np.float64)
    asked = np.bincount(trials.classes, minlength=len(trials.labels)).astype(np.float64)
    above, below = found + changes.found, asked + changes.asked
    return LeftOut(
        micro=_share(found.sum(), asked.sum()),
        without_micro=_shares(above.sum(axis=1), below.sum(axis=1)),
        macro=float(_shares(found, asked)[classes].mean()) if len(classes) else float("nan"),
        without_macro=_shares(above, below)[:, classes].mean(axis=1) if len(classes) else np.full(len(above), np.nan),
    )


class _Sums:
    """What changes without each patient in each class: sums of precision and numbers of trials, (patients, C)."""

    def __init__(self, patients: int, classes: int) -> None:
        self.found = np.zeros((patients, classes))
        self.asked = np.zeros((patients, classes))

    def add(self, patients: Rows, classes: Rows, found: Numbers, asked: Numbers) -> None:
        np.add.at(self.found, (patients, classes), found)
        np.add.at(self.asked, (patients, classes), asked)


def _precision(relevant: Flags, kept: Flags) -> Numbers:
    """The share (t,) of relevant rows among the first ten that are kept; 0 where none is."""
    chosen = kept & (np.cumsum(kept, axis=1) <= K)
    shares: Numbers = (relevant & chosen).sum(axis=1) / np.maximum(1, chosen.sum(axis=1))
    return shares


def _share(above: float, below: float) -> float:
    return float(above / below) if below > 0 else float("nan")


def _shares(above: Numbers, below: Numbers) -> Numbers:
    shares: Numbers = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0.5)
    return shares
