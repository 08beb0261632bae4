"""Searches through Qdrant while a library changes: its collection follows the library, and no answer mixes versions.

A snapshot of another engine never changes, whatever happens to its library. One whose vectors lie in Qdrant cannot
promise that; what holds instead is that the Finder searches again where the library has moved on meanwhile.
"""

import random
import threading
from dataclasses import replace

import numpy as np
import pytest
from qdrant_facade import Fault
from qdrant_library import running_qdrant
from test_shelves import new

from app.config import Settings
from app.errors import Unavailable
from app.library.reference import NewVector
from app.search.answer import ImageQuery, Wish
from app.search.ranking import rank
from app.search.snapshot import build_snapshot
from app.wiring import open_indexes, running_service

ALL = Wish(library="fetal", k=1000, scores=())


@pytest.fixture
def qdrant(tmp_path):
    (tmp_path / "qdrant").mkdir()
    with running_qdrant(tmp_path / "qdrant") as running:
        yield running


@pytest.fixture
def service(qdrant, tmp_path):
    settings = Settings(data=tmp_path / "data", index={"engine": "qdrant"}, qdrant=qdrant.settings())
    with running_service(settings) as opened:
        opened.catalogue.put_library("fetal")
        yield opened


@pytest.fixture
def query(query_file):
    return ImageQuery(query_file.read_bytes())


def made(service, number, rng):
    """A reference with a vector of the loaded encoder."""
    encoder = service.batcher.default
    vector = np.random.default_rng(number).normal(size=encoder.dim)
    unit = (vector / np.linalg.norm(vector)).astype(np.float32)
    return replace(new(number, rng), vectors=(NewVector(encoder.name, encoder.digest, unit),))


def add(service, numbers, rng):
    return service.catalogue.add("fetal", [made(service, number, rng) for number in numbers])


class Overtaken:
    """Lets another process change the library, and Qdrant with it, whenever a search has taken its snapshot."""

    def __init__(self, service, change, most):
        self._service, self._change, self._most = service, change, most
        self._taken, service.shelves.snapshot_at = service.shelves.snapshot_at, self
        self.times = 0

    def __call__(self, *asked):
        snapshot = self._taken(*asked)
        if self.times < self._most:
            self.times += 1
            self._change(self.times)
            other = open_indexes(self._service.settings, self._service.catalogue)
            other.sync("fetal", self._service.batcher.default)
            other.close()
        return snapshot


def test_a_search_that_a_change_overtakes_is_of_the_new_version_as_a_whole(service, query):
    rng = random.Random(2)
    keys = add(service, range(30), rng)

    def change(number):
        service.catalogue.remove([keys.pop()])
        add(service, [100 + number], rng)

    overtaken = Overtaken(service, change, most=3)
    check_whole(service, service.finder.find(query, ALL), query)
    assert overtaken.times == 3


def test_a_search_that_only_additions_overtake_need_not_be_repeated(service, query):
    rng = random.Random(3)
    keys = add(service, range(30), rng)
    version = service.catalogue.library("fetal").version
    overtaken = Overtaken(service, lambda number: add(service, [100 + number], rng), most=99)
    answer = service.finder.find(query, ALL)
    assert (overtaken.times, answer.library.version) == (1, version)
    assert {found.reference.id for found in answer.neighbours} == set(keys)


def test_no_answer_rather_than_one_that_mixes_versions(service, query):
    keys = add(service, range(30), random.Random(4))
    Overtaken(service, lambda _number: service.catalogue.remove([keys.pop()]), most=99)
    with pytest.raises(Unavailable) as caught:
        service.finder.find(query, ALL)
    assert caught.value.code == "library_changing"


def check_whole(service, answer, query):
    """An answer is that of brute force over what is stored now."""
    encoder = service.batcher.default
    info, shelf = service.catalogue.embeddings.shelf("fetal", encoder.digest)
    snapshot = build_snapshot(info, encoder.digest, shelf, "exact")
    hits = rank(snapshot, service.finder.encode(encoder, service.finder.read(query)), ALL).hits
    assert answer.library == info
    assert [found.reference.id for found in answer.neighbours] == [snapshot.references[row].id for row in hits.rows]
    np.testing.assert_allclose([found.distance for found in answer.neighbours], hits.distances, atol=1e-6)


def test_searches_during_changes_see_one_version_each(service, query):
    """A writer keeps pairs of twins: both are there or none, in every version. No search sees half a pair."""
    rng = random.Random(6)
    done, torn, versions = threading.Event(), [], set()
    add(service, range(2), rng)

    def write():
        for number in range(40):
            pair = add(service, [1000 + 2 * number, 1001 + 2 * number], rng)
            if number % 3 == 0:
                service.catalogue.remove(pair)
        done.set()

    def read():
        while not done.is_set():
            answer = service.finder.find(query, ALL)
            versions.add(answer.library.version)
            found = len(answer.neighbours)
            if found % 2 or found != answer.library.size:
                torn.append((answer.library, found))

    threads = [threading.Thread(target=read) for _ in range(3)] + [threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torn == []
    assert len(versions) > 5
    check_whole(service, service.finder.find(query, ALL), query)


def test_those_who_wait_for_a_silent_qdrant_wait_once_together(service, qdrant, query):
    """They queue while one of them brings the collection up to date, and its time-outs are not theirs again."""
    add(service, range(4), random.Random(7))
    qdrant.faults.append(Fault("timeout", times=10**6))
    failed = []

    def search():
        with pytest.raises(Unavailable) as caught:
            service.finder.find(query, ALL)
        failed.append(caught.value)

    threads = [threading.Thread(target=search) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(error.code, error.status) for error in failed] == [("qdrant_unreachable", 503)] * 8
    assert len(qdrant.asked) <= qdrant.settings().attempts
