"""Which references count as one patient: those with one key, and near-duplicates where there is none."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NEAR_DUPLICATE_BITS = 6
"""Perceptual hashes that differ in at most this many of 64 bits belong to near-duplicates.

Seen on real pictures: pairs of one breast scan lie at 2 to 6, the nearest of different fetuses at 8.
"""

_BANDS = 8


def group_patients(patient_keys: Sequence[str | None], fingerprints: Sequence[str]) -> NDArray[np.int64]:
    """A group number per row: equal for rows of one patient; without a patient, for near-duplicates."""
    parents = np.arange(len(patient_keys))
    first_of: dict[str, int] = {}
    unknown = []
    for row, key in enumerate(patient_keys):
        if key is None:
            unknown.append(row)
        else:
            parents[row] = first_of.setdefault(key, row)
    _join_near_duplicates(parents, np.asarray(unknown, dtype=np.int64), fingerprints)
    return np.asarray([_root(parents, row) for row in range(len(parents))], dtype=np.int64)


def _join_near_duplicates(parents: NDArray[np.int64], rows: NDArray[np.int64], fingerprints: Sequence[str]) -> None:
    """Union rows whose hashes are near.

    Two hashes that differ in fewer bits than there are bands agree in at least one whole band, so only
    rows that share a band are compared.
    """
    hashes = np.asarray([int(fingerprints[row], 16) for row in rows], dtype=np.uint64)
    for band in range(_BANDS):
        values = (hashes >> np.uint64(8 * band)) & np.uint64(0xFF)
        members: dict[int, list[int]] = defaultdict(list)
        for place, value in enumerate(values.tolist()):
            members[value].append(place)
        for places in members.values():
            _join_band(parents, rows, hashes, np.asarray(places))


def _join_band(
    parents: NDArray[np.int64], rows: NDArray[np.int64], hashes: NDArray[np.uint64], places: NDArray[np.int64]
) -> None:
    for position, place in enumerate(places[:-1]):
        others = places[position + 1 :]
        bits = np.bitwise_count(hashes[others] ^ hashes[place])
        for other in others[bits <= NEAR_DUPLICATE_BITS]:
            a, b = sorted((_root(parents, rows[place]), _root(parents, rows[other])))
            parents[b] = a


def _root(parents: NDArray[np.int64], row: int) -> int:
    while parents[row] != row:
        row = int(parents[row])
    return row
