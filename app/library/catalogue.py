"""References with their frames: all queries but those of vectors and of lists."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC

from sqlalchemy import Engine, bindparam, delete, insert, select
from sqlalchemy.orm import Session

from app.domain import LABEL_KINDS, Labels, Taxonomy
from app.errors import Misconfigured, SonoSeekError
from app.library.adoption import Adoptions
from app.library.embeddings import Embeddings
from app.library.erasure import Erased, erase_rows, scrub
from app.library.facts import Facts
from app.library.files import FrameFiles
from app.library.leftovers import is_unknown
from app.library.libraries import Libraries
from app.library.listing import Listing
from app.library.queries import (
    hold_writers,
    ids_there,
    library_row,
    locked_edition,
    locked_library,
    locked_reference,
    remove_rows,
    replace_frame,
    unknown_reference,
)
from app.library.reference import (
    LabelChange,
    NewReference,
    Reference,
    StoredCanvas,
    identity_of,
    reference_id,
)
from app.library.rows import (
    label_columns,
    labels_of,
    new_rows,
    reference_of,
    stored_canvas,
)
from app.library.rules import refuse_taken, refuse_taken_names
from app.library.tables import (
    CanvasRow,
    LabelHistoryRow,
    LibraryRow,
    ReferenceRow,
)
from app.library.upkeep import Upkeep
from app.logs import get_logger

log = get_logger("library")

_CANVAS = CanvasRow.__table__.c
_REFERENCE = ReferenceRow.__table__

# Every search asks this: putting a statement together costs as much as SQLite needs to answer it.
_CANVASES = (
    select(_CANVAS.reference_id, _CANVAS.canvas, _CANVAS.histogram, _REFERENCE.c.version)
    .join(_REFERENCE, _REFERENCE.c.id == _CANVAS.reference_id)
    .where(_CANVAS.reference_id.in_(bindparam("keys", expanding=True)))
)

_AT_ONCE = 500  # references that one transaction deletes

Change = Callable[[Reference, Taxonomy], tuple[Labels, Mapping[str, str]]]
"""What labels and attributes a reference shall have, by what it is."""


class Catalogue(Libraries):
    """Reads and writes the library database and the frames beside it."""

    def __init__(self, engine: Engine, files: FrameFiles) -> None:
        super().__init__(engine)
        self.files = files
        self.embeddings = Embeddings(engine)
        self.adoptions = Adoptions(engine)
        self.facts = Facts(engine)
        self.upkeep = Upkeep(engine, files, self.facts)
        self.listing = Listing(engine)

    def delete_library(self, name: str) -> int:
        """Delete a library with all its references; returns how many. Raises NotFound ``unknown_library``.

        Some references at a time, so that other writers get their turn; a deletion that is interrupted can be repeated.
        A library that another caller deletes and makes anew meanwhile stays.
        """
        deleted, uid = 0, self.library(name).uid
        while True:
            with Session(self._writing) as session, session.begin():
                row = locked_edition(session, uid)
                if row is None:
                    return deleted
                found = select(ReferenceRow.id).where(ReferenceRow.library_id == row.id).limit(_AT_ONCE)
                keys = session.scalars(found).all()
                if not keys:
                    session.execute(delete(LibraryRow).where(LibraryRow.id == row.id))
                    return deleted
                deleted += len(remove_rows(session, row.id, keys))
            self._drop_frames(keys)

    def add(self, library: str, new: Sequence[NewReference], *, actor: str = "local") -> list[str]:
        """Store references, files before all rows in one transaction; returns their ids.

        The library's taxonomy completes their labels. Raises Conflict ``external_id_taken`` or ``already_enrolled``.
        """
        ids = [reference_id(library, identity_of(item.facts)) for item in new]
        if not ids:
            return ids
        with self.upkeep.settled(), Session(self._writing) as session, session.begin():
            row = locked_library(session, library)
            refuse_taken(session, row.id, ids, new)
            row.version += 1
            taxonomy = Taxonomy(**row.taxonomy)
            grouped = [replace(item, labels=taxonomy.complete(item.labels)) for item in new]
            with self._files_or_none(ids, grouped):
                for table, values in new_rows(row.id, row.version, ids, grouped, actor):
                    session.execute(insert(table), values)
                session.commit()
        return ids

    @contextmanager
    def _files_or_none(self, ids: Sequence[str], new: Sequence[NewReference]) -> Iterator[None]:
        """The frames of new references, written before their rows and taken away if those do not come."""
        try:
            for key, item in zip(ids, new, strict=True):
                self.files.write(key, item.png)
            yield
        except BaseException as error:
            if not is_unknown(error):
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
        cropped: NewReference | None = None,
        actor: str = "local",
    ) -> None:
        """Replace the labels and attributes of a reference; None leaves patient, external id and frame as they are.

        The library's taxonomy completes the labels; other ones are appended to its history. ``cropped`` brings another
        frame, as to ``recrop``. Raises NotFound ``unknown_reference`` or Conflict ``external_id_taken``, having changed
        nothing.
        """
        with self._changing(key, cropped) as (session, library, row):
            if external_id is not None:
                refuse_taken_names(session, library.id, [external_id], key)
            row.patient_key = patient_key or row.patient_key
            row.external_id = external_id or row.external_id
            _relabel(session, row, Taxonomy(**library.taxonomy).complete(labels), attributes, actor)

    def relabel(self, key: str, change: Change, *, actor: str = "local") -> bool:
        """Change labels and attributes by what they are at that moment; False where nothing differs.

        ``change`` gets the reference and the taxonomy of its library, which nobody else changes meanwhile.
        Raises NotFound ``unknown_reference``.
        """
        with Session(self._writing) as session, session.begin():
            library, row = locked_reference(session, key)
            stored = reference_of(row, library.name)
            labels, attributes = change(stored, Taxonomy(**library.taxonomy))
            differs = labels != stored.labels or dict(attributes) != dict(stored.attributes)
            if differs:
                _relabel(session, row, labels, attributes, actor)
                library.version = row.version = library.version + 1
            return differs

    def recrop(self, key: str, new: NewReference) -> None:
        """Replace the frame of a reference, and with it its canvas and all its vectors."""
        with self._changing(key, new):
            pass  # nothing but the frame

    @contextmanager
    def _changing(self, key: str, new: NewReference | None) -> Iterator[tuple[Session, LibraryRow, ReferenceRow]]:
        """The locked rows of a reference and its library for a block that changes them; with it comes a new frame."""
        with self.upkeep.settled(), Session(self._writing) as session, session.begin():
            library, row = locked_reference(session, key)
            yield session, library, row
            library.version = row.version = library.version + 1
            if new is not None:
                replace_frame(session, row, new)
                with self.files.replacing(key, new.png, is_unknown):
                    session.commit()

    def remove(self, keys: Sequence[str]) -> list[str]:
        """Remove references of any library, rows before files; returns the ids of those that were there."""
        with Session(self._writing) as session, session.begin():
            found = session.scalars(select(ReferenceRow).where(ReferenceRow.id.in_(keys))).all()
            removed: list[str] = []
            for library_id in sorted({row.library_id for row in found}):
                removed += remove_rows(session, library_id, [row.id for row in found if row.library_id == library_id])
        self._drop_frames(removed)
        return removed

    def erase_patient(self, patient_key: str, *, patience_s: float = 60.0) -> Erased:
        """Remove all that is stored of a patient from every library, and let the storage give up the bytes.

        Waits at most ``patience_s`` for readers of SQLite's log. What remains all the same is told.
        """
        with self.upkeep.settled(), Session(self._writing) as session, session.begin():
            gone = erase_rows(session, patient_key)
            ids = [key for one in gone for key in one.ids]
            # Where a frame cannot be deleted, the rows stay, and erasing once more finds it.
            with self.files.taking_away(ids, is_unknown):
                session.commit()
        self.upkeep.sweep()  # an erasure that was interrupted may have left frames set aside
        remains = scrub(self._engine, patience_s)
        return Erased(gone, remains)

    def _drop_frames(self, keys: Sequence[str]) -> None:
        """Delete the frames of references that are gone, but not of those that were enrolled again meanwhile.

        Where it fails, the references are gone all the same, and a later start sweeps what was left.
        """
        try:
            with Session(self._writing) as session, session.begin():
                hold_writers(session)
                there = ids_there(session, keys)
                self.files.delete(key for key in keys if key not in there)
        except (SonoSeekError, OSError) as error:
            log.warning("frames_left", number=len(keys), error=type(error).__name__)

    def get(self, key: str) -> Reference:
        """One reference; raises NotFound ``unknown_reference``."""
        found = self.get_many([key])
        if not found:
            raise unknown_reference()
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

    def frame(self, key: str) -> bytes:
        """The stored frame of a reference as PNG.

        Raises NotFound ``unknown_reference``, or Misconfigured ``frame_missing`` where only the frame is gone.
        """
        try:
            return self.files.read(key)
        except Misconfigured:
            self.get(key)  # the reference may have been removed a moment ago
            raise

    def history(self, key: str) -> list[LabelChange]:
        """The label history of a reference, oldest first."""
        with Session(self._engine) as session:
            rows = session.scalars(
                select(LabelHistoryRow).where(LabelHistoryRow.reference_id == key).order_by(LabelHistoryRow.id)
            )
            return [LabelChange(row.at.replace(tzinfo=UTC), row.actor, labels_of(row.labels)) for row in rows]

    def canvases(self, keys: Sequence[str]) -> dict[str, StoredCanvas]:
        """Id -> canvas of some references; those that are gone are left out."""
        with self._engine.connect() as connection:
            rows = connection.execute(_CANVASES, {"keys": list(keys)})
            return {key: stored_canvas(canvas, histogram, version) for key, canvas, histogram, version in rows}

    def all_ids(self) -> set[str]:
        """The ids of all references in all libraries."""
        with Session(self._engine) as session:
            return set(session.scalars(select(ReferenceRow.id)))

    def ids_by_external_id(self, library: str) -> dict[str, str]:
        """External id -> reference id of a library."""
        with Session(self._engine) as session:
            rows = session.execute(
                select(ReferenceRow.external_id, ReferenceRow.id).where(
                    ReferenceRow.library_id == library_row(session, library).id,
                    ReferenceRow.external_id.is_not(None),
                )
            )
            return {external: key for external, key in rows if external is not None}


def _relabel(session: Session, row: ReferenceRow, labels: Labels, attributes: Mapping[str, str], actor: str) -> None:
    if labels != labels_of({kind: getattr(row, kind) for kind in LABEL_KINDS}):
        session.add(LabelHistoryRow(reference_id=row.id, actor=actor, labels=asdict(labels)))
    for name, value in {**label_columns(labels), "attributes": dict(attributes)}.items():
        setattr(row, name, value)
