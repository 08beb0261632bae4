"""What the engine qdrant does when Qdrant is slow, busy, gone, strange or set up wrongly; and what it is told."""

import subprocess
import sys
import threading
from contextlib import closing

import grpc
import numpy as np
import pytest
import structlog
from qdrant_client.http import models
from qdrant_facade import Fault, served
from qdrant_library import SmallLibrary, running_qdrant, unit

from app.config import QdrantSettings
from app.errors import Misconfigured, Unavailable
from app.indexes.qdrant import QdrantStore

KEY = "key-that-nobody-may-read"
POINTS = "/points"
UPSERT = "PUT /collections/"


@pytest.fixture
def qdrant(tmp_path):
    with running_qdrant(tmp_path) as running:
        yield running


@pytest.fixture
def library():
    made = SmallLibrary()
    made.add(unit(np.random.default_rng(7).normal(size=(120, made.dim))))
    return made


def check_equal(library, store):
    """The collection holds the library and nothing else, and a search finds it."""
    assert store.edition(library.place) == library.version
    assert store.count(library.place) == len(library.rows)
    assert tuple(store.sync(library.place, library.version, library.truth(), library.points)) == (0, 0, 0)
    query, sight = next(iter(library.rows.values())).vector, library.sight(where=[("organ", ["femur"])])
    ids, distances = library.brute_force(query, 10, sight)
    hits = library.index(store).search(query, 10, sight)
    assert library.ids_of(hits) == ids
    np.testing.assert_allclose(hits.distances, distances, atol=1e-6, rtol=0)


FAULTS = {
    "busy, says for how long": Fault(429, retry_after=1),
    "busy": Fault(429),
    "starting": Fault(503, times=2),
    "silent": Fault("timeout"),
    "cut before": Fault("cut", when="before"),
    "cut in the middle": Fault("cut", when="half"),
    "cut after": Fault("cut", when="after"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_the_middle_of_a_filling_is_overcome(qdrant, library, name):
    told = vars(FAULTS[name])
    with qdrant.store(batch_size=50) as store:
        store._collections.ensure(library.place)
        qdrant.faults.append(Fault(**told | {"to": f"{UPSERT}{library.place.collection}{POINTS}"}))
        assert store.follow(library.place, library.changes())
        assert qdrant.faults[0].times == 0
        check_equal(library, store)


@pytest.mark.parametrize("name", ["busy", "silent", "cut before"])
def test_a_fault_in_a_search_is_overcome(qdrant, library, name):
    with qdrant.store() as store:
        assert store.follow(library.place, library.changes())
        qdrant.faults.append(Fault(**vars(FAULTS[name]) | {"to": "/points/query"}))
        check_equal(library, store)
        assert qdrant.faults[0].times == 0


def test_a_cut_answer_to_each_kind_of_call_is_overcome(qdrant, library):
    """Everything was done, and nobody was told: so it is done again, and is the same."""
    calls = [f"PUT /collections/{library.place.collection}", "/index", "PATCH", "/aliases", "/delete", "/scroll"]
    qdrant.faults += [Fault("cut", to=to, when="after") for to in calls]
    with qdrant.store() as store:
        assert store.follow(library.place, library.changes())
        before = library.version
        library.remove(next(iter(library.rows)))
        assert store.follow(library.place, library.changes(before))
        check_equal(library, store)
    assert [fault.to for fault in qdrant.faults if fault.times] == []


def test_a_filling_that_fails_leaves_the_edition_behind_and_is_taken_up_again(qdrant, library, monkeypatch):
    monkeypatch.setattr("app.indexes.qdrant_calls._DOWN_S", 0.0)
    with qdrant.store(batch_size=50, attempts=2) as store:
        store._collections.ensure(library.place)
        # The first batch passes; of the second, a half arrives before the connection ends, again and again.
        qdrant.faults += [
            Fault("none", to=f"{UPSERT}{library.place.collection}{POINTS}"),
            Fault("cut", to=f"{UPSERT}{library.place.collection}{POINTS}", times=2, when="half"),
        ]
        with pytest.raises(Unavailable) as caught:
            store.follow(library.place, library.changes())
        assert caught.value.code == "qdrant_unreachable"
        assert store.edition(library.place) is None
        assert store.count(library.place) == 75
        assert qdrant.engine.aliases == {}
        assert tuple(store.sync(library.place, library.version, library.truth(), library.points)) == (45, 0, 0)
        check_equal(library, store)


def test_what_fails_for_good_is_told_without_anybody_s_words(qdrant, library):
    with qdrant.store(key=KEY, attempts=2) as store:
        assert store.follow(library.place, library.changes())
        qdrant.faults.append(Fault(503, times=99))
        with structlog.testing.capture_logs() as lines, pytest.raises(Unavailable) as caught:
            store.nearest(
                library.place, library.points(list(library.rows)[:1]).vectors[0], 3, library.sight(), exact=True
            )
    error = caught.value
    assert (error.code, error.status) == ("qdrant_unreachable", 503)
    assert "sonoseek sync" in error.hint
    assert qdrant.url.removeprefix("http://") in error.detail
    assert [line["event"] for line in lines] == ["stamina.retry_scheduled"]
    for text in (error.detail, error.hint, str(lines), str(error.__context__), str(error.__cause__)):
        assert KEY not in text
        assert "secret words" not in text


def test_a_server_that_wants_a_longer_pause_than_we_have_is_not_waited_for(qdrant, library):
    qdrant.faults.append(Fault(429, retry_after=3600, times=9))
    with qdrant.store() as store, pytest.raises(Unavailable):
        store.edition(library.place)
    assert qdrant.faults[0].times == 8


def test_nobody_at_the_address(library):
    with pytest.raises(Unavailable) as caught:
        QdrantStore(QdrantSettings(url="http://127.0.0.1:9", grpc=False, attempts=2)).edition(library.place)
    assert caught.value.code == "qdrant_unreachable"
    assert "127.0.0.1:9" in caught.value.detail


def test_a_page_that_is_no_qdrant(qdrant, library):
    """As of a proxy's login page."""
    qdrant.faults.append(Fault(200, times=9))
    with qdrant.store() as store, pytest.raises(Unavailable) as caught:
        store.edition(library.place)
    assert caught.value.code == "qdrant_failed"


def test_a_server_that_knows_no_such_question_is_no_qdrant(qdrant, library):
    qdrant.faults.append(Fault(404, times=9))
    with qdrant.store() as store, pytest.raises(Misconfigured) as caught:
        store.follow(library.place, library.changes())
    assert caught.value.code == "qdrant_address"
    assert "SONOSEEK_QDRANT__URL" in caught.value.hint


@pytest.mark.parametrize(("status", "code"), [(200, "qdrant_failed"), (404, "qdrant_address"), (500, "qdrant_failed")])
def test_what_answers_in_another_language_is_told_as_such(library, status, code):
    """As any web server does whose port was mistaken for Qdrant's."""

    async def web_page(_scope, _receive, send):
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": b"<html>secret words</html>"})

    with (
        served(web_page) as url,
        closing(QdrantStore(QdrantSettings(url=url, grpc=False))) as store,
        pytest.raises((Unavailable, Misconfigured)) as caught,
    ):
        store.sync(library.place, library.version, library.truth(), library.points)
    assert caught.value.code == code
    assert "secret words" not in caught.value.detail


def test_nobody_home_is_told_in_words(library):
    for over_grpc in (False, True):
        settings = QdrantSettings(url="http://127.0.0.1:9", grpc=over_grpc, grpc_port=9, attempts=1)
        with closing(QdrantStore(settings)) as store, pytest.raises(Unavailable) as caught:
            store.count(library.place)
        assert caught.value.detail == "Qdrant at 127.0.0.1:9 cannot be used: the connection failed"


@pytest.mark.parametrize(
    "params",
    [
        models.VectorParams(size=13, distance=models.Distance.EUCLID),
        models.VectorParams(size=24, distance=models.Distance.COSINE),
    ],
)
def test_a_collection_of_other_vectors_is_never_touched(qdrant, library, params):
    qdrant.engine.create(library.place.collection, models.CreateCollection(vectors=params))
    with qdrant.store() as store:
        for call in (
            lambda: store.edition(library.place),
            lambda: store.follow(library.place, library.changes()),
            lambda: store.sync(library.place, library.version, library.truth(), library.points),
        ):
            with pytest.raises(Misconfigured) as caught:
                call()
            assert caught.value.code == "qdrant_dimension"
    assert qdrant.engine[library.place.collection].count().count == 0


def test_a_collection_that_somebody_deleted_is_missed_by_no_search_and_filled_again(qdrant, library):
    with qdrant.store() as store:
        assert store.follow(library.place, library.changes())
        qdrant.engine.drop(library.place.collection)
        query, sight = next(iter(library.rows.values())).vector, library.sight(where=[("device", ["device 2"])])
        with structlog.testing.capture_logs() as lines:
            hits = library.index(store).search(query, 10, sight)
        assert library.ids_of(hits) == library.brute_force(query, 10, sight)[0]
        assert lines[0]["event"] == "qdrant_incomplete"
        assert not store.follow(library.place, library.changes(library.version))
        assert store.follow(library.place, library.changes())
        check_equal(library, store)


def test_a_server_that_is_too_old(qdrant, library):
    qdrant.engine.version = "1.15.4"
    with qdrant.store() as store, pytest.raises(Misconfigured) as caught:
        store.follow(library.place, library.changes())
    assert caught.value.code == "qdrant_too_old"
    assert "1.15.4" in caught.value.detail


@pytest.mark.parametrize("over_grpc", [False, True])
def test_the_key_is_shown_and_a_wrong_one_is_refused(tmp_path, library, over_grpc):
    with running_qdrant(tmp_path, grpc=over_grpc, key=KEY) as qdrant:
        with qdrant.store(key=KEY) as store:
            assert store.follow(library.place, library.changes())
        for wrong in ("another", None):
            with qdrant.store(key=wrong) as store, pytest.raises(Misconfigured) as caught:
                store.edition(library.place)
            assert caught.value.code == "qdrant_key_refused"


@pytest.mark.parametrize(
    ("url", "key", "code"),
    [
        (None, None, "qdrant_address"),
        ("qdrant.example:6333", None, "qdrant_address"),
        ("https://user:pass-word@qdrant.example:6333", None, "qdrant_address"),
        ("http://qdrant.example:6333", KEY, "qdrant_insecure_key"),
    ],
)
def test_an_address_that_is_none_or_unsafe_is_refused_and_not_repeated(url, key, code):
    with pytest.raises(Misconfigured) as caught:
        QdrantStore(QdrantSettings(url=url), key)
    assert caught.value.code == code
    assert "SONOSEEK_QDRANT__URL" in caught.value.hint or code == "qdrant_insecure_key"
    assert "pass-word" not in caught.value.detail + caught.value.hint


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_faults_over_grpc_are_overcome(tmp_path, library, code):
    with running_qdrant(tmp_path, grpc=True) as qdrant, qdrant.store(batch_size=50) as store:
        qdrant.faults += [Fault(code, to=to) for to in ("/Upsert", "/Query", "/Create", "/UpdateAliases")]
        assert store.follow(library.place, library.changes())
        check_equal(library, store)
        assert [fault.to for fault in qdrant.faults if fault.times] == []
        qdrant.faults.append(Fault(grpc.StatusCode.DEADLINE_EXCEEDED, times=99))
        with pytest.raises(Unavailable) as caught:
            store.count(library.place)
        assert caught.value.code == "qdrant_unreachable"
        assert "secret words" not in caught.value.detail


def test_a_new_collection_is_made_as_it_is_set_and_indexed_before_its_points(qdrant, library):
    told = {"shards": 6, "replicas": 2, "write_consistency": 2, "quantisation": "int8", "quantile": 0.95, "hnsw_m": 32}
    with qdrant.store(**told, vectors_on_disk=True, graph_on_disk=True, hnsw_ef_construct=300) as store:
        assert store.follow(library.place, library.changes())
    made = qdrant.engine[library.place.collection]
    body = made.body
    assert (body.shard_number, body.replication_factor, body.write_consistency_factor) == (6, 2, 2)
    assert (body.vectors.distance, body.vectors.on_disk, body.on_disk_payload) == (models.Distance.EUCLID, True, True)
    assert (body.hnsw_config.m, body.hnsw_config.ef_construct, body.hnsw_config.on_disk) == (32, 300, True)
    scalar = body.quantization_config.scalar
    assert (scalar.type, scalar.quantile, scalar.always_ram) == (models.ScalarType.INT8, 0.95, True)
    assert made.indexed == [("labels", 0), ("version", 0)]
    assert made.metadata == {
        "database": "",
        "library_uid": library.uid,
        "digest": library.digest,
        "encoder": "resnet-us",
        "version": library.version,
    }


def test_a_search_says_whether_it_is_exact(qdrant, library):
    collection = qdrant.engine[filled(qdrant, library)]
    engine_query, asked = collection.query, []

    def noted(body):
        asked.append(body.params)
        return engine_query(body)

    collection.query = noted
    query = next(iter(library.rows.values())).vector
    for told in ({}, {"exact_below": 0}, {"exact_below": 0, "quantisation": "int8"}, {"exact": True, "exact_below": 0}):
        with qdrant.store(**told, hnsw_ef=77, oversampling=3.0) as store:
            library.index(store).search(query, 10, library.sight())
    assert [params.exact for params in asked] == [True, False, False, True]
    assert [params.hnsw_ef for params in asked] == [77] * 4
    assert [params.quantization and params.quantization.oversampling for params in asked] == [None, None, 3.0, None]
    assert asked[2].quantization.rescore


def test_where_the_graph_loses_its_way_the_scan_tells(qdrant, library):
    """As it does behind a filter that few pass: fewer come than were asked for, and are."""
    collection = qdrant.engine[filled(qdrant, library)]
    engine_query, asked = collection.query, []

    def lost(body):
        asked.append(body.params.exact)
        answer = engine_query(body)
        return answer if body.params.exact else models.QueryResponse(points=answer.points[:4])

    collection.query = lost
    query, sight = next(iter(library.rows.values())).vector, library.sight(where=[("organ", ["femur"])])
    with qdrant.store(exact_below=0) as store, structlog.testing.capture_logs() as lines:
        hits = library.index(store).search(query, 10, sight)
    assert library.ids_of(hits) == library.brute_force(query, 10, sight)[0]
    assert asked[:2] == [False, True]
    assert lines == []


def filled(qdrant, library):
    with qdrant.store() as store:
        assert store.follow(library.place, library.changes())
    return library.place.collection


def test_two_processes_that_fill_the_same_place_at_once(qdrant, library):
    def follow():
        with qdrant.store(batch_size=10, write_timeout_s=20) as store:
            outcome.append(store.follow(library.place, library.changes()))

    outcome = []
    threads = [threading.Thread(target=follow) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcome == [True, True]
    with qdrant.store() as store:
        check_equal(library, store)


def test_nothing_of_qdrant_is_imported_before_it_is_used():
    code = "import sys, app.indexes.registry, app.indexes.qdrant_points as p; print('qdrant_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_after_silence_nobody_waits_for_the_same_time_outs_again(qdrant, library):
    """As of many callers who queue for a server that is down."""
    qdrant.faults.append(Fault("cut", times=99))
    with qdrant.store() as store:
        for _ in range(20):
            with pytest.raises(Unavailable) as caught:
                store.edition(library.place)
            assert caught.value.code == "qdrant_unreachable"
        attempts = store.settings.attempts
        assert len(qdrant.asked) == attempts  # all of them by the first caller


def test_a_server_that_is_back_is_asked_again(qdrant, library, monkeypatch):
    monkeypatch.setattr("app.indexes.qdrant_calls._DOWN_S", 0.0)
    qdrant.faults.append(Fault("cut", times=99))
    with qdrant.store() as store:
        with pytest.raises(Unavailable):
            store.edition(library.place)
        qdrant.faults.clear()
        assert store.edition(library.place) is None


def test_a_server_that_is_busy_is_asked_again_at_once(qdrant, library):
    qdrant.faults.append(Fault(503, times=3))
    with qdrant.store(attempts=3) as store:
        with pytest.raises(Unavailable):
            store.edition(library.place)
        assert store.edition(library.place) is None
