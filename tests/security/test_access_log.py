"""The access log: a line before every change, and never an identity."""

import uuid

import pytest
from stores import opened_store, sqlite_url

from app.errors import Conflict
from app.library.database import open_database
from app.security.access_log import AccessLog

KEY = "ab" * 32


@pytest.fixture
def store(tmp_path):
    with opened_store(sqlite_url(tmp_path), tmp_path) as opened:
        yield opened


@pytest.fixture
def log(store):
    return AccessLog(store.engine())


def outcomes(log):
    return [(line.action, line.outcome) for line in log.read()]


def test_a_line_says_who_did_what_to_which_objects(log):
    reference = str(uuid.uuid4())
    log.write("key-12ab", "reference.delete", "fetal", [reference, KEY])
    (line,) = log.read()
    assert (line.actor, line.action, line.library, line.outcome) == ("key-12ab", "reference.delete", "fetal", "done")
    assert line.objects == (reference, KEY)
    assert line.at.utcoffset().total_seconds() == 0


def test_the_newest_lines_come_first_and_older_ones_page_by_page(log):
    for number in range(5):
        log.write("local", "reference.add", f"library-{number}")
    first = log.read(2)
    assert [line.library for line in first] == ["library-4", "library-3"]
    assert [line.library for line in log.read(9, before=first[-1].id)] == ["library-2", "library-1", "library-0"]


def test_the_line_stands_before_the_change_begins(log, store):
    other = AccessLog(store.engine())
    with log.recording("local", "reference.add", "fetal") as attempt:
        assert outcomes(other) == [("reference.add", "begun")]
        attempt.objects.append(KEY)
    (line,) = other.read()
    assert (line.outcome, line.objects) == ("done", (KEY,))


def test_a_refused_change_has_its_code_and_an_unexpected_end_says_failed(log):
    with pytest.raises(Conflict), log.recording("local", "reference.add"):
        raise Conflict("already_enrolled", "it is there", hint="none")
    with pytest.raises(ZeroDivisionError), log.recording("local", "reference.delete"):
        1 / 0  # noqa: B018
    assert outcomes(log) == [("reference.delete", "failed"), ("reference.add", "already_enrolled")]


def test_without_a_line_there_is_no_change(tmp_path):
    engine = open_database(sqlite_url(tmp_path))
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE access_log")
    changed = []
    with pytest.raises(Exception, match="access_log"), AccessLog(engine).recording("local", "reference.add"):
        changed.append(1)
    assert changed == []
    engine.dispose()


@pytest.mark.parametrize(
    "identity",
    ["Jane Doe", "PAT-00017", "1.2.840.113619.2.55", "19740512", "", KEY + "\n", KEY.upper(), "ab" * 31, "DOE^JANE"],
)
def test_what_looks_unlike_an_id_is_refused_and_not_repeated(log, identity):
    for ask in (
        lambda: log.write("local", "patient.erase", None, [identity]),
        lambda: log.recording("local", "patient.erase", None, [identity]).__enter__(),
    ):
        with pytest.raises(ValueError, match="ids and keyed hashes") as caught:
            ask()
        assert identity not in str(caught.value) or not identity
    assert log.read() == []


def test_an_object_that_looks_unlike_an_id_never_gets_into_a_line_that_has_begun(log):
    with pytest.raises(ValueError, match="ids and keyed"), log.recording("local", "reference.add") as attempt:
        attempt.objects.append("Jane Doe")
    (line,) = log.read()
    assert (line.outcome, line.objects) == ("begun", ())


def test_a_name_that_no_library_can_have_is_left_out(log):
    log.write("local", "library.delete", "Jane Doe 1974", outcome="unknown_library")
    assert log.read()[0].library is None
