"""What a PostgreSQL server may do to us: run full, turn read-only, break connections, be away."""

import shutil
from itertools import count

import numpy as np
import psycopg
import pytest
from mounts import small_disk
from postgres import USER, fresh_database
from stores import DIGEST, new, opened_store

from app.errors import Misconfigured, StorageFull, Unavailable
from app.library.database import open_database

_NUMBERS = count()


@pytest.fixture
def admin(postgres_socket):
    """A connection of the database's operator."""
    with psycopg.connect(f"host={postgres_socket} user={USER} dbname=postgres", autocommit=True) as connection:
        yield connection


@pytest.fixture
def store(postgres_socket, postgres_template, tmp_path):
    name = f"fault-{next(_NUMBERS)}"
    with fresh_database(postgres_socket, name, postgres_template) as url, opened_store(url, tmp_path) as opened:
        yield opened


def noise(number):
    """A reference whose canvas does not let itself be compressed."""
    canvas = np.random.default_rng(number).integers(0, 256, (256, 256), dtype=np.uint8)
    return new(number, canvas=canvas)


def add_until_it_fails(catalogue, keys):
    for number in range(10, 1000):
        keys += catalogue.add("fetal", [noise(number)])


def assert_whole(catalogue, keys, folder):
    info, shelf = catalogue.embeddings.shelf("fetal", DIGEST)
    assert (shelf.ids, info.size) == (sorted(keys), len(keys))
    assert {path.name for path in (folder / "frames").rglob("*.*")} == {f"{key}.png" for key in keys}


def test_a_full_disk_is_told_and_nothing_is_lost(admin, postgres_socket, postgres_template, tmp_path):
    with small_disk(postgres_socket / "small", 12_000) as disk:
        shutil.chown(disk, "postgres")
        admin.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
        try:
            with fresh_database(postgres_socket, "full", f'{postgres_template}" TABLESPACE "small') as url:
                _fill_and_check(url, tmp_path)
        finally:
            admin.execute("DROP TABLESPACE small")


def _fill_and_check(url, folder):
    with opened_store(url, folder) as store:
        catalogue, keys = store.open(), []
        catalogue.put_library("fetal")
        with pytest.raises(StorageFull):
            add_until_it_fails(catalogue, keys)
        assert keys
        assert_whole(catalogue, keys, folder)


def test_a_read_only_server_is_searched_and_not_written(store, admin):
    catalogue = store.open()
    catalogue.put_library("fetal")
    keys = catalogue.add("fetal", [new(1)])
    (engine,) = store.engines
    admin.execute(f'ALTER DATABASE "{engine.url.database}" SET default_transaction_read_only = on')
    engine.dispose()
    for change in (lambda: catalogue.add("fetal", [new(2)]), lambda: catalogue.remove(keys)):
        with pytest.raises(Unavailable) as caught:
            change()
        assert caught.value.code == "read_only"
    assert_whole(catalogue, keys, store.folder)


def _break_connections(admin, store):
    admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [store.engines[0].url.database]
    )


def test_connections_that_broke_while_idle_are_replaced_unseen(store, admin):
    catalogue = store.open()
    catalogue.put_library("fetal")
    _break_connections(admin, store)
    assert catalogue.names() == ["fetal"]


def test_a_connection_that_breaks_in_the_middle_is_told_and_files_follow_the_rows(store, admin):
    catalogue = store.open()
    catalogue.upkeep.claim_frames()
    catalogue.put_library("fetal")
    write = catalogue.files.write

    def write_and_break(key, png):
        write(key, png)
        _break_connections(admin, store)

    catalogue.files.write = write_and_break
    with pytest.raises(Unavailable) as caught:
        catalogue.add("fetal", [new(1)])
    assert caught.value.code == "database_connection_lost"
    assert list((store.folder / "frames").rglob("*.png")) == []
    catalogue.files.write = write
    assert_whole(catalogue, catalogue.add("fetal", [new(1)]), store.folder)


def test_a_server_that_is_away_is_told_at_the_start_and_later(store, admin, tmp_path):
    with pytest.raises(Misconfigured) as caught:
        open_database(f"postgresql://{USER}@/nothing?host={tmp_path}")
    assert caught.value.code == "database_unreachable"
    catalogue = store.open()
    name = store.engines[0].url.database
    store.engines[0].dispose()
    admin.execute(f'ALTER DATABASE "{name}" RENAME TO "{name}-away"')
    try:
        with pytest.raises(Unavailable) as caught:
            catalogue.names()
        assert caught.value.code == "database_unreachable"
    finally:
        admin.execute(f'ALTER DATABASE "{name}-away" RENAME TO "{name}"')
    assert catalogue.names() == []
