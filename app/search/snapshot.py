"""One library at one version under one encoder, in memory and ready to be searched."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.domain import LABEL_KINDS, Labels, Vectors
from app.indexes.base import Hits, Mask, SearchIndex, Sight
from app.indexes.layered import LayeredIndex
from app.library.embeddings import Changes, Shelf
from app.library.reference import LibraryInfo
from app.search.groups import PatientGroups
from app.search.index_makers import IndexMaker, LocalIndexes, Rows
from app.search.lookup import Lookup, without

Condition = tuple[str, str]
"""A label kind or attribute and its value."""


@dataclass(frozen=True, slots=True)
class ShelvedReference:
    """What is known of a reference as it was at the snapshot's version."""

    id: str
    external_id: str | None
    labels: Labels
    attributes: Mapping[str, str]
    patient_key: str | None
    fingerprint: str
    frame_digest: str

    def conditions(self) -> list[Condition]:
        """Every label and attribute that a filter may name."""
        labels = [(kind, value) for kind in LABEL_KINDS for value in self.labels.values(kind)]
        return labels + list(self.attributes.items())


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state of a library. Rows are numbered as they came; those that were removed stay, and are never ``alive``.

    ``patients`` numbers the patient of each row, or its group of near-duplicates where it has no patient;
    ``rows_with`` finds the living rows of a label or attribute. Nothing in it ever changes: a search that holds one
    answers from one version, whatever happens meanwhile.
    """

    rows: Rows
    references: list[ShelvedReference]
    alive: Mask
    index: SearchIndex
    groups: PatientGroups
    rows_of_patient: Lookup[str]
    rows_with: Lookup[Condition]
    frame_digests: Counter[str]

    @property
    def info(self) -> LibraryInfo:
        """The library at this version."""
        return self.rows.info

    @property
    def row_of(self) -> dict[str, int]:
        """Id -> row of every living reference."""
        return self.rows.row_of

    @property
    def size(self) -> int:
        """How many references can be found."""
        return len(self.row_of)

    @property
    def missing(self) -> int:
        """How many references of the library have no vector of this encoder."""
        return self.info.size - self.size

    @property
    def vectors(self) -> Vectors:
        """The vectors (n, dim) of all rows, living or not, where an engine of this process holds them."""
        assert isinstance(self.index, LayeredIndex)
        return self.index.vectors

    @property
    def patients(self) -> NDArray[np.int64]:
        """The number of each row's patient or group."""
        return self.groups.numbers

    def search(self, vector: Vectors, k: int, sight: Sight) -> Hits:
        """The nearest rows in sight of a vector (dim,)."""
        return self.index.search(vector, k, sight)


def build_snapshot(info: LibraryInfo, digest: str, shelf: Shelf, engine: str) -> Snapshot:
    """The snapshot of a shelf with its engine, one of this process, built at once."""
    rows = rows_of(info, "", digest, shelf.vectors.shape[1], shelf)
    return snapshot_of(rows, shelf, LocalIndexes(engine).built(rows, shelf.vectors))


def rows_of(info: LibraryInfo, encoder: str, digest: str, dim: int, shelf: Shelf) -> Rows:
    """The rows of a shelf, in its order."""
    return Rows(info, encoder, digest, dim, shelf.ids, {key: row for row, key in enumerate(shelf.ids)})


def snapshot_of(rows: Rows, shelf: Shelf, index: SearchIndex) -> Snapshot:
    """The snapshot of a shelf with an index over it."""
    references = _references(shelf)
    return Snapshot(
        rows=rows,
        references=references,
        alive=np.ones(len(shelf), dtype=np.bool_),
        index=index,
        groups=PatientGroups.of(shelf.patient_keys, shelf.fingerprints),
        rows_of_patient=Lookup.of(_patient(found) for found in references),
        rows_with=Lookup.of(found.conditions() for found in references),
        frame_digests=Counter(shelf.frame_digests),
    )


def rebuilt(snapshot: Snapshot, maker: IndexMaker) -> Snapshot:
    """The same state with only what is alive, in order of id, and its engine built over all of it."""
    ids = sorted(snapshot.row_of)
    order = np.asarray([snapshot.row_of[key] for key in ids], dtype=np.int64)
    references = [snapshot.references[row] for row in order]
    shelf = Shelf(
        ids=ids,
        vectors=snapshot.vectors[order],
        external_ids=[found.external_id for found in references],
        labels=[found.labels for found in references],
        attributes=[dict(found.attributes) for found in references],
        patient_keys=[found.patient_key for found in references],
        fingerprints=[found.fingerprint for found in references],
        frame_digests=[found.frame_digest for found in references],
    )
    old = snapshot.rows
    rows = rows_of(old.info, old.encoder, old.digest, old.dim, shelf)
    return snapshot_of(rows, shelf, maker.built(rows, shelf.vectors))


def with_changes(snapshot: Snapshot, changes: Changes, maker: IndexMaker) -> Snapshot:
    """The state after some changes, in time that grows with them and hardly with the library."""
    shelf, first = changes.shelf, len(snapshot.references)
    gone = [snapshot.row_of[key] for key in (*changes.removed, *shelf.ids) if key in snapshot.row_of]
    leaving, coming = [snapshot.references[row] for row in gone], _references(shelf)
    row_of = dict(snapshot.row_of)
    for found in leaving:
        del row_of[found.id]
    row_of.update((key, row) for row, key in enumerate(shelf.ids, start=first))
    alive = np.append(without(snapshot.alive, gone), np.ones(len(coming), dtype=np.bool_))
    rows = replace(snapshot.rows, info=changes.info, ids=[*snapshot.rows.ids, *shelf.ids], row_of=row_of)
    return Snapshot(
        rows=rows,
        references=snapshot.references + coming,
        alive=alive,
        index=maker.grown(snapshot.index, rows, shelf.vectors),
        groups=snapshot.groups.changed(gone, alive[:first], shelf.patient_keys, shelf.fingerprints),
        rows_of_patient=snapshot.rows_of_patient.changed(
            [(row, _patient(snapshot.references[row])) for row in gone],
            Lookup.of((_patient(found) for found in coming), first),
        ),
        rows_with=snapshot.rows_with.changed(
            [(row, snapshot.references[row].conditions()) for row in gone],
            Lookup.of((found.conditions() for found in coming), first),
        ),
        frame_digests=snapshot.frame_digests
        - Counter(found.frame_digest for found in leaving)
        + Counter(shelf.frame_digests),
    )


def _references(shelf: Shelf) -> list[ShelvedReference]:
    columns = (
        shelf.ids,
        shelf.external_ids,
        shelf.labels,
        shelf.attributes,
        shelf.patient_keys,
        shelf.fingerprints,
        shelf.frame_digests,
    )
    return [ShelvedReference(*facts) for facts in zip(*columns, strict=True)]


def _patient(reference: ShelvedReference) -> tuple[str, ...]:
    return (reference.patient_key,) if reference.patient_key else ()
