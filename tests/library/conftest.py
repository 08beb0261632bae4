"""A store on SQLite."""

import pytest
from stores import opened_store, sqlite_url


@pytest.fixture
def store(tmp_path):
    with opened_store(sqlite_url(tmp_path), tmp_path) as opened:
        yield opened


@pytest.fixture
def catalogue(store):
    return store.open()
