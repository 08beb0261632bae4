"""What the store says when the disk is full, read-only, locked or damaged, and that nothing is lost."""

import os
import shutil
import sqlite3
import subprocess
from contextlib import suppress
from pathlib import Path
from threading import Timer

import pytest
from mounts import read_only, small_disk
from sqlalchemy import event
from stores import DIGEST, Store, new, opened_store, sqlite_url

from app.domain import Labels, Taxonomy
from app.errors import Misconfigured, StorageFull, Unavailable
from app.library.database import open_database
from app.library.faults import RECOVERY, fault_of
from app.library.leftovers import Swept
from app.security.access_log import AccessLog


def filled(store: Store, count: int = 3):
    catalogue = store.open()
    catalogue.put_library("fetal")
    return catalogue, catalogue.add("fetal", [new(n) for n in range(count)])


def frames(folder: Path) -> set[str]:
    return {path.name for path in (folder / "frames").rglob("*.*")}


def assert_whole(catalogue, keys, folder):
    """All that was acknowledged is there, and nothing else."""
    info, shelf = catalogue.embeddings.shelf("fetal", DIGEST)
    assert (sorted(keys), info.size) == (shelf.ids, len(keys))
    assert frames(folder) == {f"{key}.png" for key in keys}
    assert set(catalogue.canvases(keys)) == set(keys)


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path):
    with small_disk(tmp_path / "disk", 1400) as folder, opened_store(sqlite_url(folder), folder) as store:
        catalogue, keys = filled(store)
        with pytest.raises(StorageFull) as caught:
            _add_until_it_fails(catalogue, keys)
        assert (caught.value.code, caught.value.status) == ("storage_full", 507)
        assert_whole(catalogue, keys, folder)
        catalogue.update(keys[0], Labels(organ="spine"), {})  # what fits is still stored
        before = catalogue.files.read(keys[0])
        for change in (
            lambda: catalogue.recrop(keys[0], new(7, png=os.urandom(1_000_000))),
            lambda: catalogue.erase_patient("patient-1"),
        ):
            with pytest.raises(StorageFull):
                change()
            assert_whole(catalogue, keys, folder)
        assert catalogue.files.read(keys[0]) == before
        subprocess.run(["mount", "-o", "remount,size=8m", folder], check=True)
        assert catalogue.add("fetal", [new(200)])
        erased = catalogue.erase_patient("patient-1")
        assert (erased.remains, len(erased.ids)) == ([], len([key for key in keys if key not in catalogue.all_ids()]))


def _add_until_it_fails(catalogue, keys):
    for number in range(10, 100):
        keys += catalogue.add("fetal", [new(number)])


def _fill_up(path):
    with path.open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(b"x" * 4096)


def test_a_start_on_a_full_disk_says_so(tmp_path):
    with small_disk(tmp_path / "disk", 1400) as folder:
        with opened_store(sqlite_url(folder), folder) as store:
            filled(store)
        _fill_up(folder / "ballast")
        with pytest.raises(Misconfigured) as caught:
            open_database(sqlite_url(folder))
        assert caught.value.code == "storage_full"
        (folder / "ballast").unlink()
        with opened_store(sqlite_url(folder), folder) as store:
            assert store.open().library("fetal").size == 3


def test_a_database_that_may_not_grow_is_full_too(store, tmp_path):
    catalogue, keys = filled(store)
    (engine,) = store.engines
    engine.dispose()

    @event.listens_for(engine, "connect")
    def _limit(connection, _record):
        connection.execute(f"PRAGMA max_page_count={connection.execute('PRAGMA page_count').fetchone()[0] + 20}")

    with pytest.raises(StorageFull):
        catalogue.add("fetal", [new(n) for n in range(10, 20)])
    assert_whole(catalogue, keys, tmp_path)


class _Refusal(Exception):
    """An error of PostgreSQL, by its state."""

    def __init__(self, state):
        super().__init__("refused")
        self.sqlstate = state


def test_postgres_names_the_same_faults():
    assert fault_of(_Refusal("53100")).code == "storage_full"
    assert fault_of(_Refusal("25006")).code == "read_only"
    assert fault_of(_Refusal("23505")) is None


def test_a_read_only_data_directory_is_searched_and_not_written(tmp_path):
    with opened_store(sqlite_url(tmp_path), tmp_path) as store:
        _, keys = filled(store)
        store.open().facts.remember_secret("check")
    assert not (tmp_path / "library.db-wal").exists()
    with read_only(tmp_path), opened_store(sqlite_url(tmp_path), tmp_path) as store:
        catalogue = store.open()
        assert catalogue.facts.remember_secret("other") == "check"
        catalogue.upkeep.claim_frames()
        assert catalogue.upkeep.sweep() == Swept()
        assert_whole(catalogue, keys, tmp_path)
        for change in (
            lambda: catalogue.add("fetal", [new(9)]),
            lambda: catalogue.update(keys[0], Labels(), {}),
            lambda: catalogue.recrop(keys[0], new(9)),
            lambda: catalogue.remove(keys),
            lambda: catalogue.put_library("early"),
            lambda: catalogue.put_library("fetal", Taxonomy(organs={"a": "b"})),
            lambda: catalogue.delete_library("fetal"),
            lambda: catalogue.erase_patient("patient-1"),
            lambda: AccessLog(store.engines[0]).write("local", "reference.add"),
        ):
            with pytest.raises(Unavailable) as caught:
                change()
            assert caught.value.code == "read_only"
            assert "writable" in caught.value.hint
        assert_whole(catalogue, keys, tmp_path)


def test_a_directory_that_becomes_read_only_says_so(store, tmp_path):
    catalogue, keys = filled(store)
    with read_only(tmp_path / "frames"), pytest.raises(Unavailable) as caught:
        catalogue.add("fetal", [new(9)])
    assert caught.value.code == "read_only"
    assert_whole(catalogue, keys, tmp_path)


def crashed(folder: Path, store: Store) -> Path:
    """The data directory as a process leaves it that was killed: what came last is in the log."""
    filled(store)
    copy = folder / "copy"
    copy.mkdir()
    for name in ("library.db", "library.db-wal", "library.db-shm"):
        shutil.copy(folder / name, copy)
    assert (copy / "library.db-wal").stat().st_size
    return copy


def test_what_a_killed_process_left_in_the_log_is_read_from_a_read_only_directory(store, tmp_path):
    copy = crashed(tmp_path, store)
    with read_only(copy), opened_store(sqlite_url(copy), copy) as opened:
        assert opened.open().library("fetal").size == 3


def test_a_log_that_cannot_be_read_is_never_passed_over(store, tmp_path):
    copy = crashed(tmp_path, store)
    (copy / "library.db-shm").unlink()
    with read_only(copy), pytest.raises(Misconfigured) as caught:
        open_database(sqlite_url(copy))
    assert caught.value.code == "log_unreadable"
    with opened_store(sqlite_url(copy), copy) as opened:  # what the hint says
        assert opened.open().library("fetal").size == 3
    with read_only(copy), opened_store(sqlite_url(copy), copy) as opened:
        assert opened.open().library("fetal").size == 3


def test_a_writer_elsewhere_is_noticed_where_the_directory_was_opened_as_one_that_never_changes(tmp_path):
    with opened_store(sqlite_url(tmp_path), tmp_path) as store:
        filled(store)
    with read_only(tmp_path), opened_store(sqlite_url(tmp_path), tmp_path) as store:
        reader = store.open()
    with opened_store(store.url, tmp_path) as other:  # the same database, writable for another
        other.open().put_library("early")
        with pytest.raises(Unavailable) as caught:
            reader.names()
        assert caught.value.code == "database_in_use"


def test_a_locked_database_is_waited_for_and_then_told(tmp_path):
    with opened_store(sqlite_url(tmp_path), tmp_path) as store:
        filled(store)
    other = sqlite3.connect(tmp_path / "library.db", isolation_level=None, check_same_thread=False)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Misconfigured) as caught:
        open_database(sqlite_url(tmp_path), patience_s=0.2)
    assert caught.value.code == "database_locked"
    assert "fuser" in caught.value.hint
    done = Timer(0.3, other.close)
    done.start()
    with opened_store(sqlite_url(tmp_path), tmp_path) as store:
        assert store.open().library("fetal").size == 3
    done.join()


def test_a_writer_that_waits_in_vain_is_told_that_the_database_is_locked(store, tmp_path):
    filled(store)
    other = sqlite3.connect(tmp_path / "library.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    impatient = AccessLog(store.engine(patience_s=0.1))
    with pytest.raises(Unavailable) as caught:
        impatient.write("local", "reference.add")
    assert caught.value.code == "database_locked"
    other.close()
    assert impatient.write("local", "reference.add")


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 8176])
def test_a_file_that_is_no_database_says_how_to_recover(tmp_path, content):
    (tmp_path / "library.db").write_bytes(content)
    with pytest.raises(Misconfigured) as caught:
        open_database(sqlite_url(tmp_path))
    assert caught.value.code == "database_damaged"
    assert RECOVERY in caught.value.hint


def test_a_damaged_database_can_be_recovered_as_the_hint_says(tmp_path):
    with opened_store(sqlite_url(tmp_path), tmp_path) as store:
        filled(store, 40)
    _overwrite_the_table_of_libraries(tmp_path / "library.db")
    with opened_store(sqlite_url(tmp_path), tmp_path) as store, pytest.raises(Misconfigured) as caught:
        store.open().embeddings.shelf("fetal", DIGEST)
    assert caught.value.code == "database_damaged"
    if shutil.which("sqlite3") is None:
        pytest.skip("no command sqlite3: install Debian's package sqlite3")
    assert RECOVERY in caught.value.hint
    subprocess.run(RECOVERY.replace("sonoseek.db", "library.db"), shell=True, check=True, cwd=tmp_path)
    with sqlite3.connect(tmp_path / "recovered.db") as recovered:
        assert recovered.execute('SELECT count(*) FROM "references"').fetchone() == (40,)
    recovered.close()


def _overwrite_the_table_of_libraries(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'libraries'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
