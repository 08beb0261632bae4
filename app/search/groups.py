"""Which references count as one patient: those with one key, and near-duplicates where there is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

NEAR_DUPLICATE_BITS = 6
"""Perceptual hashes that differ in at most this many of 64 bits belong to near-duplicates.

Seen on real pictures: pairs of one breast scan lie at 2 to 6, the nearest of different fetuses at 8.
"""

_BANDS = 8


@dataclass(frozen=True, slots=True)
class PatientGroups:
    """A group number per row: equal for rows of one patient; without a patient, for near-duplicates.

    ``hashes`` are the rows' perceptual hashes, ``unknown`` says which rows have no patient.
    """

    numbers: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    unknown: NDArray[np.bool_]
    first_of: dict[str, int]

    @classmethod
    def of(cls, patient_keys: Sequence[str | None], fingerprints: Sequence[str]) -> Self:
        """From the key of each row's patient, None where there is none, and its perceptual hash (16 hex digits)."""
        numbers = np.arange(len(patient_keys))
        first_of: dict[str, int] = {}
        for row, key in enumerate(patient_keys):
            if key is not None:
                numbers[row] = first_of.setdefault(key, row)
        unknown = np.asarray([key is None for key in patient_keys], dtype=np.bool_)
        hashes = np.asarray([int(text, 16) for text in fingerprints], dtype=np.uint64)
        rows = np.flatnonzero(unknown)
        numbers[rows] = rows[_near_duplicates(hashes[rows])]
        return cls(numbers, hashes, unknown, first_of)

    def changed(
        self,
        gone: Sequence[int],
        alive: NDArray[np.bool_],
        patient_keys: Sequence[str | None],
        fingerprints: Sequence[str],
    ) -> "PatientGroups":
        """After some rows have gone, of which ``alive`` are left, and others have come behind them."""
        first, first_of = len(self.numbers), dict(self.first_of)
        numbers = np.append(self.numbers, np.arange(first, first + len(patient_keys)))
        unknown = np.append(self.unknown, np.asarray([key is None for key in patient_keys], dtype=np.bool_))
        hashes = np.append(self.hashes, np.asarray([int(text, 16) for text in fingerprints], dtype=np.uint64))
        for row, key in enumerate(patient_keys, start=first):
            if key is not None:
                numbers[row] = first_of.setdefault(key, row)
        among = unknown & np.append(alive, np.ones(len(patient_keys), dtype=np.bool_))
        # A group that lost a member may fall apart; what has come may join groups.
        torn = np.isin(numbers, numbers[[row for row in gone if unknown[row]]])
        touched = torn | (np.arange(len(numbers)) >= first) | _near_any(hashes, hashes[first:][among[first:]])
        rows = np.flatnonzero(among & np.isin(numbers, numbers[touched & among]))
        numbers[rows] = rows[_near_duplicates(hashes[rows])]
        return PatientGroups(numbers, hashes, unknown, first_of)


def _near_any(hashes: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of some hashes are near to one of others."""
    near = np.zeros(len(hashes), dtype=np.bool_)
    for other in others:
        near |= np.bitwise_count(hashes ^ other) <= NEAR_DUPLICATE_BITS
    return near


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
