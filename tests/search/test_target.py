"""A search with the encoder that its library adopted for a label kind, over HTTP and on the command line."""

from dataclasses import replace

import pytest
from harness import enrol_phantoms, running_client
from typer.testing import CliRunner

from app.cli import app
from app.config import Settings
from app.errors import BadInput, Conflict
from app.library.adoption import Adoption
from app.search.answer import ImageQuery, Wish
from app.wiring import running_service


@pytest.fixture(scope="module")
def data(phantoms, tmp_path_factory):
    """A library ``demo`` that adopted its encoder for organs, another one for findings, other weights for diagnoses."""
    data = tmp_path_factory.mktemp("adopted")
    with running_service(Settings(data=data)) as service:
        enrol_phantoms(service, phantoms)
        encoder, edition = service.batcher.default, service.catalogue.library("demo").edition
        organ = Adoption("organ", "resnet-us", encoder.digest, 0.84, 0.82, 0.86, 0.17, "given", {}, edition.version)
        findings = replace(organ, kind="findings", encoder="dinov2-vits14", digest="sha256:" + "d" * 64)
        diagnoses = replace(organ, kind="diagnoses", digest="sha256:" + "e" * 64)
        service.catalogue.adoptions.put("demo", edition, [organ, findings, diagnoses])
    return data


@pytest.fixture(scope="module")
def client(data):
    with running_client(Settings(data=data)) as client:
        yield client


def search(client, picture, **parameters):
    return client.post("/search", params=parameters, content=picture, headers={"Content-Type": "image/png"})


def test_the_adopted_encoder_searches_and_the_answer_says_by_what(client, query_file):
    picture = query_file.read_bytes()
    body = search(client, picture, target="organ", library="demo").json()
    assert body["encoder"]["name"] == "resnet-us"
    told = body["target"]
    assert told.pop("adopted_at").startswith("20")
    assert told == {
        "kind": "organ", "figure": 0.84, "low": 0.82, "high": 0.86, "chance": 0.17,
        "library_version": body["library"]["version"],
    }  # fmt: skip
    plain = search(client, picture).json()
    assert plain["target"] is None
    assert body["neighbours"] == plain["neighbours"]


def test_neighbours_of_a_reference_have_a_target_too(client, query_file):
    found = search(client, query_file.read_bytes(), k=1).json()["neighbours"][0]["reference_id"]
    body = client.get(f"/references/{found}/neighbours", params={"target": "organ"}).json()
    assert body["target"]["kind"] == "organ"
    answer = client.get(f"/references/{found}/neighbours", params={"target": "organ_group"})
    assert (answer.status_code, answer.json()["code"]) == (409, "nothing_adopted")


def test_nothing_adopted_names_the_command(client, query_file):
    answer = search(client, query_file.read_bytes(), target="organ_group")
    assert answer.status_code == 409
    assert answer.json()["code"] == "nothing_adopted"
    assert "sonoseek evaluate demo --encoders NAME,NAME --adopt" in answer.json()["hint"]


def test_an_adopted_encoder_that_is_not_loaded_names_the_setting(client, query_file):
    answer = search(client, query_file.read_bytes(), target="findings")
    assert (answer.status_code, answer.json()["code"]) == (409, "adopted_not_loaded")
    assert "SONOSEEK_ENCODERS__NAMES=resnet-us,dinov2-vits14" in answer.json()["hint"]


def test_other_weights_under_the_adopted_name_do_not_search(client, query_file):
    answer = search(client, query_file.read_bytes(), target="diagnoses")
    assert (answer.status_code, answer.json()["code"]) == (409, "adopted_not_loaded")
    assert "other weights, preprocessing or precision" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("wish", "code"),
    [({"target": "device"}, "bad_target"), ({"target": "organ", "encoder": "resnet-us"}, "target_and_encoder")],
)
def test_targets_that_make_no_sense_are_refused(client, query_file, wish, code):
    answer = search(client, query_file.read_bytes(), **wish)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    with pytest.raises(BadInput):
        Wish(**wish)


def test_a_library_is_needed_where_there_are_several(data, phantoms, tmp_path, query_file):
    with running_service(Settings(data=tmp_path)) as service:
        enrol_phantoms(service, phantoms, "one")
        service.catalogue.put_library("two")
        query = ImageQuery(query_file.read_bytes())
        with pytest.raises(BadInput) as refusal:
            service.finder.find(query, Wish(target="organ"))
        assert refusal.value.code == "library_needed"
        with pytest.raises(Conflict):
            service.finder.find(query, Wish(target="organ", library="one"))


def test_the_command_line_says_what_was_adopted(data, query_file, monkeypatch):
    monkeypatch.setenv("SONOSEEK_DATA", str(data))
    monkeypatch.setenv("COLUMNS", "200")
    printed = CliRunner().invoke(app, ["search", str(query_file), "--target", "organ", "--k", "3"])
    assert printed.exit_code == 0
    assert (
        "adopted for organ: 8.4 of ten neighbours shared it (95 % interval 8.2 to 8.6), 1.7 by chance" in printed.output
    )
