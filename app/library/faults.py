"""What the storage underneath refuses to do, as errors that say what an operator can do."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from app.errors import Misconfigured, SonoSeekError, StorageFull, Unavailable

_DISK_FULL = "53100"
_READ_ONLY_TRANSACTION = "25006"
CONNECTION_LOST = "database_connection_lost"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}

RECOVERY = "sqlite3 sonoseek.db .dump | sed 's/^ROLLBACK.*/COMMIT;/' | sqlite3 recovered.db"
"""Not ``.recover``: Debian's sqlite3 is built without it. A dump of a damaged file ends by taking all of it back."""


def name_faults(engine: Engine) -> None:
    """Let a database's own errors that an operator can mend leave the engine as ours."""

    @event.listens_for(engine, "handle_error")
    def _name(context: ExceptionContext) -> SonoSeekError | None:
        if not isinstance(context.original_exception, Exception):  # Ctrl-C is nobody's fault
            return None
        if context.is_pre_ping:  # only whether a connection still lives: a new one takes its place
            return None
        if context.connection is None and engine.dialect.name != "sqlite":
            return _unreachable()
        return connection_lost() if context.is_disconnect else fault_of(context.original_exception)


def fault_of(error: BaseException) -> SonoSeekError | None:
    """What a driver's error means; None for those that are nobody's fault but ours."""
    if isinstance(error, sqlite3.Error):
        return _sqlite_fault(getattr(error, "sqlite_errorcode", 0))
    return _postgres_fault(getattr(error, "sqlstate", None))


@contextmanager
def named_file_faults() -> Iterator[None]:
    """Let a full disk or a read-only directory be told as such; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise storage_full() from error
        if error.errno in _READ_ONLY:
            raise read_only() from error
        raise


def storage_full() -> StorageFull:
    """What a caller is told whose change did not fit."""
    return StorageFull(
        "storage_full",
        "the disk of the data directory or of the database is full; what was to be stored just now was not",
        hint="make room on that disk and send the same again: what a batch had stored before stays, and is not stored "
        "twice; searches go on meanwhile",
    )


def read_only() -> Unavailable:
    """What a caller is told who wants to write where only reading is possible."""
    return Unavailable(
        "read_only",
        "the data directory or the database is read-only: searches work, changes do not",
        hint="mount the data directory writable for the user that the service runs as, and start the service again",
    )


def damaged() -> Misconfigured:
    """What is told of a SQLite file that is no sound database any more."""
    return Misconfigured(
        "database_damaged",
        "the database file is damaged or is no SQLite database",
        hint="stop every process that uses it and restore the data directory from a backup, or save what can be read "
        f"(Debian's package sqlite3): {RECOVERY} -- then put recovered.db in its place and remove sonoseek.db-wal and "
        "sonoseek.db-shm",
    )


def other_database() -> Misconfigured:
    """What is told where the stored frames belong to another database than the one that was opened."""
    return Misconfigured(
        "other_database",
        "the stored frames of the data directory belong to another database, or their database is empty or was lost",
        hint="check SONOSEEK_LIBRARY__DATABASE_URL and SONOSEEK_DATA, or restore the database from a backup; if it is "
        "lost for good, move the folder frames away and enrol again. No frame was touched",
    )


def locked() -> Unavailable:
    """What a caller is told when another process held the database for too long."""
    return Unavailable(
        "database_locked",
        "another process has kept the database locked for too long",
        hint="try again; fuser -v sonoseek.db names the processes that have the file open",
    )


def connection_lost() -> Unavailable:
    """What a caller is told whose connection to the database server broke in the middle."""
    return Unavailable(
        CONNECTION_LOST,
        "the connection to the database server broke; whether a change in work was stored is not known",
        hint="send the request again: what is stored already is not stored twice",
    )


def _unreachable() -> Unavailable:
    return Unavailable(
        "database_unreachable",
        "the database server cannot be reached, or refuses the connection",
        hint="see that the server runs and lets the service in, and SONOSEEK_LIBRARY__DATABASE_URL",
    )


def _sqlite_fault(extended: int) -> SonoSeekError | None:
    code = extended & 0xFF
    if code == sqlite3.SQLITE_FULL or extended == sqlite3.SQLITE_IOERR_SHMSIZE:  # no room for its shared memory
        return storage_full()
    if code == sqlite3.SQLITE_READONLY:
        return read_only()
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged()
    return locked() if code == sqlite3.SQLITE_BUSY else None


def _postgres_fault(state: str | None) -> SonoSeekError | None:
    if state == _DISK_FULL:
        return storage_full()
    return read_only() if state == _READ_ONLY_TRANSACTION else None
