"""Look-ups that all queries share, and the lock that keeps versions in order."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import delete, func, insert, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.library.reference import Holdings, LibraryInfo, NewReference
from app.library.rows import canvas_values, embedding_values, frame_columns
from app.library.tables import CanvasRow, EmbeddingRow, LibraryRow, ReferenceRow, RemovalRow

_PARAMETERS = 10_000


def library_row(session: Session, name: str) -> LibraryRow:
    """A library's row; raises NotFound ``unknown_library``."""
    row = session.scalar(select(LibraryRow).where(LibraryRow.name == name))
    if row is None:
        known = session.scalars(select(LibraryRow.name).order_by(LibraryRow.name)).all()
        raise NotFound(
            "unknown_library",
            "there is no library of that name",
            hint=f"libraries are: {', '.join(known)}" if known else "enrol one first: sonoseek enrol NAME MANIFEST",
        )
    return row


def reference_row(session: Session, key: str) -> ReferenceRow:
    """A reference's row; raises NotFound ``unknown_reference``."""
    row = session.get(ReferenceRow, key)
    if row is None:
        raise unknown_reference()
    return row


def unknown_reference() -> NotFound:
    """What a caller is told whose reference is not there, or no longer."""
    return NotFound(
        "unknown_reference",
        "there is no reference with that id",
        hint="ids come from a search or from an enrolment's map file",
    )


def created(session: Session, name: str, taxonomy: dict[str, Any]) -> bool:
    """Create a library; False where there is one of that name."""
    if session.scalar(select(LibraryRow.id).where(LibraryRow.name == name)) is not None:
        return False
    try:
        with session.begin_nested():
            session.add(LibraryRow(name=name, taxonomy=taxonomy))
    except IntegrityError:  # another was first
        return False
    return True


def locked_library(session: Session, name: str) -> LibraryRow:
    """A library's row, locked until the transaction ends; raises NotFound ``unknown_library``.

    Whoever changes anything of a library takes this first: versions are then committed in their order.
    """
    found = select(LibraryRow).where(LibraryRow.name == name).with_for_update()
    row = session.scalar(found.execution_options(populate_existing=True))
    return row if row is not None else library_row(session, name)  # which says what there is


def locked_edition(session: Session, uid: str) -> LibraryRow | None:
    """The row of one making of a library, locked as by ``locked_library``; None where it has been deleted."""
    found = select(LibraryRow).where(LibraryRow.uid == uid).with_for_update()
    return session.scalar(found.execution_options(populate_existing=True))


def locked_reference(session: Session, key: str) -> tuple[LibraryRow, ReferenceRow]:
    """A reference's row and its library's, locked; raises NotFound ``unknown_reference``."""
    library = _locked(session, reference_row(session, key).library_id)
    row = session.get(ReferenceRow, key, populate_existing=True)  # another may have removed it before the lock
    if row is None:
        raise unknown_reference()
    return library, row


def remove_rows(session: Session, library_id: int, keys: Sequence[str]) -> list[str]:
    """Remove references of one library with all that hangs on them; returns the ids of those that were there."""
    library = _locked(session, library_id)
    there = [
        key
        for some in _portions(keys)
        for key in session.scalars(
            select(ReferenceRow.id).where(ReferenceRow.library_id == library_id, ReferenceRow.id.in_(some))
        )
    ]
    if there:
        library.version += 1
        for some in _portions(there):
            session.execute(delete(ReferenceRow).where(ReferenceRow.id.in_(some)))
        values = {"library_id": library_id, "version": library.version}
        session.execute(insert(RemovalRow), [{**values, "reference_id": key} for key in there])
    return there


def replace_frame(session: Session, row: ReferenceRow, new: NewReference) -> None:
    """Let a reference's row, canvas and vectors be those of another frame."""
    for name, value in frame_columns(new).items():
        setattr(row, name, value)
    session.execute(delete(EmbeddingRow).where(EmbeddingRow.reference_id == row.id))
    session.execute(delete(CanvasRow).where(CanvasRow.reference_id == row.id))
    session.execute(insert(CanvasRow), [canvas_values(row.id, new)])
    session.execute(insert(EmbeddingRow), embedding_values(row.id, new))


def hold_writers(session: Session) -> None:
    """Keep every other writer of any library waiting until the transaction ends."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("LOCK TABLE libraries IN EXCLUSIVE MODE"))  # SQLite's write lock is held already


def ids_there(session: Session, keys: Sequence[str]) -> set[str]:
    """Which of some ids belong to references."""
    return {
        key
        for some in _portions(keys)
        for key in session.scalars(select(ReferenceRow.id).where(ReferenceRow.id.in_(some)))
    }


def frame_checksums(session: Session, keys: Sequence[str]) -> dict[str, str | None]:
    """Id -> sha256 of its frame, of those ids that belong to references."""
    return {
        key: checksum
        for some in _portions(keys)
        for key, checksum in session.execute(
            select(ReferenceRow.id, ReferenceRow.frame_sha256).where(ReferenceRow.id.in_(some))
        )
    }


def _portions(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """Ids, so many at a time as a statement may have parameters in every database."""
    return (keys[start : start + _PARAMETERS] for start in range(0, len(keys), _PARAMETERS))


def _locked(session: Session, library_id: int) -> LibraryRow:
    found = select(LibraryRow).where(LibraryRow.id == library_id).with_for_update()
    row = session.scalar(found.execution_options(populate_existing=True))
    if row is None:
        raise unknown_reference()
    return row


def info_of(session: Session, row: LibraryRow) -> LibraryInfo:
    """A library with its size."""
    size = session.scalar(select(func.count()).where(ReferenceRow.library_id == row.id)) or 0
    return LibraryInfo(row.name, row.version, size, row.uid)


def holdings_of(session: Session, row: LibraryRow) -> Holdings:
    """A library with its size and the vectors of each encoder."""
    return Holdings(info_of(session, row), vector_counts(session, row))


def vector_counts(session: Session, row: LibraryRow) -> dict[str, tuple[str, int]]:
    """Digest -> (encoder, number of vectors) of a library."""
    found = session.execute(
        select(EmbeddingRow.digest, func.min(EmbeddingRow.encoder), func.count())
        .join(ReferenceRow, ReferenceRow.id == EmbeddingRow.reference_id)
        .where(ReferenceRow.library_id == row.id)
        .group_by(EmbeddingRow.digest)
    )
    return {digest: (encoder, count) for digest, encoder, count in found}
