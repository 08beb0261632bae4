"""Stores of every kind. Migrations run once for each; every test gets a copy."""

import shutil
from itertools import count

import pytest
from postgres import fresh_database, running_postgres
from stores import opened_store, sqlite_url

from app.library.database import open_database

_NUMBERS = count()


@pytest.fixture(scope="session")
def postgres_socket():
    """A running PostgreSQL; tests that need it are skipped where it is not installed."""
    with running_postgres() as socket:
        yield socket


@pytest.fixture(scope="session")
def postgres_template(postgres_socket):
    """The name of a PostgreSQL database with our tables."""
    with fresh_database(postgres_socket, "migrated") as url:
        open_database(url).dispose()
        yield "migrated"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory):
    """A SQLite file with our tables."""
    folder = tmp_path_factory.mktemp("migrated")
    open_database(sqlite_url(folder)).dispose()
    return folder / "library.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path):
    """An empty store on SQLite, then on PostgreSQL."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path)
        with opened_store(sqlite_url(tmp_path), tmp_path) as opened:
            yield opened
        return
    template = request.getfixturevalue("postgres_template")
    with (
        fresh_database(request.getfixturevalue("postgres_socket"), f"store-{next(_NUMBERS)}", template) as url,
        opened_store(url, tmp_path) as opened,
    ):
        yield opened


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request, tmp_path):
    """The address of a database without any table."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path)
        return
    with fresh_database(request.getfixturevalue("postgres_socket"), f"empty-{next(_NUMBERS)}") as url:
        yield url


@pytest.fixture
def catalogue(store):
    """A catalogue over an empty store."""
    return store.open()
