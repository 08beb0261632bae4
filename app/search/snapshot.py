"""One library at one version under one encoder, in memory and ready to be searched."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from app.domain import LABEL_KINDS, Labels, Vectors
from app.indexes.base import Mask, VectorIndex
from app.indexes.registry import open_index
from app.library.catalogue import Shelf
from app.library.reference import LibraryInfo
from app.search.groups import group_patients

Key = TypeVar("Key", bound=Hashable)
Condition = tuple[str, str]
"""A label kind or attribute and its value."""


@dataclass(frozen=True, slots=True)
class ShelvedReference:
    """What an answer says of a reference, as it was at the snapshot's version."""

    id: str
    external_id: str | None
    labels: Labels
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Rows in order of reference id.

    ``patients`` gives each row the number of its patient, or of its group of near-duplicates where it has
    no patient; ``rows_with`` finds the rows of a label or attribute.
    """

    info: LibraryInfo
    digest: str
    missing: int
    frame_digests: frozenset[str]
    references: list[ShelvedReference]
    vectors: Vectors
    row_of: dict[str, int]
    index: VectorIndex
    patients: NDArray[np.int64]
    rows_of_patient: dict[str, NDArray[np.int64]]
    rows_with: dict[Condition, NDArray[np.int64]]

    def everything(self) -> Mask:
        """A mask that lets every row through."""
        return np.ones(len(self.references), dtype=np.bool_)


def build_snapshot(shelf: Shelf, digest: str, engine: str) -> Snapshot:
    """Build the index and the look-ups of a shelf."""
    return Snapshot(
        info=shelf.info,
        digest=digest,
        missing=shelf.missing,
        frame_digests=frozenset(shelf.frame_digests),
        references=[
            ShelvedReference(*facts)
            for facts in zip(shelf.ids, shelf.external_ids, shelf.labels, shelf.attributes, strict=True)
        ],
        vectors=shelf.vectors,
        row_of={key: row for row, key in enumerate(shelf.ids)},
        index=open_index(engine, shelf.vectors),
        patients=group_patients(shelf.patient_keys, shelf.fingerprints),
        rows_of_patient=_inverted((key,) if key else () for key in shelf.patient_keys),
        rows_with=_inverted(_conditions(shelf)),
    )


def _conditions(shelf: Shelf) -> Iterable[list[Condition]]:
    for labels, attributes in zip(shelf.labels, shelf.attributes, strict=True):
        yield [(kind, value) for kind in LABEL_KINDS for value in labels.values(kind)] + list(attributes.items())


def _inverted(keys_of_rows: Iterable[Iterable[Key]]) -> dict[Key, NDArray[np.int64]]:
    rows: dict[Key, list[int]] = defaultdict(list)
    for row, keys in enumerate(keys_of_rows):
        for key in keys:
            rows[key].append(row)
    return {key: np.asarray(found, dtype=np.int64) for key, found in rows.items()}
