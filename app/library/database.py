"""Opening the database: pragmas, transactions, migrations."""

import sqlite3
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from app.errors import Misconfigured

_POOL = 32  # a connection per thread that may ask for one
HEAD = "0001"
"""The newest migration. Kept here so that a start with an up-to-date database need not import Alembic."""


def open_database(url: str) -> Engine:
    """Connect and bring the tables up to date; raises Misconfigured ``database_unusable``."""
    try:
        engine = create_engine(url, pool_size=_POOL, max_overflow=_POOL)
        if engine.dialect.name == "sqlite":
            _prepare_sqlite(engine)
        _migrate(engine, url)
    except (SQLAlchemyError, OSError) as error:
        raise Misconfigured(
            "database_unusable",
            f"the database cannot be opened ({type(error).__name__})",
            hint="check that the data directory exists, is writable and is not damaged, "
            "and SONOSEEK_LIBRARY__DATABASE_URL where it is set",
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
        for pragma in (
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "foreign_keys=ON",
            "secure_delete=ON",
            "busy_timeout=15000",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _migrate(engine: Engine, url: str) -> None:
    if _revision(engine) == HEAD:
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["engine"] = engine
    command.upgrade(config, "head")


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return revision
