"""Leakage: how much of the paper's protocol is a query's own patient found again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.errors import BadInput
from app.evaluation.ground import Ground
from app.evaluation.protocol import Protocol
from app.evaluation.trials import Trials
from app.metrics.intervals import DRAWS, Estimate, estimate


@dataclass(frozen=True, slots=True)
class Leakage:
    """Counts among the ten nearest under the paper's protocol, as means over trials with intervals over patients.

    ``own_same`` are neighbours of the query's own patient, or near-duplicates of the query, that carry its label;
    ``own_any`` those with any label; ``duplicates_same`` only the near-duplicates with the label. ``queries_with`` is
    the share of trials with at least one of ``own_same``, ``share_of_found`` what part of all that was found they are.
    ``paper`` and ``patient`` are P@10 under both protocols and ``difference`` the first minus the second: it is
    smaller than what leaked, since other images of the class fill the places that become free.
    """

    contestant: str
    kind: str
    own_same: Estimate
    own_any: Estimate
    duplicates_same: Estimate
    queries_with: Estimate
    share_of_found: float | None
    paper: float | None
    patient: float | None
    difference: Estimate


def leakage_of(ground: Ground, paper: Trials, patient: Trials, *, draws: int = DRAWS, seed: int = 0) -> Leakage:
    """From the trials of one contestant and kind under both protocols; raises BadInput ``other_queries``."""
    _check(paper, patient)
    neighbours = paper.ranked.neighbours[paper.places]
    there = neighbours >= 0
    duplicate = there & (ground.lookalikes[neighbours] == ground.lookalikes[paper.rows, None])
    own = duplicate | (there & (ground.patients[neighbours] == ground.patients[paper.rows, None]))
    own_same = (own & paper.relevant).sum(axis=1).astype(np.float64)
    # A query that sees nobody but its patient has no trial under the patient protocol: compared are those of both.
    both = np.isin(_keys(paper), _keys(patient))
    before, after = paper.found / paper.shown, patient.found / patient.shown
    change = np.full(len(paper), np.nan)
    change[both] = before[both] - after
    figures = estimate(
        [
            paper.ratio(values)
            for values in (
                own_same,
                own.sum(axis=1).astype(np.float64),
                (duplicate & paper.relevant).sum(axis=1).astype(np.float64),
                (own_same > 0).astype(np.float64),
                change,
            )
        ],
        draws=draws,
        seed=seed,
    )
    found = float(paper.found.sum())
    return Leakage(
        contestant=paper.ranked.contestant,
        kind=paper.ranked.kind,
        own_same=figures[0],
        own_any=figures[1],
        duplicates_same=figures[2],
        queries_with=figures[3],
        share_of_found=float(own_same.sum() / found) if found else None,
        paper=float(before.mean()),
        patient=float(after.mean()) if len(after) else None,
        difference=figures[4],
    )


def _keys(trials: Trials) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    keys: np.ndarray[tuple[int], np.dtype[np.int64]] = trials.rows * len(trials.labels) + trials.classes
    return keys


def _check(paper: Trials, patient: Trials) -> None:
    asked = [(trials.ranked.contestant, trials.ranked.kind) for trials in (paper, patient)]
    protocols = (paper.ranked.protocol, patient.ranked.protocol)
    if asked[0] != asked[1] or protocols != (Protocol.PAPER, Protocol.PATIENT):
        raise BadInput(
            "other_queries",
            "leakage compares both protocols of one contestant and one label kind",
            hint="rank the same contestant and kind under the protocols paper and patient",
        )
