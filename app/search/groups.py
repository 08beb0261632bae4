"""Which references count as one patient: those with one key, and near-duplicates where there is none."""

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
    groups = np.arange(len(patient_keys))
    first_of: dict[str, int] = {}
    unknown = []
    for row, key in enumerate(patient_keys):
        if key is None:
            unknown.append(row)
        else:
            groups[row] = first_of.setdefault(key, row)
    if unknown:
        rows = np.asarray(unknown, dtype=np.int64)
        hashes = np.asarray([int(fingerprints[row], 16) for row in unknown], dtype=np.uint64)
        groups[rows] = rows[_near_duplicates(hashes)]
    return groups


def _near_duplicates(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """For each hash the place of the first of its group."""
    distinct, first, place_of = np.unique(hashes, return_index=True, return_inverse=True)
    parents = np.arange(len(distinct))
    # Two hashes that differ in fewer bits than there are bands agree in at least one whole band,
    # so only hashes that share a band are compared.
    for band in range(_BANDS):
        values = (distinct >> np.uint64(8 * band)) & np.uint64(0xFF)
        order = np.argsort(values, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(values[order])) + 1):
            _join(parents, distinct, members)
    return first[_roots(parents, np.arange(len(distinct)))][place_of]


def _join(parents: NDArray[np.int64], hashes: NDArray[np.uint64], members: NDArray[np.int64]) -> None:
    """Union those of some hashes that are near to each other."""
    for position, member in enumerate(members[:-1]):
        others = members[position + 1 :]
        near = others[np.bitwise_count(hashes[others] ^ hashes[member]) <= NEAR_DUPLICATE_BITS]
        if len(near):
            roots = _roots(parents, np.append(near, member))
            parents[roots] = roots.min()


def _roots(parents: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
    roots = parents[places]
    while not np.array_equal(roots, parents[roots]):
        roots = parents[roots]
    return roots
