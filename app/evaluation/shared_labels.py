"""Which labels the neighbours of a label carry: the confusion of a ranking."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.evaluation.ground import Ground
from app.evaluation.protocol import Ranked
from app.evaluation.trials import carried

MOST_LABELS = 20
"""The largest labels are shown."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """``shares`` (C, C) of the ten neighbours of queries with a label (row) that carry a label (column).

    ``queries`` (C,) carry each label and see anybody; ``of_labels`` there are. A row sums to 1 where every neighbour
    carries exactly one of the labels shown.
    """

    contestant: str
    kind: str
    labels: tuple[str, ...]
    queries: tuple[int, ...]
    of_labels: int
    shares: NDArray[np.float64]


def confusion_of(ground: Ground, ranked: Ranked) -> Confusion:
    """Of one ranking; the labels of most images, in alphabetical order."""
    carriers = ground.carriers(ranked.kind)
    kept = sorted(sorted(carriers, key=lambda label: (-len(carriers[label]), label))[:MOST_LABELS])
    member = carried(len(ground), [carriers[label] for label in kept])
    there = ranked.neighbours >= 0
    shown = member[ranked.neighbours] & there[:, :, None]
    asks = member[ranked.queries] & np.atleast_1d(there.any(axis=1))[:, None]
    shares = np.zeros((len(kept), len(kept)))
    for place in range(len(kept)):
        asked = asks[:, place]
        if asked.any():
            shares[place] = shown[asked].sum(axis=(0, 1)) / there[asked].sum()
    queries = tuple(int(count) for count in asks.sum(axis=0))
    return Confusion(ranked.contestant, ranked.kind, tuple(kept), queries, len(carriers), shares)
