"""DreamSim scores beside a search by another encoder, with tiny towers in the place of the real ones."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from dreamsim_service import install_tiny_dreamsim
from harness import PHANTOMS, enrol_phantoms

from app.config import EncoderSettings, Settings
from app.domain import Frame
from app.encoders.base import embed
from app.encoders.batcher import Batcher
from app.errors import BadInput, TimedOut
from app.images.reader import read_stored
from app.library.manifest import read_manifest, read_taxonomy
from app.search.answer import ImageQuery, Wish
from app.search.dreamsim import ENCODER, Perceived, both_vectors
from app.search.rebuild import reembed
from app.wiring import running_service

REEMBED = f"sonoseek reembed demo --encoder {ENCODER}"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return install_tiny_dreamsim(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def enrolled(models, phantoms, tmp_path_factory):
    """A data directory whose references have vectors of both encoders. Tests only read it."""
    data = tmp_path_factory.mktemp("both")
    with running_service(settings(data, models)) as service:
        enrol_phantoms(service, phantoms)
    return data


@pytest.fixture(scope="module")
def both(enrolled, models):
    with running_service(settings(enrolled, models)) as service:
        yield service


@pytest.fixture
def old(demo_data, tmp_path):
    """A data directory that was filled before DreamSim was installed."""
    return shutil.copytree(demo_data, tmp_path / "old")


@pytest.fixture
def query(query_file):
    return ImageQuery(query_file.read_bytes())


def settings(data, models, **encoders):
    return Settings(data=data, models=models, encoders=EncoderSettings(threads=1, **encoders))


def scores_of(answer):
    return {found.reference.id: found.scores["dreamsim"] for found in answer.neighbours}


class Counting:
    """How many pictures went through an encoder of a service while this was watched."""

    def __init__(self, service, monkeypatch):
        self.pictures = 0
        encoder = service.batcher.encoders[ENCODER]
        core = encoder.core

        def counted(batch):
            self.pictures += len(batch)
            return core(batch)

        monkeypatch.setattr(encoder, "core", counted)


def test_an_installed_ensemble_is_loaded_behind_the_named_encoders(both, enrolled, models):
    assert list(both.batcher.encoders) == ["resnet-us", ENCODER]
    assert both.batcher.default.name == "resnet-us"
    assert dict(both.catalogue.embeddings.counts("demo").values()) == {
        "resnet-us": PHANTOMS,
        ENCODER: PHANTOMS,
    }
    with running_service(settings(enrolled, models, names=(ENCODER, "resnet-us"))) as named:
        assert list(named.batcher.encoders) == [ENCODER, "resnet-us"]


def test_the_score_is_one_minus_the_cosine_whichever_encoder_searched(both, query):
    answer = both.finder.find(query, Wish(k=PHANTOMS))
    assert answer.encoder.name == "resnet-us"
    assert answer.unavailable == {}
    encoder, files = both.batcher.encoders[ENCODER], both.catalogue.files
    frame = both.finder.read(query)
    stored = [Frame(read_stored(files.read(found.reference.id)), frame.facts) for found in answer.neighbours]
    vectors = embed(encoder, [frame, *stored]).astype(np.float64)
    for found, vector in zip(answer.neighbours, vectors[1:], strict=True):
        score = found.scores["dreamsim"]
        assert score["distance"] == pytest.approx(1 - vectors[0] @ vector, abs=1e-5)
        assert score["similarity"] == pytest.approx(1 - score["distance"])
    by_dreamsim = both.finder.find(query, Wish(k=PHANTOMS, encoder=ENCODER))
    assert by_dreamsim.encoder.name == ENCODER
    other = scores_of(by_dreamsim)
    assert {key: score["distance"] for key, score in scores_of(answer).items()} == pytest.approx(
        {key: score["distance"] for key, score in other.items()}, abs=1e-5
    )
    for found in by_dreamsim.neighbours:
        assert found.scores["dreamsim"]["distance"] == pytest.approx(found.distance**2 / 2, abs=1e-5)


def test_a_references_own_vector_is_taken_from_the_library(both, query, monkeypatch):
    counting = Counting(both, monkeypatch)
    key = both.catalogue.embeddings.shelf("demo", both.batcher.default.digest)[1].ids[0]
    answer = both.finder.find_like(key, Wish(k=5))
    assert answer.unavailable == {}
    digest = both.batcher.encoders[ENCODER].digest
    own = both.catalogue.embeddings.one(key, digest).astype(np.float64)
    for found in answer.neighbours:
        other = both.catalogue.embeddings.one(found.reference.id, digest).astype(np.float64)
        assert found.scores["dreamsim"]["distance"] == pytest.approx(1 - own @ other, abs=1e-6)
    assert counting.pictures == 0


@pytest.mark.parametrize(
    ("wish", "pictures"),
    [
        (Wish(scores=("histogram", "mse")), 0),
        (Wish(scores=()), 0),
        (Wish(), 1),
        (Wish(scores=("dreamsim",)), 1),
        (Wish(encoder=ENCODER), 1),  # the vector of the search, not a second one
    ],
)
def test_the_query_is_embedded_once_and_only_if_the_score_is_wanted(both, query, monkeypatch, wish, pictures):
    counting = Counting(both, monkeypatch)
    answer = both.finder.find(query, wish)
    assert counting.pictures == pictures
    wanted = wish.scores is None or "dreamsim" in wish.scores
    assert all(("dreamsim" in found.scores) == wanted for found in answer.neighbours)


def test_two_pictures_are_compared(both, query, phantoms, monkeypatch):
    other = ImageQuery((phantoms / "images" / "phantom-0001.png").read_bytes())
    same = both.comparer.compare(query, query)
    assert same.unavailable == {}
    assert same.scores["dreamsim"]["distance"] == pytest.approx(0, abs=1e-6)
    counting = Counting(both, monkeypatch)
    different = both.comparer.compare(query, other)
    assert counting.pictures == 2
    by_dreamsim = both.comparer.compare(query, other, ENCODER)
    assert counting.pictures == 4
    distance = different.scores["dreamsim"]["distance"]
    assert distance > 1e-4
    assert distance == pytest.approx(by_dreamsim.scores["dreamsim"]["distance"], abs=1e-6)
    assert distance == pytest.approx(by_dreamsim.distance**2 / 2, abs=1e-6)


def test_old_references_have_no_score_until_the_named_command_has_run(old, models, query, monkeypatch):
    with running_service(settings(old, models)) as service:
        counting = Counting(service, monkeypatch)
        answer = service.finder.find(query, Wish(k=10))
        assert counting.pictures == 0  # nothing to compare it with
        assert set(scores_of(answer).values()) == {None}
        assert "10 of 10 neighbours" in answer.unavailable["dreamsim"]
        assert REEMBED in answer.unavailable["dreamsim"]
        first = answer.neighbours[0].reference.id
        assert "the reference that was asked for" in service.finder.find_like(first, Wish()).unavailable["dreamsim"]

        half_reembedded(service)
        answer = service.finder.find(query, Wish(k=PHANTOMS))
        lacking = list(scores_of(answer).values()).count(None)
        assert lacking == PHANTOMS - 32
        assert f"{lacking} of {PHANTOMS} neighbours" in answer.unavailable["dreamsim"]

        environment = {
            "PATH": os.environ["PATH"],
            "OMP_NUM_THREADS": "1",
            "SONOSEEK_DATA": str(old),
            "SONOSEEK_MODELS": str(models),
        }
        command = [sys.executable, "-m", "app", *REEMBED.split()[1:]]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        answer = service.finder.find(query, Wish(k=PHANTOMS))
        assert answer.unavailable == {}
        assert None not in scores_of(answer).values()


def half_reembedded(service):
    class Stop(Exception):
        pass

    def stop(_done):
        raise Stop

    with pytest.raises(Stop):
        reembed(service.catalogue, service.batcher, service.batcher.encoders[ENCODER], "demo", stop)


def test_without_the_weights_the_command_that_gets_them_is_named(demo_service, query):
    for unavailable in (
        demo_service.finder.find(query, Wish(k=1)).unavailable,
        demo_service.comparer.compare(query, query).unavailable,
    ):
        assert set(unavailable) == {"dreamsim"}
        assert f"sonoseek models fetch {ENCODER}" in unavailable["dreamsim"]
        assert f"sonoseek models add {ENCODER}" in unavailable["dreamsim"]
    assert demo_service.finder.find(query, Wish(k=1, scores=("mse",))).unavailable == {}


def test_it_can_be_switched_off(enrolled, models, query):
    with running_service(settings(enrolled, models, dreamsim_scores=False)) as service:
        assert list(service.batcher.encoders) == ["resnet-us"]
        answer = service.finder.find(query, Wish(k=3))
        assert set(scores_of(answer).values()) == {None}
        assert "SONOSEEK_ENCODERS__DREAMSIM_SCORES" in answer.unavailable["dreamsim"]


def test_enrolling_again_changes_nothing(enrolled, models, phantoms, tmp_path):
    data = shutil.copytree(enrolled, tmp_path / "again")
    with running_service(settings(data, models)) as service:
        before = service.catalogue.library("demo"), service.catalogue.embeddings.counts("demo")
        report = service.importer.run("demo", phantom_manifest(phantoms))
        assert (report.added, report.unchanged) == (0, PHANTOMS)
        assert (service.catalogue.library("demo"), service.catalogue.embeddings.counts("demo")) == before


def phantom_manifest(phantoms):
    return read_manifest(phantoms / "manifest.csv", read_taxonomy(phantoms / "taxonomy.toml"))


def test_a_picture_without_an_embedding_of_one_encoder_is_not_enrolled_at_all(phantoms, tmp_path):
    broken = install_tiny_dreamsim(tmp_path, broken=True)
    with running_service(settings(tmp_path / "data", broken)) as service:
        manifest = phantom_manifest(phantoms)
        report = service.importer.run("demo", replace(manifest, rows=manifest.rows[:3]))
        assert report.added == 0
        assert len(report.bad) == 3
        assert all("no usable embedding" in bad.reason for bad in report.bad)
        assert service.catalogue.all_ids() == set()
        assert service.catalogue.embeddings.counts("demo") == {}
        assert not list((tmp_path / "data").rglob("*.png"))


class Slow:
    """An encoder that takes its time."""

    dim, precision = 2, "fp32"

    def __init__(self, name):
        self.name = self.digest = name

    def pre(self, frame):
        return np.zeros(1, np.float32)

    def core(self, batch):
        time.sleep(0.4)
        return np.ones((len(batch), 2), np.float32)


def test_both_vectors_are_waited_for_within_one_deadline(both, query):
    batcher = Batcher([Slow("one"), Slow("two")], batch_size=1, queue_size=32)
    frame = both.finder.read(query)
    try:
        one, two = (batcher.submit(encoder, [frame]) for encoder in batcher.encoders.values())
        with one, two, pytest.raises(TimedOut):
            both_vectors(one, Perceived(two, needed=True), 0.6)
        with batcher.submit(batcher.default, [frame]) as alone:
            assert both_vectors(alone, Perceived(None), 60)[1] is None
    finally:
        batcher.close()


def test_a_score_that_nobody_named_does_not_keep_a_search_from_answering(both, query, monkeypatch):
    lost = np.full((1, both.batcher.encoders[ENCODER].dim), np.nan, np.float32)
    monkeypatch.setattr(both.batcher.encoders[ENCODER], "core", lambda _batch: lost)
    answer = both.finder.find(query, Wish(library="demo"))
    assert len(answer.neighbours) == 10
    assert all(found.scores["dreamsim"] is None and found.scores["mse"] is not None for found in answer.neighbours)
    assert "no_embedding" in answer.unavailable["dreamsim"]
    assert "no_embedding" in both.comparer.compare(query, query).unavailable["dreamsim"]
    with pytest.raises(BadInput):
        both.finder.find(query, Wish(library="demo", scores=("dreamsim",)))
