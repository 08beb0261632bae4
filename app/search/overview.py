"""What a library holds: how often each label, and which images look the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.domain import Taxonomy
from app.library.catalogue import Catalogue
from app.library.reference import Edition, LibraryInfo
from app.search.groups import PatientGroups

_MOST_GROUPS = 100
_MOST_IDS = 20
_ATTEMPTS = 5
"""How often an overview is read again because somebody changed the library meanwhile."""

_MOST_REFERENCES = 200_000
"""In a larger library near-duplicates are not looked for while a caller waits: that takes seconds."""


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """References whose pictures are nearly the same: how many, and the ids of the first."""

    size: int
    reference_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """How many groups of near-duplicates there are, how many references are in them, and the largest groups."""

    groups: int
    references: int
    largest: Sequence[DuplicateGroup]


@dataclass(frozen=True, slots=True)
class Overview:
    """A library with its counts; ``duplicates`` is None where the library is too large to look for them."""

    info: LibraryInfo
    encoders: Mapping[str, tuple[str, int]]
    taxonomy: Taxonomy
    labels: Mapping[str, Mapping[str, int]]
    unlabelled: int
    duplicates: Duplicates | None


class Overviews:
    """Makes overviews; near-duplicates are looked for once for each state of a library."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._duplicates: dict[str, tuple[Edition, Duplicates]] = {}

    def of(self, library: str) -> Overview:
        """The overview of a library at one version; raises NotFound ``unknown_library``."""
        for _ in range(_ATTEMPTS):
            overview = self._read(library)
            if self._catalogue.library(library) == overview.info:
                break  # nobody has changed it between the questions
        return overview

    def _read(self, library: str) -> Overview:
        info = self._catalogue.library(library)
        listing = self._catalogue.listing
        return Overview(
            info=info,
            encoders=self._catalogue.embeddings.counts(library),
            taxonomy=self._catalogue.taxonomy(library),
            labels=listing.counts(library),
            unlabelled=listing.unlabelled(library),
            duplicates=self._duplicates_of(info) if info.size <= _MOST_REFERENCES else None,
        )

    def _duplicates_of(self, info: LibraryInfo) -> Duplicates:
        known = self._duplicates.get(info.name)
        if known is None or known[0] != info.edition:
            known = self._duplicates[info.name] = (info.edition, self._look_for_duplicates(info.name))
        return known[1]

    def _look_for_duplicates(self, library: str) -> Duplicates:
        rows = self._catalogue.listing.fingerprints(library)
        ids = [key for key, _, _ in rows]
        # Whatever their patients: the same picture under two patients is what somebody should see.
        groups = PatientGroups.of([None] * len(rows), [fingerprint for _, fingerprint, _ in rows]).numbers
        numbers, sizes = np.unique(groups, return_counts=True)
        several = sizes > 1
        order = np.argsort(-sizes[several], kind="stable")[:_MOST_GROUPS]
        largest = [
            DuplicateGroup(int(size), [ids[row] for row in np.flatnonzero(groups == number)[:_MOST_IDS]])
            for number, size in zip(numbers[several][order], sizes[several][order], strict=True)
        ]
        return Duplicates(int(several.sum()), int(sizes[several].sum()), largest)
