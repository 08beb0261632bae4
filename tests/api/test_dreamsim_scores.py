"""DreamSim scores over HTTP, with tiny towers in the place of the real ones."""

import subprocess
import sys
from dataclasses import replace

import pytest
from dreamsim_service import install_tiny_dreamsim
from harness import running_client

from app.config import EncoderSettings, Settings
from app.library.manifest import read_manifest
from app.search.dreamsim import ENCODER
from app.wiring import running_service


@pytest.fixture(scope="module")
def enrolled(phantoms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("http")
    encoders = EncoderSettings(threads=1)
    settings = Settings(data=folder / "data", models=install_tiny_dreamsim(folder), encoders=encoders)
    manifest = read_manifest(phantoms / "manifest.csv")
    with running_service(settings) as service:
        service.importer.run("demo", replace(manifest, rows=manifest.rows[:8]))
    return settings


@pytest.fixture(scope="module")
def client(enrolled):
    with running_client(enrolled) as client:
        yield client


def test_distance_and_similarity_stand_beside_the_other_scores(client, query_file):
    picture = {"image": ("scan.png", query_file.read_bytes())}
    bodies = [client.post("/search", files=picture, params=params).json() for params in ({}, {"encoder": ENCODER})]
    assert [body["encoder"]["name"] for body in bodies] == ["resnet-us", ENCODER]
    key = bodies[0]["neighbours"][0]["reference_id"]
    bodies.append(client.get(f"/references/{key}/neighbours").json())
    for body in bodies:
        assert body["unavailable"] == {}
        assert body["neighbours"]
        for found in body["neighbours"]:
            score = found["scores"]["dreamsim"]
            assert list(score) == ["distance", "similarity"]
            assert score["similarity"] == pytest.approx(1 - score["distance"])
            assert list(found["scores"]) == ["histogram", "mse", "dreamsim"]


def test_compare_gives_the_score_too(client, query_file):
    picture = query_file.read_bytes()
    body = client.post("/compare", files={"a": ("a.png", picture), "b": ("b.png", picture)}).json()
    assert body["scores"]["dreamsim"]["distance"] == pytest.approx(0, abs=1e-6)
    assert body["unavailable"] == {}


def test_compare_prints_the_score_at_the_command_line(enrolled, query_file):
    environment = {
        "SONOSEEK_DATA": str(enrolled.data),
        "SONOSEEK_MODELS": str(enrolled.models),
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, "-m", "app", "compare", str(query_file), str(query_file)]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert "dreamsim: distance 0, similarity 1" in printed


def test_both_encoders_are_listed(client):
    listed = client.get("/encoders").json()
    assert [(one["name"], one["default"]) for one in listed] == [("resnet-us", True), (ENCODER, False)]
