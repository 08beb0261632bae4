"""Taking out all that is stored of one patient, as far as the storage goes."""

from dataclasses import dataclass

from sqlalchemy import Engine, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.errors import SonoSeekError
from app.library import sqlite
from app.library.queries import hold_writers, remove_rows
from app.library.tables import CanvasRow, EmbeddingRow, LabelHistoryRow, LibraryRow, ReferenceRow

_PATIENCE_S = 60.0
_TABLES = (ReferenceRow, CanvasRow, EmbeddingRow, LabelHistoryRow)

_NOT_OVERWRITTEN = "this SQLite does not overwrite what it deletes: freed parts of sonoseek.db may hold the bytes"
_LOG_IN_USE = (
    "sonoseek.db-wal: a reader kept the log in use, or the disk is full, and it may hold the erased bytes; "
    "erase the patient once more"
)
_POSTGRES_LOG = "PostgreSQL's write-ahead log and its archives: until the server recycles or deletes them"
_POSTGRES_PAGES = (
    "freed parts of PostgreSQL's files: until the server uses them again; VACUUM FULL rewrites the files without them"
)
_NO_VACUUM = "PostgreSQL's tables: VACUUM did not run; run it, or erase the patient once more"


@dataclass(frozen=True, slots=True)
class Gone:
    """References that were taken out of one library (``uid`` tells it from one that was deleted)."""

    library: str
    uid: str
    ids: list[str]


@dataclass(frozen=True, slots=True)
class Erased:
    """What was taken out of each library, and where bytes of it may still be: whole sentences, none if nowhere."""

    gone: list[Gone]
    remains: list[str]

    @property
    def libraries(self) -> dict[str, int]:
        """Library -> number of references that were taken out."""
        return {one.library: len(one.ids) for one in self.gone}

    @property
    def ids(self) -> list[str]:
        """All references that were taken out."""
        return [key for one in self.gone for key in one.ids]


def erase_rows(session: Session, patient_key: str) -> list[Gone]:
    """Remove all rows of a patient. Removals stay: an id says nothing by itself."""
    hold_writers(session)  # nobody adds an image of the patient between looking and removing
    erased: list[Gone] = []
    of_patient = ReferenceRow.patient_key == patient_key
    for library_id in sorted(session.scalars(select(ReferenceRow.library_id).distinct().where(of_patient))):
        library = session.get_one(LibraryRow, library_id)
        keys = session.scalars(select(ReferenceRow.id).where(of_patient, ReferenceRow.library_id == library_id)).all()
        erased.append(Gone(library.name, library.uid, remove_rows(session, library_id, keys)))
    return erased


def scrub(engine: Engine, patience_s: float = _PATIENCE_S) -> list[str]:
    """Let the database give up the bytes of what was deleted; says where some may remain.

    Waits at most ``patience_s`` for readers of SQLite's log.
    """
    if engine.dialect.name == "sqlite":
        remains = [] if sqlite.deletes_securely(engine) else [_NOT_OVERWRITTEN]
        return remains if sqlite.empty_log(engine, patience_s) else [*remains, _LOG_IN_USE]
    return [_POSTGRES_LOG, _POSTGRES_PAGES if _vacuum(engine) else _NO_VACUUM]


def _vacuum(engine: Engine) -> bool:
    quoted = engine.dialect.identifier_preparer.quote
    tables = ", ".join(quoted(table.__tablename__) for table in _TABLES)
    try:
        # PostgreSQL allows no VACUUM inside a transaction.
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(text(f"VACUUM {tables}"))
    except (SQLAlchemyError, SonoSeekError):
        return False
    return True
