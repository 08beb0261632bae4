"""The engine qdrant against float64 brute force: in memory, over HTTP, over gRPC, and at QDRANT_URL where it is set."""

import os
from contextlib import closing, contextmanager
from functools import partial

import numpy as np
import pytest
from qdrant_engine import optimise
from qdrant_library import SmallLibrary, running_qdrant, unit

from app.config import QdrantSettings
from app.errors import Conflict
from app.indexes.qdrant import QdrantStore


def spread(rng, n, dim):
    return unit(rng.normal(size=(n, dim)))


def collinear(rng, n, dim):
    """As of an untrained network: all vectors nearly the same."""
    return unit(rng.normal(size=dim) + 1e-3 * rng.normal(size=(n, dim)))


def duplicated(rng, n, dim):
    return np.repeat(spread(rng, n // 60 + 1, dim), 60, axis=0)[:n]


class Opener:
    """Opens stores with settings; all of them see the same Qdrant. ``engine`` is the one behind it, if it is ours."""

    def __init__(self, open_store, engine=None):
        self._open_store, self.engine = open_store, engine

    @contextmanager
    def __call__(self, **settings):
        with self._open_store(**settings) as store:
            yield store


@pytest.fixture(params=["memory", "http", "grpc", "server"], scope="module")
def opened(request, tmp_path_factory):
    kind = request.param
    if kind == "memory":
        with closing(QdrantStore(QdrantSettings(url=":memory:"))) as store:
            yield Opener(partial(in_memory, store))
    elif kind == "server":
        if "QDRANT_URL" not in os.environ:
            pytest.skip("no Qdrant server: QDRANT_URL is not set")
        yield Opener(at_server)
    else:
        with running_qdrant(tmp_path_factory.mktemp("qdrant"), grpc=kind == "grpc") as qdrant:
            # The clock is none of the subject here, and other tests run beside this one.
            patient = {"timeout_s": 20, "write_timeout_s": 20, "retry_s": 60}
            yield Opener(lambda **given: qdrant.store(**patient | given), qdrant.engine)


@contextmanager
def in_memory(store, **given):
    """One client is one Qdrant here: its settings are changed."""
    store.settings = QdrantSettings(url=":memory:", **given)
    yield store


@contextmanager
def at_server(**given):
    grpc, key = os.environ.get("QDRANT_GRPC") == "1", os.environ.get("QDRANT_API_KEY")
    with closing(QdrantStore(QdrantSettings(url=os.environ["QDRANT_URL"], grpc=grpc, **given), key)) as store:
        yield store


@pytest.fixture
def filled(opened):
    """A library of 240 references in a store."""
    yield from fill(opened, spread)


def fill(opened, vectors):
    library = SmallLibrary()
    library.add(vectors(np.random.default_rng(20261124), 240, library.dim))
    with opened() as store:
        assert store.follow(library.place, library.changes())
        yield library, store
        store.retire(library.uid, [])


FILTERS = [
    {},
    {"where": [("organ", ["femur"])]},
    {"where": [("organ", ["femur", "abdomen"]), ("findings", ["a: colon"])]},
    {"where": [("device", ["device 3"])]},
    {"where": [("organ", ["nowhere"])]},
]


@pytest.mark.parametrize("vectors", [spread, collinear, duplicated])
def test_agrees_with_brute_force(opened, vectors):
    for library, store in fill(opened, vectors):
        known = [row.vector for row in library.rows.values()]
        other = unit(np.random.default_rng(4).normal(size=library.dim))
        for query in (known[0], known[100], other, unit(known[7] + 1e-4)):
            for told in FILTERS:
                for k in (1, 10, 240):
                    check(library, store, query, k, library.sight(**told))


def check(library, store, query, k, sight):
    ids, distances = library.brute_force(query, k, sight)
    hits = library.index(store).search(query, k, sight)
    np.testing.assert_allclose(hits.distances, distances, atol=1e-6, rtol=0)
    assert library.ids_of(hits) == ids


def test_never_fewer_than_there_are_whatever_is_left_out(filled):
    library, store = filled
    query = next(iter(library.rows.values())).vector
    near, _ = library.brute_force(query, 120, library.sight())
    sight = library.sight(without=near[:60], hidden=near[60:])
    ids, _ = library.brute_force(query, 120, sight)
    assert len(ids) == 120
    assert library.ids_of(library.index(store).search(query, 120, sight)) == ids


def test_what_is_added_relabelled_and_removed_is_so_for_the_next_search(filled):
    library, store = filled
    before = library.version
    added, *_ = library.add(unit(np.random.default_rng(3).normal(size=(2, library.dim))))
    library.relabel(added, "placenta")
    first = next(iter(library.rows))
    query = library.rows[first].vector
    library.remove(first)
    assert store.follow(library.place, library.changes(before))
    index = library.index(store)
    assert library.ids_of(index.search(query, 1, library.sight(where=[("organ", ["placenta"])]))) == [added]
    assert first not in library.ids_of(index.search(query, 300, library.sight()))
    assert store.count(library.place) == len(library.rows)
    assert store.edition(library.place) == library.version


def test_what_is_removed_while_a_search_measures_is_left_out(filled):
    library, store = filled
    index, sight = library.index(store), library.sight()
    query = next(iter(library.rows.values())).vector
    ids, distances = library.brute_force(query, 240, sight)
    stored = index._vectors_of
    nearest = index._row_of[ids[0]]
    index._vectors_of = lambda rows: np.where((rows == nearest)[:, None], np.inf, stored(rows))
    hits = index.search(query, 240, sight)
    assert library.ids_of(hits) == ids[1:]
    np.testing.assert_allclose(hits.distances, distances[1:], atol=1e-6, rtol=0)


def test_following_twice_changes_nothing(filled):
    library, store = filled
    again = library.changes()
    assert store.follow(library.place, again)
    assert store.follow(library.place, again)
    assert (store.count(library.place), store.edition(library.place)) == (240, library.version)


def test_changes_that_begin_too_late_are_not_taken(filled):
    library, store = filled
    library.add(spread(np.random.default_rng(5), 3, library.dim))
    late = library.changes(since=library.version)
    assert not store.follow(library.place, late)
    assert (store.count(library.place), store.edition(library.place)) == (240, library.version - 1)


def test_who_knows_less_undoes_nothing(filled):
    """Two processes follow; the slow one writes what it read before the fast one was done."""
    library, store = filled
    before = library.version
    relabelled, removed, back = list(library.rows)[:3]
    library.relabel(relabelled, "old word")
    came_back = library.rows[back]
    library.remove(back)
    slow = library.changes(before)
    library.relabel(relabelled, "new word")
    library.remove(removed)
    library.version += 1
    library.rows[back] = came_back
    came_back.version = library.version
    assert store.follow(library.place, library.changes(before))

    assert store.follow(library.place, slow)
    store._upsert(library.place, slow.points, slow.version)  # as where it had asked for the edition just before
    assert store.edition(library.place) == library.version
    query = library.rows[relabelled].vector
    found = store.nearest(library.place, query, 300, library.sight(where=[("organ", ["new word"])]), exact=True)
    assert found.ids == [relabelled]
    assert sorted(store.nearest(library.place, query, 300, library.sight(), exact=True).ids) == sorted(library.rows)


def test_what_a_slow_process_puts_back_is_never_found_and_goes_with_its_next_changes(filled):
    library, store = filled
    slow = library.changes()
    removed = next(iter(library.rows))
    query = library.rows[removed].vector
    library.remove(removed)
    assert store.follow(library.place, library.changes(slow.version))
    store._upsert(library.place, slow.points, slow.version)
    assert store.count(library.place) == 240
    assert removed not in library.ids_of(library.index(store).search(query, 239, library.sight()))
    assert store.follow(library.place, library.changes(slow.version))
    assert store.count(library.place) == 239


def test_sync_repairs_what_is_missing_stale_and_surplus(filled):
    library, store = filled
    keys = list(library.rows)
    truth = library.truth()
    with_others = dict(library.rows)
    library.remove(*keys[:3])
    library.relabel(keys[5], "placenta")
    # An older state of the store, as after it was brought back from a snapshot; and two points that never came.
    version = library.version
    never = library.add(spread(np.random.default_rng(8), 2, library.dim))
    assert set(truth) == set(with_others)
    assert tuple(store.sync(library.place, library.version, library.truth(), library.points)) == (2, 1, 3)
    assert tuple(store.sync(library.place, library.version, library.truth(), library.points)) == (0, 0, 0)
    assert store.edition(library.place) == library.version > version
    found = store.nearest(library.place, library.rows[never[0]].vector, 300, library.sight(), exact=True).ids
    assert sorted(found) == sorted(library.rows)


def test_sync_fills_a_place_that_is_empty_and_leaves_what_came_meanwhile(opened):
    library = SmallLibrary()
    library.add(spread(np.random.default_rng(1), 30, library.dim))
    then, truth = library.version, library.truth()
    with opened() as store:
        assert store.edition(library.place) is None
        later = library.add(spread(np.random.default_rng(2), 2, library.dim))
        assert store.follow(library.place, library.changes())
        assert tuple(store.sync(library.place, then, truth, library.points)) == (0, 0, 0)
        assert store.count(library.place) == 30 + len(later)
        store.retire(library.uid, [])
        assert store.edition(library.place) is None


def test_another_encoder_is_built_beside_and_the_alias_switches_when_it_is_complete(filled):
    library, store = filled
    first = library.place
    assert target(store, first.alias) == first.collection
    library.digest = "sha256:" + "cd" * 32
    library.dim = 12
    for row in library.rows.values():
        row.vector = unit(row.vector[:12])
    changes = library.changes()
    half = PointsOf(changes, 100)
    store._collections.ensure(library.place)
    store._upsert(library.place, half.points, changes.version)
    assert target(store, first.alias) == first.collection  # half of it is there: the old one serves
    assert store.edition(library.place) is None
    assert store.follow(library.place, changes)
    assert target(store, first.alias) == library.place.collection
    assert store.count(first) == 240
    assert store.retire(library.uid, [library.place]) == [first.collection]
    assert store.count(library.place) == 240
    assert target(store, first.alias) == library.place.collection


class PointsOf:
    """The first points of some changes."""

    def __init__(self, changes, n):
        p = changes.points
        self.points = type(p)(p.ids[:n], p.vectors[:n], p.versions[:n], p.labels[:n], p.attributes[:n])


def target(store, alias):
    found = store._calls.read(lambda client: client.get_aliases()).aliases
    return {each.alias_name: each.collection_name for each in found}.get(alias)


def test_a_library_made_anew_under_its_name_is_another(opened):
    old, new = SmallLibrary(), SmallLibrary()
    for library in (old, new):
        library.add(spread(np.random.default_rng(1), 5, library.dim))
    with opened() as store:
        for library in (old, new):
            assert store.follow(library.place, library.changes())
        assert store.retire(old.uid, []) == [old.place.collection]
        assert (store.count(old.place), store.count(new.place)) == (0, 5)
        assert target(store, new.place.alias) == new.place.collection
        store.retire(new.uid, [])


def test_no_value_that_is_no_number_is_ever_sent(filled):
    library, store = filled
    before = library.version
    key, *_ = library.add(np.full((1, library.dim), np.nan, np.float32))
    with pytest.raises(Conflict) as caught:
        store.follow(library.place, library.changes(before))
    assert caught.value.code == "vector_not_finite"
    with pytest.raises(Conflict):
        store.sync(library.place, library.version, library.truth(), library.points)
    with pytest.raises(Conflict):
        store.nearest(library.place, library.rows[key].vector, 3, library.sight(), exact=True)
    assert store.edition(library.place) == before


def test_the_graph_with_int8_and_rescore_finds_what_is_there(opened):
    library = SmallLibrary()
    rng = np.random.default_rng(11)
    centres = rng.normal(size=(20, library.dim))
    library.add(unit(np.repeat(centres, 60, axis=0) + 0.4 * rng.normal(size=(1200, library.dim))))
    with opened(quantisation="int8", exact_below=0, vectors_on_disk=True, batch_size=500) as store:
        assert store.follow(library.place, library.changes())
        if opened.engine:  # which builds no graph by itself
            optimise(opened.engine[library.place.collection])
            assert opened.engine[library.place.collection].info().indexed_vectors_count == 1200
        index, right = library.index(store), 0
        for told in ({}, {"where": [("organ", ["femur"])]}):
            sight = library.sight(**told)
            for query in unit(centres + 0.4 * rng.normal(size=centres.shape)):
                ids, _ = library.brute_force(query, 10, sight)
                hits = index.search(query, 10, sight)
                assert len(hits.rows) == 10
                right += len(set(ids) & set(library.ids_of(hits)))
        assert not index.exact
        assert right >= 0.97 * 10 * 2 * len(centres)
        store.retire(library.uid, [])
