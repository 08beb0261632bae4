"""The catalogue on a SQLite file: ids, files, crashes."""

from dataclasses import replace

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


@pytest.mark.parametrize("url", ["nonsense", "sqlite://"])
def test_an_unusable_address_says_so(url):
    with pytest.raises(Misconfigured) as caught:
        open_database(url)
    assert caught.value.code == "database_unusable"


@pytest.mark.parametrize("url", ["mysql://u:secret@x/y", "nodialect://x/y"])
def test_another_kind_of_database_is_told_as_such(url):
    with pytest.raises(Misconfigured) as caught:
        open_database(url)
    assert caught.value.code == "database_unsupported"
    assert "secret" not in f"{caught.value.detail} {caught.value.hint}"
    assert "postgresql://" in caught.value.hint
