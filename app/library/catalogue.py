"""All queries: libraries, references, labels, canvases and vectors."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, bindparam, delete, func, insert, select, update
from sqlalchemy.orm import Session

from app.domain import LABEL_KINDS, Labels, Pixels, Taxonomy, Vectors
from app.errors import Conflict, NotFound
from app.library.files import FrameFiles
from app.library.reference import (
    LabelChange,
    LibraryInfo,
    NewReference,
    Reference,
    check_library_name,
    identity_of,
    reference_id,
)
from app.library.rows import (
    canvas_of,
    canvas_values,
    embedding_values,
    frame_columns,
    label_columns,
    labels_of,
    new_rows,
    reference_of,
    vector_bytes,
)
from app.library.tables import (
    CanvasRow,
    EmbeddingRow,
    FactRow,
    LabelHistoryRow,
    LibraryRow,
    ReferenceRow,
)

_SECRET_CHECK = "hmac_check"  # noqa: S105 - the name of a row, not a secret
_LIBRARIES = LibraryRow.__table__.c
_CANVAS = CanvasRow.__table__.c
_EMBEDDING = EmbeddingRow.__table__.c
_REFERENCE = ReferenceRow.__table__

_SHELF_COLUMNS = (
    ReferenceRow.id,
    ReferenceRow.external_id,
    *(getattr(ReferenceRow, kind) for kind in LABEL_KINDS),
    ReferenceRow.attributes,
    ReferenceRow.patient_key,
    ReferenceRow.fingerprint,
    ReferenceRow.frame_digest,
    EmbeddingRow.vector,
)

# Every search asks these two: putting a statement together costs as much as SQLite needs to answer it.
_VERSIONS = select(_LIBRARIES.name, _LIBRARIES.version).order_by(_LIBRARIES.name)
_CANVASES = select(_CANVAS.reference_id, _CANVAS.canvas, _CANVAS.histogram).where(
    _CANVAS.reference_id.in_(bindparam("keys", expanding=True))
)
_VECTORS = select(_EMBEDDING.reference_id, _EMBEDDING.vector).where(
    _EMBEDDING.digest == bindparam("digest"), _EMBEDDING.reference_id.in_(bindparam("keys", expanding=True))
)
_A_VECTOR = (
    select(_EMBEDDING.reference_id)
    .join(_REFERENCE, _REFERENCE.c.id == _EMBEDDING.reference_id)
    .join(LibraryRow, LibraryRow.id == _REFERENCE.c.library_id)
    .where(_EMBEDDING.digest == bindparam("digest"), _LIBRARIES.name == bindparam("library"))
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class Shelf:
    """What a search needs of one library under one digest, read in one transaction, rows in order of id."""

    info: LibraryInfo
    ids: list[str]
    vectors: Vectors
    missing: int
    external_ids: list[str | None]
    labels: list[Labels]
    attributes: list[dict[str, str]]
    patient_keys: list[str | None]
    fingerprints: list[str]
    frame_digests: list[str]


class Catalogue:
    """Reads and writes the library database and the frames beside it."""

    def __init__(self, engine: Engine, files: FrameFiles) -> None:
        self._engine = engine
        self._writing = engine.execution_options(writes=True)
        self.files = files

    # -- the secret ------------------------------------------------------------------------------------

    def has_secret(self) -> bool:
        """Whether a secret has been used with this database."""
        return self.secret_check() is not None

    def secret_check(self) -> str | None:
        """The check value of the secret that this database was filled with."""
        with Session(self._engine) as session:
            row = session.get(FactRow, _SECRET_CHECK)
            return row.value if row else None

    def remember_secret(self, check_value: str) -> str:
        """Store the check value where there is none; returns the one in force."""
        with Session(self._writing) as session, session.begin():
            row = session.get(FactRow, _SECRET_CHECK)
            if row is None:
                row = FactRow(name=_SECRET_CHECK, value=check_value)
                session.add(row)
            return row.value

    # -- libraries -------------------------------------------------------------------------------------

    def libraries(self) -> list[LibraryInfo]:
        """All libraries by name."""
        with Session(self._engine) as session:
            rows = session.scalars(select(LibraryRow).order_by(LibraryRow.name)).all()
            return [_info(session, row) for row in rows]

    def library(self, name: str) -> LibraryInfo:
        """One library; raises NotFound ``unknown_library``."""
        with Session(self._engine) as session:
            return _info(session, _library(session, name))

    def versions(self) -> dict[str, int]:
        """Name -> version of all libraries, in order of names."""
        with self._engine.connect() as connection:
            return {row.name: row.version for row in connection.execute(_VERSIONS)}

    def version(self, name: str) -> int:
        """The version of a library; raises NotFound ``unknown_library``."""
        with Session(self._engine) as session:
            return _library(session, name).version

    def names(self) -> list[str]:
        """The names of all libraries."""
        return list(self.versions())

    def taxonomy(self, name: str) -> Taxonomy:
        """The taxonomy of a library; raises NotFound ``unknown_library``."""
        with Session(self._engine) as session:
            return Taxonomy(**_library(session, name).taxonomy)

    def put_library(self, name: str, taxonomy: Taxonomy | None = None) -> None:
        """Create a library, or replace the taxonomy of one that exists; raises BadInput ``bad_library_name``."""
        check_library_name(name)
        wanted = None if taxonomy is None else {"organs": dict(taxonomy.organs), "diagnoses": dict(taxonomy.diagnoses)}
        with Session(self._writing) as session, session.begin():
            row = session.scalar(select(LibraryRow).where(LibraryRow.name == name))
            if row is None:
                session.add(LibraryRow(name=name, taxonomy=wanted or {"organs": {}, "diagnoses": {}}))
            elif wanted is not None and row.taxonomy != wanted:
                row.taxonomy = wanted
                row.version += 1
                _regroup(session, row.id, Taxonomy(**wanted))

    def encoders(self, name: str) -> dict[str, tuple[str, int]]:
        """Digest -> (encoder, number of vectors) of a library."""
        with Session(self._engine) as session:
            found = session.execute(
                select(EmbeddingRow.digest, func.min(EmbeddingRow.encoder), func.count())
                .join(ReferenceRow, ReferenceRow.id == EmbeddingRow.reference_id)
                .where(ReferenceRow.library_id == _library(session, name).id)
                .group_by(EmbeddingRow.digest)
            )
            return {digest: (encoder, count) for digest, encoder, count in found}

    # -- references ------------------------------------------------------------------------------------

    def add(self, library: str, new: Sequence[NewReference], *, actor: str = "local") -> list[str]:
        """Store references, files before all rows in one transaction; returns their ids.

        Raises Conflict ``external_id_taken`` or ``already_enrolled``.
        """
        ids = [reference_id(library, identity_of(item.facts)) for item in new]
        with Session(self._writing) as session, session.begin():
            row = _library(session, library)
            _refuse_taken(session, row.id, ids, new)
            with self._files_or_none(ids, new):
                for table, values in new_rows(row.id, ids, new, actor):
                    session.execute(insert(table), values)
                row.version += 1
                session.commit()
        return ids

    @contextmanager
    def _files_or_none(self, ids: Sequence[str], new: Sequence[NewReference]) -> Iterator[None]:
        """The frames of new references, written before their rows and taken away if those do not come."""
        try:
            for key, item in zip(ids, new, strict=True):
                self.files.write(key, item.png)
            yield
        except BaseException:
            self.files.delete(ids)
            raise

    def update(
        self,
        key: str,
        labels: Labels,
        attributes: Mapping[str, str],
        *,
        patient_key: str | None = None,
        external_id: str | None = None,
        actor: str = "local",
    ) -> None:
        """Replace the labels and attributes of a reference; None leaves patient and external id as they are.

        Other labels are appended to its history.
        """
        with Session(self._writing) as session, session.begin():
            row = _reference_row(session, key)
            if labels != labels_of({kind: getattr(row, kind) for kind in LABEL_KINDS}):
                session.add(LabelHistoryRow(reference_id=key, actor=actor, labels=asdict(labels)))
            for name, value in {**label_columns(labels), "attributes": dict(attributes)}.items():
                setattr(row, name, value)
            row.patient_key = patient_key or row.patient_key
            row.external_id = external_id or row.external_id
            _bump(session, row)

    def recrop(self, key: str, new: NewReference) -> None:
        """Replace the frame of a reference, and with it its canvas and all its vectors."""
        with Session(self._writing) as session, session.begin():
            row = _reference_row(session, key)
            for name, value in frame_columns(new).items():
                setattr(row, name, value)
            session.execute(delete(EmbeddingRow).where(EmbeddingRow.reference_id == key))
            session.execute(delete(CanvasRow).where(CanvasRow.reference_id == key))
            session.execute(insert(CanvasRow), [canvas_values(key, new)])
            session.execute(insert(EmbeddingRow), embedding_values(key, new))
            _bump(session, row)
            self.files.write(key, new.png)

    def get(self, key: str) -> Reference:
        """One reference; raises NotFound ``unknown_reference``."""
        found = self.get_many([key])
        if not found:
            raise _unknown_reference()
        return found[0]

    def get_many(self, keys: Sequence[str]) -> list[Reference]:
        """References in the order of their ids as given; those that are gone are left out."""
        with Session(self._engine) as session:
            rows = session.execute(
                select(ReferenceRow, LibraryRow.name)
                .join(LibraryRow, LibraryRow.id == ReferenceRow.library_id)
                .where(ReferenceRow.id.in_(keys))
            )
            by_id = {row.id: reference_of(row, name) for row, name in rows}
        return [by_id[key] for key in keys if key in by_id]

    def history(self, key: str) -> list[LabelChange]:
        """The label history of a reference, oldest first."""
        with Session(self._engine) as session:
            rows = session.scalars(
                select(LabelHistoryRow).where(LabelHistoryRow.reference_id == key).order_by(LabelHistoryRow.id)
            )
            return [LabelChange(row.at.replace(tzinfo=UTC), row.actor, labels_of(row.labels)) for row in rows]

    def canvases(self, keys: Sequence[str]) -> dict[str, tuple[Pixels, NDArray[np.int64]]]:
        """Id -> (canvas, histogram) of some references."""
        with self._engine.connect() as connection:
            rows = connection.execute(_CANVASES, {"keys": list(keys)})
            return {key: canvas_of(canvas, histogram) for key, canvas, histogram in rows}

    def all_ids(self) -> set[str]:
        """The ids of all references in all libraries."""
        with Session(self._engine) as session:
            return set(session.scalars(select(ReferenceRow.id)))

    def ids_by_external_id(self, library: str) -> dict[str, str]:
        """External id -> reference id of a library."""
        with Session(self._engine) as session:
            rows = session.execute(
                select(ReferenceRow.external_id, ReferenceRow.id).where(
                    ReferenceRow.library_id == _library(session, library).id,
                    ReferenceRow.external_id.is_not(None),
                )
            )
            return {external: key for external, key in rows if external is not None}

    # -- vectors ---------------------------------------------------------------------------------------

    def shelf(self, library: str, digest: str) -> Shelf:
        """Everything a search needs, from one version; raises NotFound ``unknown_library``."""
        with Session(self._engine) as session, session.begin():
            row = _library(session, library)
            info = _info(session, row)
            rows = session.execute(
                select(*_SHELF_COLUMNS)
                .join(EmbeddingRow, EmbeddingRow.reference_id == ReferenceRow.id)
                .where(ReferenceRow.library_id == row.id, EmbeddingRow.digest == digest)
                .order_by(ReferenceRow.id)
            ).all()
        vectors = np.frombuffer(b"".join(r.vector for r in rows), dtype="<f4").reshape(len(rows), -1 if rows else 0)
        return Shelf(
            info=info,
            ids=[r.id for r in rows],
            vectors=vectors,
            missing=info.size - len(rows),
            external_ids=[r.external_id for r in rows],
            labels=[labels_of({kind: getattr(r, kind) for kind in LABEL_KINDS}) for r in rows],
            attributes=[r.attributes for r in rows],
            patient_keys=[r.patient_key for r in rows],
            fingerprints=[r.fingerprint for r in rows],
            frame_digests=[r.frame_digest for r in rows],
        )

    def vector(self, key: str, digest: str) -> NDArray[np.float32] | None:
        """The vector of a reference under a digest, None where it has none."""
        with Session(self._engine) as session:
            row = session.get(EmbeddingRow, (key, digest))
            return None if row is None else np.frombuffer(row.vector, dtype="<f4")

    def vectors(self, keys: Sequence[str], digest: str) -> dict[str, NDArray[np.float32]]:
        """Id -> vector (dim,) under a digest of those of some references that have one."""
        with self._engine.connect() as connection:
            rows = connection.execute(_VECTORS, {"keys": list(keys), "digest": digest})
            return {key: np.frombuffer(vector, dtype="<f4") for key, vector in rows}

    def has_vectors(self, library: str, digest: str) -> bool:
        """Whether any reference of a library has a vector under a digest."""
        with self._engine.connect() as connection:
            return connection.execute(_A_VECTOR, {"library": library, "digest": digest}).first() is not None

    def without_vector(self, library: str, digest: str) -> list[str]:
        """The ids of references that have no vector under a digest."""
        has_one = select(EmbeddingRow.reference_id).where(EmbeddingRow.digest == digest)
        with Session(self._engine) as session:
            return list(
                session.scalars(
                    select(ReferenceRow.id)
                    .where(
                        ReferenceRow.library_id == _library(session, library).id,
                        ReferenceRow.id.not_in(has_one),
                    )
                    .order_by(ReferenceRow.id)
                )
            )

    def add_vectors(self, library: str, encoder: str, digest: str, keys: Sequence[str], vectors: Vectors) -> None:
        """Store vectors (n, dim) of references that have none under this digest."""
        with Session(self._writing) as session, session.begin():
            # Another process may embed the same library: what it stored meanwhile is the same.
            there = set(
                session.scalars(
                    select(EmbeddingRow.reference_id).where(
                        EmbeddingRow.digest == digest, EmbeddingRow.reference_id.in_(keys)
                    )
                )
            )
            values = [
                {"reference_id": key, "digest": digest, "encoder": encoder, "vector": vector_bytes(vector)}
                for key, vector in zip(keys, vectors, strict=True)
                if key not in there
            ]
            if values:
                session.execute(insert(EmbeddingRow), values)
                _library(session, library).version += 1


def _library(session: Session, name: str) -> LibraryRow:
    row = session.scalar(select(LibraryRow).where(LibraryRow.name == name))
    if row is None:
        known = session.scalars(select(LibraryRow.name).order_by(LibraryRow.name)).all()
        raise NotFound(
            "unknown_library",
            "there is no library of that name",
            hint=f"libraries are: {', '.join(known)}" if known else "enrol one first: sonoseek enrol NAME MANIFEST",
        )
    return row


def _reference_row(session: Session, key: str) -> ReferenceRow:
    row = session.get(ReferenceRow, key)
    if row is None:
        raise _unknown_reference()
    return row


def _unknown_reference() -> NotFound:
    return NotFound(
        "unknown_reference",
        "there is no reference with that id",
        hint="ids come from a search or from an enrolment's map file",
    )


def _bump(session: Session, row: ReferenceRow) -> None:
    session.execute(update(LibraryRow).where(LibraryRow.id == row.library_id).values(version=LibraryRow.version + 1))


def _regroup(session: Session, library_id: int, taxonomy: Taxonomy) -> None:
    """Groups follow from the taxonomy: bring those of all references up to date."""
    for row in session.scalars(select(ReferenceRow).where(ReferenceRow.library_id == library_id)):
        columns = label_columns(taxonomy.complete(labels_of({kind: getattr(row, kind) for kind in LABEL_KINDS})))
        for kind in ("organ_group", "diagnosis_groups"):
            if getattr(row, kind) != columns[kind]:
                setattr(row, kind, columns[kind])


def _info(session: Session, row: LibraryRow) -> LibraryInfo:
    size = session.scalar(select(func.count()).where(ReferenceRow.library_id == row.id)) or 0
    return LibraryInfo(row.name, row.version, size)


def _refuse_taken(session: Session, library_id: int, ids: list[str], new: Sequence[NewReference]) -> None:
    externals = [item.external_id for item in new if item.external_id is not None]
    in_library = ReferenceRow.library_id == library_id
    taken = session.scalar(select(ReferenceRow.external_id).where(in_library, ReferenceRow.external_id.in_(externals)))
    if taken is not None or len(set(externals)) < len(externals):
        raise Conflict(
            "external_id_taken",
            "another image of this library already has that external id",
            hint="external ids are unique in a library; choose another",
        )
    if session.scalar(select(ReferenceRow.id).where(ReferenceRow.id.in_(ids))) or len(set(ids)) < len(ids):
        raise Conflict(
            "already_enrolled",
            "the same image is already in this library",
            hint="relabel the reference that is there",
        )
