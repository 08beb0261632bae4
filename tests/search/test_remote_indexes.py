"""Libraries in Qdrant: what is erased or deleted goes from every collection, and a restored database wins."""

import random
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from test_shelves import ENCODER, answers, change, new, some_vectors

from app.config import QdrantSettings
from app.domain import Labels
from app.indexes.qdrant import QdrantStore
from app.indexes.qdrant_collection import Collections
from app.indexes.qdrant_points import Place
from app.library.catalogue import Catalogue
from app.library.database import open_database
from app.library.files import FrameFiles
from app.search.answer import EncoderInfo, Wish
from app.search.ranking import rank
from app.search.remote_indexes import RemoteIndexes
from app.search.shelves import Shelves
from app.search.snapshot import build_snapshot

OTHER = EncoderInfo("other", "sha256:" + "1" * 64, 4, "fp32")


@pytest.fixture
def catalogue(tmp_path):
    opened = Catalogue(open_database(f"sqlite:///{tmp_path}/library.db"), FrameFiles(tmp_path / "frames"))
    opened.put_library("fetal")
    return opened


@pytest.fixture
def store(catalogue):
    opened = QdrantStore(QdrantSettings(url=":memory:"), database=catalogue.facts.database_uid())
    yield opened
    opened.close()


def place_of(catalogue, encoder, name="fetal"):
    return Place(catalogue.library(name).uid, name, encoder.name, encoder.digest, encoder.dim)


@pytest.fixture
def filled(catalogue, store):
    """Twelve references in the collections of two encoders; the ids of the patient p."""
    rng = random.Random(4)
    keys = catalogue.add("fetal", [new(number, rng) for number in range(12)])
    for number, key in enumerate(keys):
        catalogue.update(key, Labels(), {}, patient_key="p" if number < 5 else f"other {number}")
    catalogue.embeddings.add("fetal", OTHER.name, OTHER.digest, keys, np.eye(12, 4, dtype=np.float32) + 0.1)
    for encoder in (ENCODER, OTHER):
        RemoteIndexes(store, catalogue).sync("fetal", encoder)
    return keys


def counts(catalogue, store):
    return [store.count(place_of(catalogue, encoder)) for encoder in (ENCODER, OTHER)]


def test_an_erasure_takes_the_points_of_every_encoder_even_after_a_restart(catalogue, store, filled):
    assert counts(catalogue, store) == [12, 12]
    erased = catalogue.erase_patient("p")
    (gone,) = erased.gone
    fresh = RemoteIndexes(store, catalogue)  # which has followed no collection yet
    assert any("disks of Qdrant" in sentence for sentence in fresh.forget(gone.uid, gone.ids))
    assert counts(catalogue, store) == [7, 7]
    assert Shelves(catalogue, fresh).snapshot("fetal", ENCODER).size == 7


def test_a_reference_that_was_enrolled_again_meanwhile_keeps_its_point(catalogue, store, filled):
    uid = catalogue.library("fetal").uid
    RemoteIndexes(store, catalogue).forget(uid, filled[:1])  # it is there
    assert counts(catalogue, store) == [12, 12]


def test_a_deleted_library_takes_its_collections_with_it(catalogue, store, filled):
    uid, places = catalogue.library("fetal").uid, [place_of(catalogue, one) for one in (ENCODER, OTHER)]
    catalogue.delete_library("fetal")
    RemoteIndexes(store, catalogue).forget(uid, None)
    assert [store.edition(place) for place in places] == [None, None]


def test_collections_of_dead_libraries_are_found_later_and_those_of_others_left(catalogue, store, filled):
    places = [place_of(catalogue, one) for one in (ENCODER, OTHER)]
    catalogue.delete_library("fetal")  # and Qdrant could not be told
    catalogue.put_library("alive")
    catalogue.add("alive", [new(1, random.Random(5))])
    indexes = RemoteIndexes(store, catalogue)
    indexes.sync("alive", ENCODER)
    assert sorted(indexes.tidy()) == sorted(place.collection for place in places)
    assert indexes.tidy() == []
    assert store.count(place_of(catalogue, ENCODER, "alive")) == 1


def test_the_collection_of_vectors_that_were_removed_goes_with_the_next_tidying(catalogue, store, filled):
    assert RemoteIndexes(store, catalogue).tidy() == []
    catalogue.embeddings.drop("fetal", OTHER.digest)
    assert RemoteIndexes(store, catalogue).tidy() == [place_of(catalogue, OTHER).collection]
    assert counts(catalogue, store)[0] == 12


def test_collections_of_another_database_are_never_orphans(catalogue, store, filled):
    other = Collections(store._calls, store.settings, "another database")
    assert other.orphans(set()) == []
    assert len(Collections(store._calls, store.settings, catalogue.facts.database_uid()).orphans(set())) == 2


@pytest.mark.parametrize("way", ["search", "sync"])
def test_an_older_database_that_was_restored_wins_over_what_qdrant_knows(catalogue, store, filled, tmp_path, way):
    backup = tmp_path / "backup.db"
    with closing(sqlite3.connect(tmp_path / "library.db")) as connection:
        connection.execute("VACUUM INTO ?", [str(backup)])
    rng = random.Random(6)
    for number in range(20, 40):
        change(catalogue, rng, number)
    RemoteIndexes(store, catalogue).sync("fetal", ENCODER)
    restored = Catalogue(open_database(f"sqlite:///{backup}"), FrameFiles(tmp_path / "frames"))
    indexes = RemoteIndexes(store, restored)
    if way == "sync":
        assert indexes.sync("fetal", ENCODER).missing == 12
    live = Shelves(restored, indexes).snapshot("fetal", ENCODER)
    info, shelf = restored.embeddings.shelf("fetal", ENCODER.digest)
    queries = some_vectors(restored)
    assert answers(live, queries) == answers(build_snapshot(info, ENCODER.digest, shelf, "exact"), queries)
    assert store.count(place_of(restored, ENCODER)) == 12


def test_an_old_snapshot_is_told_when_the_collection_has_moved_on(catalogue, store, filled):
    shelves = Shelves(catalogue, RemoteIndexes(store, catalogue))
    before = shelves.snapshot("fetal", ENCODER)
    assert shelves.is_present(before)
    catalogue.remove(filled[:1])
    assert not shelves.is_present(before)
    now = shelves.snapshot("fetal", ENCODER)
    assert shelves.is_present(now)
    query = np.full(ENCODER.dim, ENCODER.dim**-0.5, dtype=np.float32)
    assert len(rank(now, query, Wish(k=50)).hits.rows) == 11
