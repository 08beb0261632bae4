"""Opening the database, SQLite or PostgreSQL: connections, snapshots, migrations."""

from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from app.errors import Misconfigured, SonoSeekError
from app.library import sqlite
from app.library.faults import name_faults

_BACKENDS = ("sqlite", "postgresql")
_POOL = 32  # a connection per thread that may ask for one
_PATIENCE_S = 60.0  # how long a writer waits for others: SQLite keeps no queue, so one of many may wait long
_MIGRATING = 7_640_211  # any number that nobody else locks in the same PostgreSQL database
HEAD = "0004"
"""The newest migration. Kept here so that a start with an up-to-date database need not import Alembic."""


class NewerDatabase(Exception):
    """The database was made by migrations that this version does not have."""


def open_database(url: str, *, patience_s: float = _PATIENCE_S) -> Engine:
    """Connect and bring the tables up to date; raises Misconfigured, with a code and a hint by cause.

    ``patience_s`` is how long one waits for another process's write.
    """
    try:
        return _up_to_date(_engine(make_url(url), patience_s))
    except Misconfigured:
        raise
    except SonoSeekError as error:
        raise Misconfigured(error.code, error.detail, hint=error.hint) from error
    except ModuleNotFoundError as error:
        raise Misconfigured(
            "driver_missing",
            f"the database's driver is not installed ({error.name})",
            hint="for PostgreSQL: pip install 'sonoseek[postgres]', and an address that begins with postgresql://",
        ) from error
    except (SQLAlchemyError, OSError, TypeError, NewerDatabase) as error:
        raise Misconfigured(
            "database_unusable",
            f"the database cannot be opened ({type(error).__name__})",
            hint="check that the data directory exists, is writable and is not damaged, that no newer version "
            "of SonoSeek made the database, and SONOSEEK_LIBRARY__DATABASE_URL where it is set",
        ) from error


def writing(engine: Engine) -> Engine:
    """The same connections for transactions that write.

    SQLite takes the write lock at their beginning. PostgreSQL locks rows as they are asked for, so each statement
    must see what was committed before it: the snapshot of a reader would make it fail instead.
    """
    if engine.dialect.name == "sqlite":
        return engine.execution_options(writes=True)
    return engine.execution_options(isolation_level="READ COMMITTED")


def _engine(url: URL, patience_s: float) -> Engine:
    if url.get_backend_name() not in _BACKENDS:
        raise Misconfigured(
            "database_unsupported",
            f"{url.get_backend_name()} is no database that SonoSeek works with",
            hint="SONOSEEK_LIBRARY__DATABASE_URL begins with postgresql:// or sqlite:///",
        )
    # Parameters hold labels and keys: they are no business of an error's text.
    if url.get_backend_name() == "sqlite":
        engine = create_engine(sqlite.prepare_place(url), pool_size=_POOL, max_overflow=_POOL, hide_parameters=True)
        sqlite.listen(engine, patience_s)
    else:
        engine = create_engine(
            url,
            pool_size=_POOL,
            max_overflow=_POOL,
            pool_pre_ping=True,  # the server may have been started anew
            isolation_level="REPEATABLE READ",  # all reads of one answer see one version
            hide_parameters=True,
        )
    name_faults(engine)
    return engine


def _up_to_date(engine: Engine) -> Engine:
    try:
        _migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _migrate(engine: Engine) -> None:
    with engine.connect() as connection:
        if _revision(connection) == HEAD:
            return
    # Several processes may start on an empty database: one holds the lock, the others look again.
    with writing(engine).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _MIGRATING})
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
