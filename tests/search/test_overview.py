"""What is told of a library: numbers of one version, whatever others write meanwhile."""

from contextlib import contextmanager
from itertools import count

import pytest
from sqlalchemy import event
from stores import DIGEST, new, opened_store, sqlite_url

from app.search.overview import Overviews

_NUMBERS = count(100)


@pytest.fixture
def store(tmp_path):
    with opened_store(sqlite_url(tmp_path), tmp_path) as opened:
        yield opened


@pytest.fixture
def catalogue(store):
    opened = store.open()
    opened.put_library("fetal")
    opened.add("fetal", [new(n, fingerprint="0" * 16) for n in range(3)])
    return opened


@contextmanager
def another_writes(store, catalogue):
    """Another process adds a reference after everything that is read."""
    other = store.open()

    def add(*_of_the_event):
        other.add("fetal", [new(next(_NUMBERS), fingerprint="0" * 16)])

    event.listen(catalogue._engine, "after_cursor_execute", add)
    yield
    event.remove(catalogue._engine, "after_cursor_execute", add)


def test_the_numbers_of_an_overview_are_of_one_version(store, catalogue):
    overviews = Overviews(catalogue)
    for _ in range(2):
        with another_writes(store, catalogue):
            seen = overviews.of("fetal")
        size = seen.holdings.info.size
        assert dict(seen.holdings.encoders) == {DIGEST: ("resnet-us", size)}
        assert seen.labels["organ"] == {"femur": size}
        assert seen.duplicates.references == size
    assert seen.unlabelled == 0


def test_libraries_are_listed_with_vectors_of_the_same_version(store, catalogue):
    with another_writes(store, catalogue):
        (seen,) = catalogue.libraries()
    assert dict(seen.encoders) == {DIGEST: ("resnet-us", seen.info.size)}
    assert catalogue.holdings("fetal").info.size > seen.info.size


def test_near_duplicates_are_looked_for_once_for_each_state(catalogue):
    overviews = Overviews(catalogue)
    first = overviews.of("fetal").duplicates
    assert (first.groups, first.references) == (1, 3)
    assert overviews.of("fetal").duplicates is first
    catalogue.add("fetal", [new(9, fingerprint="f" * 16)])
    assert overviews.of("fetal").duplicates == first
    assert overviews.of("fetal").duplicates is not first
