"""References whose neighbours say something else than their label: likely mislabelled, the most likely first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.evaluation.ground import Contestant, Ground
from app.evaluation.label_audit import LEAST_IMAGES
from app.evaluation.protocol import Patients, Protocol, Ranked, rank_all


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A row whose neighbours carry another label of its kind more often than its own.

    ``own`` and ``other`` are how many of the ten carry a label of the row, and the ``suggested`` one, as means over the
    encoders; ``margin`` = other - own, 0 < margin <= 10, is what contradictions are ranked by.
    """

    row: int
    kind: str
    labels: tuple[str, ...]
    suggested: str
    own: float
    other: float
    neighbours: tuple[int, ...]

    @property
    def margin(self) -> float:
        """How many more of the ten neighbours carry the suggested label."""
        return self.other - self.own


def find_contradictions(
    ground: Ground,
    contestants: Sequence[Contestant],
    kind: str,
    progress: Callable[[int], None] = lambda _n: None,
) -> list[Contradiction]:
    """The contradicted references of a kind, ranked; a row's patient and near-duplicates are not among its neighbours.

    The idea is Wilson's edited nearest neighbour rule (1972), with votes of ten and of all encoders. References of
    classes under 20 images are not judged: their class cannot win. Raises BadInput ``no_labels``, ``too_few_images``
    or ``not_finite``.
    """
    rankings = [
        rank_all(ground, one, kind, Protocol.PATIENT, patients=Patients.NEAR_DUPLICATES, progress=progress)
        for one in contestants
    ]
    values = ground.values(kind)
    frequent = {label for label, rows in ground.carriers(kind).items() if len(rows) >= LEAST_IMAGES}
    found = []
    for place, row in enumerate(rankings[0].queries.tolist()):
        if frequent.issuperset(values[row]):
            votes = [_votes(ranked, place, values) for ranked in rankings]
            found.append(_contradiction(row, kind, values[row], votes, _seen(rankings, place)))
    # Ties: rows that more of the suggested class surround by all encoders come first by their own votes, then by row.
    return sorted((one for one in found if one and one.margin > 0), key=lambda one: (-one.margin, one.own, one.row))


def _votes(ranked: Ranked, place: int, values: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [values[row] for row in ranked.neighbours[place].tolist() if row >= 0]


def _contradiction(
    row: int,
    kind: str,
    labels: tuple[str, ...],
    votes: Sequence[Sequence[tuple[str, ...]]],
    neighbours: tuple[int, ...],
) -> Contradiction | None:
    own = float(np.mean([sum(not set(labels).isdisjoint(vote) for vote in by_one) for by_one in votes]))
    others = Counter(label for by_one in votes for vote in by_one for label in vote if label not in labels)
    if not others:
        return None
    suggested, count = min(others.items(), key=lambda item: (-item[1], item[0]))
    return Contradiction(row, kind, labels, suggested, own, count / len(votes), neighbours)


def _seen(rankings: Sequence[Ranked], place: int) -> tuple[int, ...]:
    """The neighbours by the first encoder, nearest first: what a gallery shows."""
    rows: NDArray[np.int64] = rankings[0].neighbours[place]
    return tuple(row for row in rows.tolist() if row >= 0)
