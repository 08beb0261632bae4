"""The catalogue on a SQLite file: ids, files, crashes."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from stores import new

from app.errors import Misconfigured
from app.library.database import HEAD, open_database
from app.library.reference import identity_of, reference_id


def test_an_id_follows_from_the_content():
    facts = new(1).facts
    assert reference_id("a", identity_of(facts)) == reference_id("a", identity_of(replace(facts, format="bmp")))
    assert reference_id("a", identity_of(facts)) != reference_id("b", identity_of(facts))
    assert identity_of(replace(facts, frame=1)) == identity_of(facts)
    assert identity_of(replace(facts, frame=2)) != identity_of(facts)
    # a DICOM instance is itself, however its bytes were transcoded
    dicom = replace(facts, instance_key="k")
    assert identity_of(dicom) == identity_of(replace(dicom, sha256="f" * 64))


def test_pragmas_are_set_by_us_and_not_by_how_sqlite_was_compiled(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path}/library.db")
    with engine.connect() as connection:
        values = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("secure_delete", "foreign_keys", "journal_mode", "busy_timeout")
        }
    assert values == {"secure_delete": 1, "foreign_keys": 1, "journal_mode": "wal", "busy_timeout": 60000}


def test_the_head_in_the_code_is_that_of_the_migrations():
    config = Config()
    config.set_main_option("script_location", "app/library/migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_old_orphans_are_swept_and_young_ones_stay(catalogue, tmp_path):
    catalogue.put_library("fetal")
    (key,) = catalogue.add("fetal", [new(1)])
    old, young = "aa-old", "bb-young"
    for name in (old, young):
        catalogue.files.write(name, b"png")
    os.utime(catalogue.files.path(old), (0, 0))
    os.utime(catalogue.files.path(key), (0, 0))
    assert catalogue.files.sweep(catalogue.all_ids()) == 1
    assert not catalogue.files.path(old).exists()
    assert catalogue.files.path(young).exists()
    assert catalogue.files.path(key).exists()


def test_a_process_that_is_killed_between_file_and_row_leaves_no_half_reference(tmp_path, store):
    """The file without a row is an orphan that the next start sweeps; a row without a file would be a loss."""
    script = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent.parent / "contracts")!r})
from stores import Store, new, sqlite_url
from pathlib import Path
folder = Path({str(tmp_path)!r})
catalogue = Store(sqlite_url(folder), folder).open()
catalogue.put_library("fetal")
write = catalogue.files.write
def write_and_die(key, png):
    write(key, png)
    os.kill(os.getpid(), 9)
catalogue.files.write = write_and_die
catalogue.add("fetal", [new(1)])
"""
    killed = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert killed.returncode == -9, killed.stderr
    catalogue = store.open()
    assert catalogue.library("fetal").size == 0
    (orphan,) = (tmp_path / "frames").rglob("*.png")
    os.utime(orphan, (0, 0))
    assert catalogue.files.sweep(catalogue.all_ids()) == 1
    assert catalogue.add("fetal", [new(1)])


@pytest.mark.parametrize("url", ["nonsense", "sqlite://", "nodialect://x/y"])
def test_an_unusable_address_says_so(url):
    with pytest.raises(Misconfigured) as caught:
        open_database(url)
    assert caught.value.code == "database_unusable"
