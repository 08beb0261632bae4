"""Which references count as one patient: those with one key, and near-duplicates where there is none."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Rows = NDArray[np.int64]

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
    if not len(hashes):
        return np.arange(0)
    distinct, first, place_of = np.unique(hashes, return_index=True, return_inverse=True)
    ones, others = _near_pairs(distinct)
    links = coo_array((np.ones(len(ones), dtype=np.bool_), (ones, others)), shape=(len(distinct), len(distinct)))
    groups, group_of = connected_components(links, directed=False)
    firsts = np.full(groups, len(hashes))
    np.minimum.at(firsts, group_of, first)
    found: NDArray[np.int64] = firsts[group_of][place_of]
    return found


def _near_pairs(hashes: NDArray[np.uint64]) -> tuple[Rows, Rows]:
    """The places of all pairs of distinct hashes that are near to each other; a pair may come several times."""
    bands = hashes.astype("<u8").view(np.uint8).reshape(-1, _BANDS).astype(np.uint16)
    found: list[tuple[Rows, Rows]] = []
    # Each bit that differs spoils one band at most, so near hashes agree in two or more: only those are compared.
    for one, other in combinations(range(_BANDS), _BANDS - NEAR_DUPLICATE_BITS):
        keys = bands[:, one] << np.uint16(8) | bands[:, other]
        order = np.argsort(keys, kind="stable")
        found += _near_in_runs(keys[order], hashes[order], order)
    return np.concatenate([pair[0] for pair in found]), np.concatenate([pair[1] for pair in found])


def _near_in_runs(keys: NDArray[np.uint16], hashes: NDArray[np.uint64], order: Rows) -> Iterator[tuple[Rows, Rows]]:
    """The near pairs among hashes of equal keys, which lie side by side: neighbours first, then ever farther apart."""
    places, step = np.arange(len(keys)), 0
    while len(places):
        step += 1
        places = places[places < len(keys) - step]
        places = places[keys[places] == keys[places + step]]
        near = np.bitwise_count(hashes[places] ^ hashes[places + step]) <= NEAR_DUPLICATE_BITS
        yield order[places[near]], order[places[near] + step]
