"""From a vector to its rows: what may be seen, and the nearest of it. The service and the evaluation share this."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain import Vectors
from app.indexes.base import Hits, Mask, Sight, Where
from app.library.filters import refuse_unknown_filters
from app.search.answer import Wish
from app.search.snapshot import Snapshot

_NO_ROWS = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Ranking:
    """The nearest rows of a snapshot and which rows could have been among them."""

    hits: Hits
    visible: Mask


def rank(
    snapshot: Snapshot,
    vector: Vectors,
    wish: Wish,
    *,
    self_id: str | None = None,
    patient_keys: Collection[str] = (),
    without_own_patient: bool = False,
    among: Mask | None = None,
) -> Ranking:
    """The nearest rows of a vector (dim,) among those the wish lets it see, never fewer than k while k exist.

    Left out are the query itself (``self_id``), the patients that were given and, with ``without_own_patient``,
    the patient or near-duplicate group of the reference that the query is. ``among`` are rows beyond which nothing
    is seen: an evaluation's gallery.
    """
    where = _grouped(wish)
    visible = _filtered(snapshot, where)
    hidden = [snapshot.rows_of_patient[key] for key in patient_keys]
    own = snapshot.row_of.get(self_id) if self_id else None
    if own is not None:
        if without_own_patient:
            hidden.append(np.flatnonzero(snapshot.patients == snapshot.patients[own]))
        hidden.append(np.asarray([own]))
    rows = np.concatenate([_NO_ROWS, *hidden])
    if own is not None and wish.include_self:
        rows = rows[rows != own]
    visible[rows] = False
    if among is not None:
        visible &= among
    sight = Sight(visible, where, frozenset(snapshot.references[row].id for row in rows if snapshot.alive[row]))
    if wish.max_per_patient is None:
        return Ranking(snapshot.search(vector, wish.k, sight), visible)
    return Ranking(_capped(snapshot, vector, wish.k, sight, wish.max_per_patient), visible)


def _grouped(wish: Wish) -> Where:
    """The filters by kind: the same kind means or, different kinds and."""
    kinds = dict.fromkeys(kind for kind, _ in wish.where)
    return tuple((kind, tuple(value for name, value in wish.where if name == kind)) for kind in kinds)


def _filtered(snapshot: Snapshot, where: Where) -> Mask:
    """The living rows that pass the filters."""
    refuse_unknown_filters(
        (kind for kind, _ in where), lambda kind: any(name == kind for name, _ in snapshot.rows_with)
    )
    visible = snapshot.alive.copy()
    for kind, values in where:
        visible &= _carriers(snapshot, kind, values)
    return visible


def _carriers(snapshot: Snapshot, kind: str, values: Sequence[str]) -> Mask:
    """The rows that carry one of some values of a label kind or an attribute."""
    mask = np.zeros(len(snapshot.references), dtype=np.bool_)
    for value in values:
        mask[snapshot.rows_with[kind, value]] = True
    return mask


def _capped(snapshot: Snapshot, vector: Vectors, k: int, sight: Sight, cap: int) -> Hits:
    """The k nearest with at most ``cap`` rows of one patient: ask for more until there are k or no more."""
    available = int(np.count_nonzero(sight.rows))
    fetch = min(2 * k, available)
    while True:
        hits = snapshot.search(vector, fetch, sight)
        kept = _first_of_patients(snapshot.patients[hits.rows], cap)[:k]
        if len(kept) == k or fetch >= available:
            return Hits(hits.rows[kept], hits.distances[kept])
        fetch = min(2 * fetch, available)


def _first_of_patients(patients: NDArray[np.int64], cap: int) -> NDArray[np.int64]:
    """Positions of the first ``cap`` occurrences of each patient, in order."""
    seen: dict[int, int] = {}
    kept = []
    for position, patient in enumerate(patients.tolist()):
        seen[patient] = seen.get(patient, 0) + 1
        if seen[patient] <= cap:
            kept.append(position)
    return np.asarray(kept, dtype=np.int64)
