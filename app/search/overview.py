"""What a library holds: how often each label, and which images look the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.domain import Taxonomy
from app.library.catalogue import Catalogue
from app.library.reference import Edition, Holdings, LibraryInfo
from app.search.groups import PatientGroups

_MOST_GROUPS = 100
_MOST_IDS = 20
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
    """A library with its counts, all of one version.

    ``duplicates`` is None where the library is too large to look for them.
    """

    holdings: Holdings
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
        """The overview of a library; raises NotFound ``unknown_library``."""
        with self._catalogue.listing.view(library) as view:
            holdings = view.holdings()
            known = self._known_duplicates(holdings.info)
            is_small = holdings.info.size <= _MOST_REFERENCES
            prints = view.fingerprints() if known is None and is_small else []
            taxonomy, labels, unlabelled = view.taxonomy(), view.labels(), view.unlabelled()
        # Not within the transaction: SQLite could not empty its log for as long.
        if known is None and is_small:
            known = _duplicates_among(prints)
            self._duplicates[library] = (holdings.info.edition, known)
        return Overview(holdings, taxonomy, labels, unlabelled, known)

    def _known_duplicates(self, info: LibraryInfo) -> Duplicates | None:
        edition, duplicates = self._duplicates.get(info.name, (None, None))
        return duplicates if edition == info.edition else None


def _duplicates_among(prints: Sequence[tuple[str, str]]) -> Duplicates:
    """Groups among references by id and perceptual hash."""
    # Whatever their patients: the same picture under two patients is what somebody should see.
    groups = PatientGroups.of([None] * len(prints), [fingerprint for _, fingerprint in prints]).numbers
    numbers, sizes = np.unique(groups, return_counts=True)
    several = sizes > 1
    order = np.argsort(-sizes[several], kind="stable")[:_MOST_GROUPS]
    largest = [
        DuplicateGroup(int(size), [prints[row][0] for row in np.flatnonzero(groups == number)[:_MOST_IDS]])
        for number, size in zip(numbers[several][order], sizes[several][order], strict=True)
    ]
    return Duplicates(int(several.sum()), int(sizes[several].sum()), largest)
