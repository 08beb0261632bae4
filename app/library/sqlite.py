"""SQLite: its pragmas and transactions, what a read-only directory allows, and emptying its log."""

import os
import sqlite3
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from sqlalchemy import URL, Connection, Engine, event

from app.errors import Misconfigured, Unavailable
from app.library.faults import read_only

_PRAGMAS = (
    "synchronous=FULL",  # what was acknowledged is still there after a power cut
    "foreign_keys=ON",
    "secure_delete=ON",
    "mmap_size=268435456",  # canvases are read without a copy through the page cache
)


def prepare_place(url: URL) -> URL:
    """The URL to open: the same, or one that only reads where the directory allows no more.

    Raises Misconfigured ``log_unreadable`` where what was stored last cannot be read from a read-only directory.
    """
    path = _path(url)
    if path is None:
        return url
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        path.touch(0o600)  # SQLite gives its log the mode of its file
    if os.access(path.parent, os.W_OK) and os.access(path, os.W_OK):
        return url
    log, shared = _beside(path, "-wal"), _beside(path, "-shm")
    query = {"uri": "true", "mode": "ro"}
    if not (log.exists() and shared.exists()):
        if log.exists() and log.stat().st_size:
            raise Misconfigured(
                "log_unreadable",
                "the data directory is read-only, and what was stored last is still in the database's log",
                hint="start sonoseek serve once with the data directory writable and stop it; then it can be read-only",
            )
        query["immutable"] = "1"  # SQLite could not make the shared memory that it otherwise reads beside
    return url.set(database=f"file:{quote(str(path.absolute()))}", query=query)


def listen(engine: Engine, patience_s: float) -> None:
    """Set up every connection of an engine, and begin its transactions."""
    reading_only = engine.url.query.get("mode") == "ro"
    log = _unwatched_log(engine.url)

    @event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _record: object) -> None:
        # The driver must not open transactions by itself: it opens none for SELECT,
        # and two reads of one answer could then see two versions.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={patience_s * 1000:.0f}")
        if not reading_only:
            _use_write_ahead_log(connection, patience_s)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        if writes and reading_only:
            raise read_only()
        if log is not None and log.exists():
            raise Unavailable(
                "database_in_use",
                "another process has begun to write to a database that was opened as one that never changes",
                hint="start the service again",
            )
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def empty_log(engine: Engine, patience_s: float) -> bool:
    """Bring the write-ahead log into the database file and cut it to nothing.

    False where readers stayed in the way, or the disk is full.
    """
    deadline = time.monotonic() + patience_s
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        usual = _value(cursor, "PRAGMA busy_timeout")
        cursor.execute("PRAGMA busy_timeout=100")  # short turns: writers wait while it waits
        try:
            while busy := _value(cursor, "PRAGMA wal_checkpoint(TRUNCATE)"):
                if time.monotonic() > deadline:
                    break
                time.sleep(0.05)
        except sqlite3.OperationalError:
            return False
        finally:
            cursor.execute(f"PRAGMA busy_timeout={usual}")
        return not busy
    finally:
        connection.close()


def deletes_securely(engine: Engine) -> bool:
    """Whether freed bytes are overwritten with zeros."""
    with engine.connect() as connection:
        return connection.exec_driver_sql("PRAGMA secure_delete").scalar() == 1


def _value(cursor: Any, statement: str) -> int:  # noqa: ANN401 - a driver's cursor
    value: int = cursor.execute(statement).fetchone()[0]
    return value


def _path(url: URL) -> Path | None:
    return Path(url.database) if url.database and url.database != ":memory:" else None


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _unwatched_log(url: URL) -> Path | None:
    """The log of a database that was opened as immutable: there SQLite itself would not see another's writes."""
    if "immutable" not in url.query:
        return None
    return _beside(Path(unquote(str(url.database).removeprefix("file:"))), "-wal")


def _use_write_ahead_log(connection: sqlite3.Connection, patience_s: float) -> None:
    """Switch the journal mode, which SQLite refuses at once, whatever the busy time-out, while another writes."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
