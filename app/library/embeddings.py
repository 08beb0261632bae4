"""Vectors by reference and digest, and what a search needs of a library under one digest."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Engine, Select, Text, bindparam, cast, delete, insert, select, update
from sqlalchemy.orm import Session

from app.domain import LABEL_KINDS, Labels, Vectors
from app.library.database import writing
from app.library.queries import frame_checksums, info_of, library_row, locked_library, vector_counts
from app.library.reference import Edition, LibraryInfo
from app.library.rows import MANY_LABELS, ONE_LABEL, vector_bytes
from app.library.tables import EmbeddingRow, LibraryRow, ReferenceRow, RemovalRow

_EMBEDDING = EmbeddingRow.__table__.c
_REFERENCE = ReferenceRow.__table__.c
_LIBRARY = LibraryRow.__table__.c

# Every search asks this: putting a statement together costs as much as SQLite needs to answer it.
_VECTORS = select(_EMBEDDING.reference_id, _EMBEDDING.vector).where(
    _EMBEDDING.digest == bindparam("digest"), _EMBEDDING.reference_id.in_(bindparam("keys", expanding=True))
)
_A_VECTOR = (
    select(_EMBEDDING.reference_id)
    .join(ReferenceRow.__table__, _REFERENCE.id == _EMBEDDING.reference_id)
    .join(LibraryRow.__table__, _LIBRARY.id == _REFERENCE.library_id)
    .where(_EMBEDDING.digest == bindparam("digest"), _LIBRARY.name == bindparam("library"))
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class Shelf:
    """What a search needs of references of one library under one digest, rows in order of id.

    References with equal labels or attributes share one object: nobody may change it.
    """

    ids: list[str]
    vectors: Vectors
    external_ids: list[str | None]
    labels: list[Labels]
    attributes: list[dict[str, str]]
    patient_keys: list[str | None]
    fingerprints: list[str]
    frame_digests: list[str]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened to a library between two editions, under one digest.

    ``shelf`` holds the references that are new or changed, ``removed`` the ids of those that are gone, or that have
    no vector of the digest any more. Applying them in this order gives the edition ``info``: first take away
    ``removed`` and all ids of ``shelf``, then put ``shelf`` in.
    """

    info: LibraryInfo
    shelf: Shelf
    removed: list[str]


class Embeddings:
    """Reads and writes the vectors of references."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = writing(engine)

    def shelf(self, library: str, digest: str, *, with_vectors: bool = True) -> tuple[LibraryInfo, Shelf]:
        """Everything a search needs of a library, from one version; raises NotFound ``unknown_library``.

        Without vectors theirs is an array (n, 0): for an engine that keeps them elsewhere.
        """
        with Session(self._engine) as session, session.begin():
            row = library_row(session, library)
            return info_of(session, row), _shelf(session, digest, _REFERENCE.library_id == row.id, with_vectors)

    def some(self, keys: Sequence[str], digest: str) -> Shelf:
        """The same of some references; those that are gone or have no vector are left out."""
        with Session(self._engine) as session, session.begin():
            return _shelf(session, digest, _REFERENCE.id.in_(keys))

    def versions(self, library: str, digest: str) -> tuple[LibraryInfo, dict[str, int]]:
        """The library, and id -> version of its last change of each reference that has a vector, from one version."""
        with Session(self._engine) as session, session.begin():
            row = library_row(session, library)
            found = session.execute(
                select(_REFERENCE.id, _REFERENCE.version)
                .join(EmbeddingRow.__table__, _EMBEDDING.reference_id == _REFERENCE.id)
                .where(_REFERENCE.library_id == row.id, _EMBEDDING.digest == digest)
            )
            return info_of(session, row), {entry.id: entry.version for entry in found}

    def changes(self, library: str, digest: str, since: Edition) -> Changes | None:
        """What changed since an edition, from one version; None where the library is another or older.

        Raises NotFound ``unknown_library``.
        """
        with Session(self._engine) as session, session.begin():
            row = library_row(session, library)
            if row.uid != since.uid or row.version < since.version:  # made anew, or restored from a backup
                return None
            changed = (_REFERENCE.library_id == row.id) & (_REFERENCE.version > since.version)
            shelf = _shelf(session, digest, changed)
            removed = {*session.scalars(_removed(row, since)), *session.scalars(select(_REFERENCE.id).where(changed))}
            return Changes(info_of(session, row), shelf, sorted(removed.difference(shelf.ids)))

    def touched(self, library: str, since: Edition) -> set[str] | None:
        """The ids of references that came, changed or went since an edition; None where it is no past of the library's.

        That is where the library was deleted, made anew, or restored from a backup.
        """
        with Session(self._engine) as session, session.begin():
            row = session.scalar(select(LibraryRow).where(LibraryRow.name == library))
            if row is None or row.uid != since.uid or row.version < since.version:
                return None
            ids = set(session.scalars(_removed(row, since)))
            changed = select(_REFERENCE.id).where(_REFERENCE.library_id == row.id, _REFERENCE.version > since.version)
            return ids.union(session.scalars(changed))

    def counts(self, library: str) -> dict[str, tuple[str, int]]:
        """Digest -> (encoder, number of vectors) of a library."""
        with Session(self._engine) as session:
            return vector_counts(session, library_row(session, library))

    def one(self, key: str, digest: str) -> NDArray[np.float32] | None:
        """The vector (dim,) of a reference under a digest, None where it has none."""
        return self.many([key], digest).get(key)

    def many(self, keys: Sequence[str], digest: str) -> dict[str, NDArray[np.float32]]:
        """Id -> vector (dim,) under a digest of those of some references that have one."""
        with self._engine.connect() as connection:
            rows = connection.execute(_VECTORS, {"keys": list(keys), "digest": digest})
            return {key: np.frombuffer(vector, dtype="<f4") for key, vector in rows}

    def any(self, library: str, digest: str) -> bool:
        """Whether any reference of a library has a vector under a digest."""
        with self._engine.connect() as connection:
            return connection.execute(_A_VECTOR, {"library": library, "digest": digest}).first() is not None

    def missing(self, library: str, digest: str) -> list[str]:
        """The ids of references that have no vector under a digest."""
        has_one = select(EmbeddingRow.reference_id).where(EmbeddingRow.digest == digest)
        with Session(self._engine) as session:
            return list(
                session.scalars(
                    select(ReferenceRow.id)
                    .where(
                        ReferenceRow.library_id == library_row(session, library).id,
                        ReferenceRow.id.not_in(has_one),
                    )
                    .order_by(ReferenceRow.id)
                )
            )

    def add(
        self,
        library: str,
        encoder: str,
        digest: str,
        keys: Sequence[str],
        vectors: Vectors,
        *,
        frames: Mapping[str, str] | None = None,
    ) -> int:
        """Store vectors (n, dim) of references that have none under this digest; returns how many.

        Those that are gone are left out. ``frames`` are the sha256 of the frames that were embedded: of a reference
        that has another one by now nothing is stored.
        """
        with Session(self._writing) as session, session.begin():
            row = locked_library(session, library)
            # Another process may embed the same library, or delete of it: what it stored meanwhile is the same.
            checksums = frame_checksums(session, keys)
            there = {key for key, now in checksums.items() if frames is None or now in (None, frames[key])}
            there -= set(
                session.scalars(
                    select(EmbeddingRow.reference_id).where(
                        EmbeddingRow.digest == digest, EmbeddingRow.reference_id.in_(keys)
                    )
                )
            )
            values = [
                {"reference_id": key, "digest": digest, "encoder": encoder, "vector": vector_bytes(vector)}
                for key, vector in zip(keys, vectors, strict=True)
                if key in there
            ]
            if values:
                row.version += 1
                session.execute(insert(EmbeddingRow), values)
                session.execute(update(ReferenceRow).where(ReferenceRow.id.in_(there)).values(version=row.version))
            return len(values)

    def drop(self, library: str, digest: str) -> int:
        """Remove all vectors of a digest from a library, as those of a former encoder; returns how many.

        Raises NotFound ``unknown_library``.
        """
        with Session(self._writing) as session, session.begin():
            row = locked_library(session, library)
            of_library = select(ReferenceRow.id).where(ReferenceRow.library_id == row.id)
            there = EmbeddingRow.digest == digest, EmbeddingRow.reference_id.in_(of_library)
            keys = session.scalars(select(EmbeddingRow.reference_id).where(*there)).all()
            if keys:
                session.execute(delete(EmbeddingRow).where(*there))
                row.version += 1
                # Whoever follows the library sees the references go, and come back where it knows another digest.
                session.execute(update(ReferenceRow).where(ReferenceRow.id.in_(of_library)).values(version=row.version))
                values = {"library_id": row.id, "version": row.version}
                session.execute(insert(RemovalRow), [{**values, "reference_id": key} for key in keys])
            return len(keys)


def _removed(row: LibraryRow, since: Edition) -> Select[str]:
    return select(RemovalRow.reference_id).where(RemovalRow.library_id == row.id, RemovalRow.version > since.version)


_SHELF_COLUMNS = (
    _REFERENCE.id,
    _REFERENCE.external_id,
    _REFERENCE.patient_key,
    _REFERENCE.fingerprint,
    _REFERENCE.frame_digest,
    cast(_REFERENCE.attributes, Text),
    *(_REFERENCE[kind] for kind in ONE_LABEL),
    *(cast(_REFERENCE[kind], Text) for kind in MANY_LABELS),
)
"""Read as text where they are JSON: most references share their labels with others, and need not be decoded anew."""


def _shelf(session: Session, digest: str, which: ColumnElement[bool], with_vectors: bool = True) -> Shelf:
    found = session.execute(
        select(*_SHELF_COLUMNS, *([_EMBEDDING.vector] if with_vectors else []))
        .join(EmbeddingRow.__table__, _EMBEDDING.reference_id == _REFERENCE.id)
        .where(which, _EMBEDDING.digest == digest)
    )
    rows = sorted(found.all(), key=itemgetter(0))  # a database may sort by the rules of a language
    joined = b"".join(row[-1] for row in rows) if with_vectors else b""
    vectors = np.frombuffer(joined, dtype="<f4").reshape(len(rows), -1 if joined else 0)
    attributes_of, labels_of = cache(json.loads), cache(_labels)
    return Shelf(
        ids=[row[0] for row in rows],
        vectors=vectors,
        external_ids=[row[1] for row in rows],
        labels=[labels_of(*row[6 : 6 + len(LABEL_KINDS)]) for row in rows],
        attributes=[attributes_of(row[5]) for row in rows],
        patient_keys=[row[2] for row in rows],
        fingerprints=[row[3] for row in rows],
        frame_digests=[row[4] for row in rows],
    )


def _labels(organ: str | None, organ_group: str | None, plane: str | None, *many: str) -> Labels:
    diagnoses, diagnosis_groups, findings = (tuple(json.loads(text)) for text in many)
    return Labels(organ, organ_group, plane, diagnoses, diagnosis_groups, findings)
