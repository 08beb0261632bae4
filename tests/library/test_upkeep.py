"""Frames and rows after a writer was killed between them, and frames that belong to another database."""

import hashlib
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from stores import Store, new, opened_store, sqlite_url

from app.errors import Misconfigured
from app.library import leftovers
from app.library.reference import identity_of, reference_id

TESTS = Path(__file__).parent.parent
OLD, NEW = b"png\x01", b"another frame"


@pytest.fixture
def store(tmp_path):
    with opened_store(sqlite_url(tmp_path), tmp_path) as opened:
        yield opened


@pytest.fixture
def catalogue(store):
    catalogue = store.open()
    catalogue.upkeep.claim_frames()
    catalogue.put_library("fetal")
    return catalogue


def files_in(folder):
    return sorted(path.name for path in (folder / "frames").glob("*/*"))


def killed(folder, action):
    """Run something with a catalogue in a process that kills itself where ``die`` is called."""
    script = f"""
import os, sys
sys.path.insert(0, {str(TESTS / "contracts")!r})
from dataclasses import replace
from pathlib import Path
from stores import Store, new, sqlite_url
folder = Path({str(folder)!r})
catalogue = Store(sqlite_url(folder), folder).open()
def die(*_arguments):
    os.kill(os.getpid(), 9)
{action}
"""
    ended = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert ended.returncode == -9, ended.stderr


def test_a_frame_without_a_row_is_swept_however_young_and_a_reference_keeps_its_own(catalogue):
    (key,) = catalogue.add("fetal", [new(1)])
    catalogue.files.write("aa-orphan", b"png")
    assert catalogue.upkeep.sweep() == leftovers.Swept(deleted=1)
    assert not catalogue.files.path("aa-orphan").exists()
    assert catalogue.files.read(key) == OLD
    assert catalogue.upkeep.sweep() == leftovers.Swept()


def test_a_frame_whose_row_came_while_suspects_were_listed_stays(catalogue):
    suspects = [catalogue.files.path(reference_id("fetal", identity_of(new(1).facts)))]
    (key,) = catalogue.add("fetal", [new(1)])
    gone = catalogue.files.path(key).with_name(f"{key}.x.tmp")  # its writer has renamed it meanwhile
    checksums = {key: hashlib.sha256(OLD).hexdigest()}
    assert leftovers.put_right(catalogue.files, [*suspects, gone], checksums) == leftovers.Swept()
    assert catalogue.files.read(key) == OLD


def test_sweeps_beside_an_enrolment_take_no_frame_of_it(catalogue, store):
    other, over = store.open(), threading.Event()

    def sweep():
        while not over.is_set():
            other.upkeep.sweep()

    with ThreadPoolExecutor(1) as pool:
        sweeping = pool.submit(sweep)
        added = [key for n in range(60) for key in catalogue.add("fetal", [new(4 * n + i) for i in range(4)])]
        over.set()
        sweeping.result()
    assert [key for key in added if not catalogue.files.path(key).exists()] == []


def test_a_kill_between_file_and_row_leaves_no_half_reference(catalogue, store, tmp_path):
    killed(
        tmp_path,
        """
write = catalogue.files.write
def write_and_die(key, png):
    write(key, png)
    die()
catalogue.files.write = write_and_die
catalogue.add("fetal", [new(1)])
""",
    )
    again = store.open()
    assert again.library("fetal").size == 0
    assert again.upkeep.sweep().deleted == 1
    assert files_in(tmp_path) == []
    assert again.add("fetal", [new(1)])


def test_a_kill_in_an_erasure_brings_the_frames_back_where_the_rows_stayed(catalogue, store, tmp_path):
    (key,) = catalogue.add("fetal", [new(1, patient_key="p")])
    os.utime(catalogue.files.path(key), (0, 0))  # an old frame: renaming keeps its time
    killed(
        tmp_path,
        """
from sqlalchemy.orm import Session
Session.commit = die
catalogue.erase_patient("p")
""",
    )
    assert not catalogue.files.path(key).exists()
    assert store.open().upkeep.sweep().restored == 1
    assert store.open().files.read(key) == OLD
    assert files_in(tmp_path) == [f"{key}.png"]


def test_a_kill_after_an_erasure_leaves_nothing_of_the_frames(catalogue, store, tmp_path):
    catalogue.add("fetal", [new(1, patient_key="p")])
    killed(tmp_path, "catalogue.files.delete = die\ncatalogue.erase_patient('p')")
    assert files_in(tmp_path)
    again = store.open()
    assert again.all_ids() == set()
    again.erase_patient("p")
    assert files_in(tmp_path) == []


RECROP = """
(key,) = catalogue.all_ids()
{how}
catalogue.recrop(key, replace(new(1), png=b"another frame"))
"""


def test_a_kill_in_a_recrop_brings_the_old_frame_back_where_the_row_stayed(catalogue, store, tmp_path):
    (key,) = catalogue.add("fetal", [new(1)])
    killed(tmp_path, RECROP.format(how="from sqlalchemy.orm import Session\nSession.commit = die"))
    assert catalogue.files.read(key) == NEW  # the file is ahead of its row
    assert store.open().upkeep.sweep().restored == 1
    assert store.open().files.read(key) == OLD
    assert files_in(tmp_path) == [f"{key}.png"]


def test_a_kill_after_a_recrop_keeps_the_new_frame(catalogue, store, tmp_path):
    (key,) = catalogue.add("fetal", [new(1)])
    how = """
from sqlalchemy.orm import Session
commit = Session.commit
def commit_and_die(session):
    commit(session)
    die()
Session.commit = commit_and_die"""
    killed(tmp_path, RECROP.format(how=how))
    assert len(files_in(tmp_path)) == 2
    assert store.open().upkeep.sweep() == leftovers.Swept(deleted=1)
    assert store.open().files.read(key) == NEW
    assert files_in(tmp_path) == [f"{key}.png"]


def test_a_kill_in_a_recrop_before_the_new_frame_was_written(catalogue, store, tmp_path):
    """The file then has two names."""
    (key,) = catalogue.add("fetal", [new(1)])
    killed(tmp_path, RECROP.format(how="catalogue.files.write = die"))
    assert len(files_in(tmp_path)) == 2
    assert store.open().upkeep.sweep().restored == 0
    assert store.open().files.read(key) == OLD
    assert files_in(tmp_path) == [f"{key}.png"]


def test_ctrl_c_whose_transaction_was_stored_keeps_the_new_frame(catalogue, monkeypatch, tmp_path):
    from sqlalchemy.orm import Session

    (key,) = catalogue.add("fetal", [new(1)])
    commit = Session.commit

    def commit_and_interrupt(session):
        commit(session)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Session, "commit", commit_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            catalogue.recrop(key, new(1, png=NEW))
    assert catalogue.files.read(key) == NEW
    assert files_in(tmp_path) == [f"{key}.png"]


def test_frames_of_another_database_are_not_touched_and_the_start_is_refused(catalogue, tmp_path):
    (key,) = catalogue.add("fetal", [new(1)])
    with opened_store(f"sqlite:///{tmp_path}/mistyped.db", tmp_path) as mistyped:
        other = mistyped.open()
        with pytest.raises(Misconfigured) as refusal:
            other.upkeep.claim_frames()
        assert refusal.value.code == "other_database"
        assert other.upkeep.sweep() == leftovers.Swept()
    assert catalogue.files.read(key) == OLD


def test_an_empty_database_beside_frames_is_refused(catalogue, store, tmp_path):
    catalogue.add("fetal", [new(1)])
    for engine in store.engines:
        engine.dispose()
    for path in tmp_path.glob("library.db*"):
        path.unlink()
    (tmp_path / "library.db").touch()
    with opened_store(sqlite_url(tmp_path), tmp_path) as emptied, pytest.raises(Misconfigured) as refusal:
        emptied.open().upkeep.claim_frames()
    assert refusal.value.code == "other_database"


def test_frames_from_before_databases_were_told_apart_are_claimed(catalogue, store, tmp_path):
    catalogue.add("fetal", [new(1)])
    (tmp_path / "frames" / "database").unlink()
    store.open().upkeep.claim_frames()
    assert store.open().files.owner() == catalogue.facts.database_uid()


def test_an_empty_folder_can_be_claimed_by_a_new_database(catalogue, tmp_path):
    with opened_store(f"sqlite:///{tmp_path}/fresh.db", tmp_path) as fresh:
        fresh.open().upkeep.claim_frames()
        assert fresh.open().files.owner() == fresh.open().facts.database_uid()


def test_more_frames_without_rows_than_a_crash_leaves_are_kept(catalogue, monkeypatch):
    """As after an older database was restored."""
    monkeypatch.setattr(leftovers, "MOST", 3)
    for number in range(4):
        catalogue.files.write(f"0{number}-newer", b"png")
    assert catalogue.upkeep.sweep() == leftovers.Swept(kept=4)
    catalogue.files.path("00-newer").unlink()
    assert catalogue.upkeep.sweep() == leftovers.Swept(deleted=3)


def test_what_is_stored_can_be_read_by_its_owner_only(tmp_path):
    store = Store(sqlite_url(tmp_path / "data"), tmp_path / "data")
    catalogue = store.open()
    catalogue.upkeep.claim_frames()
    catalogue.put_library("fetal")
    catalogue.add("fetal", [new(1)])
    try:
        modes = {path.name: path.stat().st_mode & 0o077 for path in (tmp_path / "data").rglob("*")}
        assert set(modes.values()) == {0}, modes
        assert (tmp_path / "data").stat().st_mode & 0o077 == 0
    finally:
        for engine in store.engines:
            engine.dispose()
