"""Opening the database: pragmas, transactions, migrations."""

import sqlite3
import time
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from app.errors import Misconfigured

_POOL = 32  # a connection per thread that may ask for one
_PATIENCE_S = 15.0  # how long a process waits for another one's write
HEAD = "0001"
"""The newest migration. Kept here so that a start with an up-to-date database need not import Alembic."""


class NewerDatabase(Exception):
    """The database was made by migrations that this version does not have."""


def open_database(url: str) -> Engine:
    """Connect and bring the tables up to date; raises Misconfigured ``database_unusable``."""
    try:
        # Parameters hold labels and keys: they are no business of an error's text.
        engine = create_engine(url, pool_size=_POOL, max_overflow=_POOL, hide_parameters=True)
        if engine.dialect.name == "sqlite":
            _prepare_sqlite(engine)
        _migrate(engine)
    except (SQLAlchemyError, OSError, ImportError, TypeError, NewerDatabase) as error:
        raise Misconfigured(
            "database_unusable",
            f"the database cannot be opened ({type(error).__name__})",
            hint="check that the data directory exists, is writable and is not damaged, that no newer version "
            "of SonoSeek made the database, and SONOSEEK_LIBRARY__DATABASE_URL where it is set",
        ) from error
    return engine


def _prepare_sqlite(engine: Engine) -> None:
    database = make_url(str(engine.url)).database
    if database:
        Path(database).parent.mkdir(parents=True, exist_ok=True)

    @event.listens_for(engine, "connect")
    def _pragmas(connection: sqlite3.Connection, _record: object) -> None:
        # The driver must not open transactions by itself: it opens none for SELECT,
        # and two reads of one answer could then see two versions.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={_PATIENCE_S * 1000:.0f}")
        _use_write_ahead_log(connection)
        for pragma in (
            "synchronous=NORMAL",
            "foreign_keys=ON",
            "secure_delete=ON",
            "mmap_size=268435456",  # canvases are read without a copy through the page cache
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch the journal mode, which SQLite refuses at once, whatever the busy time-out, while another writes."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _migrate(engine: Engine) -> None:
    with engine.connect() as connection:
        if _revision(connection) == HEAD:
            return
    # Several processes may start on an empty directory: one holds the write lock, the others look again.
    with engine.execution_options(writes=True).begin() as connection:
        if _revision(connection) != HEAD:
            _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise NewerDatabase from error


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision
