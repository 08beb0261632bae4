"""Every writing call leaves a line in the access log, also one that is refused before it reaches a library."""

import json
import shutil

import pytest
from fastapi.routing import APIRoute
from harness import running_client
from test_bad_input import GOOD, problem

from app.api.refusals import ACTIONS
from app.api.routes import enrolment, libraries, patients, references
from app.config import ServerSettings, Settings
from app.wiring import open_library

PLANTED = "Planted-77"
JSON = {"Content-Type": "application/json"}
REFERENCES = "/libraries/demo/references"
LABELLED = {"files": {"image": ("scan.png", GOOD)}, "data": {"labels": "{}"}}


@pytest.fixture(scope="module")
def data(demo_data, tmp_path_factory):
    copy = tmp_path_factory.mktemp("refusals") / "data"
    shutil.copytree(demo_data, copy)
    return copy


@pytest.fixture(scope="module")
def client(data):
    with running_client(Settings(data=data)) as client:
        yield client


@pytest.fixture(scope="module")
def reader(data):
    with running_client(Settings(data=data, server=ServerSettings(writes=False))) as client:
        yield client


@pytest.fixture(scope="module")
def log(data):
    return open_library(Settings(data=data)).access_log


@pytest.fixture
def left(log):
    """The lines since the test began, oldest first."""
    before = next((line.id for line in log.read(1)), 0)

    def since():
        lines = [line for line in reversed(log.read(100)) if line.id > before]
        assert PLANTED not in str(lines)
        return [(line.actor, line.action, line.library, line.objects, line.outcome) for line in lines]

    return since


@pytest.fixture
def key(client):
    return client.get(REFERENCES, params={"limit": 1}).json()["references"][0]["reference_id"]


def calls(key):
    """(method, path, what else, action, library, objects, code) of calls that are refused at the door."""
    batch, one = f"{REFERENCES}/batch", f"/references/{key}"
    add, demo, none = "reference.add", ("demo", ()), (None, ())
    image = ("images", ("a.png", GOOD))
    return [
        ("POST", batch, {"files": [image], "data": {"references": "[{}, {}]"}}, add, *demo, "batch_mismatch"),
        ("POST", batch, {"files": [image], "data": {"references": "{}"}}, add, *demo, "bad_batch"),
        ("POST", batch, {"files": [image], "data": {"references": PLANTED}}, add, *demo, "bad_json"),
        ("POST", batch, {"files": [image]}, add, *demo, "no_references"),
        ("POST", batch, {"content": b"x"}, add, *demo, "unsupported_media_type"),
        ("POST", REFERENCES, {**LABELLED, "params": {"on_conflict": PLANTED}}, add, *demo, "invalid_parameter"),
        ("POST", REFERENCES, {**LABELLED, "params": {PLANTED: 1}}, add, *demo, "unknown_parameter"),
        ("POST", REFERENCES, {**LABELLED, "params": {"patient_id": PLANTED}}, add, *demo, "patient_in_url"),
        ("POST", f"/libraries/{PLANTED}/references", {"content": GOOD}, add, *none, "unsupported_media_type"),
        ("POST", f"/libraries/a/{PLANTED}/references", LABELLED, add, *none, "bad_library_name"),
        ("POST", f"/libraries/a/{PLANTED}/references/batch", {"content": GOOD}, add, *none, "bad_library_name"),
        ("DELETE", f"/libraries/{PLANTED}/b", {}, "library.delete", *none, "bad_library_name"),
        ("PUT", f"/libraries/{PLANTED}%2Fb", {"json": {}}, "library.put", *none, "bad_library_name"),
        ("PATCH", one, {"content": b"{", "headers": JSON}, "reference.update", "demo", (key,), "bad_json"),
        ("PATCH", one, {"content": b"{}"}, "reference.update", "demo", (key,), "json_needed"),
        ("PATCH", one, {"json": {PLANTED: PLANTED}}, "reference.update", "demo", (key,), "bad_fields"),
        ("PATCH", f"/references/{PLANTED}", {"json": {}}, "reference.update", *none, "invalid_parameter"),
        ("DELETE", f"/references/{PLANTED}", {}, "reference.delete", *none, "invalid_parameter"),
        ("PUT", "/libraries/demo", {"content": b"{"}, "library.put", *demo, "json_needed"),
        ("PUT", f"/libraries/{PLANTED}", {"json": {"organs": 1}}, "library.put", *none, "bad_fields"),
        ("DELETE", "/libraries/demo", {"params": {"confirmed": "demo"}}, "library.delete", *demo, "unknown_parameter"),
        ("POST", "/patients/erase", {"json": {"patient": PLANTED}}, "patient.erase", *none, "bad_fields"),
        ("POST", "/patients/erase", {"content": PLANTED.encode()}, "patient.erase", *none, "json_needed"),
    ]  # fmt: skip


def test_a_call_that_is_refused_at_the_door_leaves_one_line(client, key, left):
    for method, path, what, action, library, objects, code in calls(key):
        before = len(left())
        answer = client.request(method, path, **what)
        problem(answer, answer.status_code, code)
        assert left()[before:] == [("local", action, library, objects, code)], (method, path, code)


def test_whoever_must_not_write_is_told_so_whatever_the_body_is(reader, key, left):
    calls = [
        ("PUT", "/libraries/demo", {"content": b"no JSON"}, "library.put", "demo", ()),
        ("PUT", "/libraries/new", {"json": {}}, "library.put", None, ()),
        ("PATCH", f"/references/{key}", {"content": b"{", "headers": JSON}, "reference.update", "demo", (key,)),
        ("POST", REFERENCES, {"content": b"x"}, "reference.add", "demo", ()),
        ("POST", f"{REFERENCES}/batch", {"content": b"x"}, "reference.add", "demo", ()),
        ("POST", "/patients/erase", {"content": b"x"}, "patient.erase", None, ()),
        ("DELETE", f"/references/{key}", {}, "reference.delete", "demo", (key,)),
        ("DELETE", "/libraries/demo", {}, "library.delete", "demo", ()),
    ]
    for method, path, what, *_ in calls:
        problem(reader.request(method, path, **what), 403, "writes_off")
    assert left() == [("local", action, library, objects, "writes_off") for *_, action, library, objects in calls]


def test_a_conflict_names_the_reference_that_is_in_the_way(client, left):
    def add(**said):
        return client.post(REFERENCES, files={"image": ("scan.png", GOOD)}, data={"labels": json.dumps(said)})

    key = add(organ="femur", external_id="case-77").json()["reference_id"]
    problem(add(organ="spine"), 409, "already_enrolled")
    other = client.post(
        REFERENCES, files={"image": ("scan.png", GOOD + b"\0")}, data={"labels": '{"external_id": "case-77"}'}
    )
    problem(other, 409, "external_id_taken")
    assert [line[3:] for line in left()] == [
        ((key,), "added"), ((key,), "already_enrolled"), ((key,), "external_id_taken")
    ]  # fmt: skip


def test_a_batch_whose_rows_are_all_refused_says_why(client, left):
    images = [("images", ("a.png", b"no image")), ("images", ("b.png", b"none either"))]
    answer = client.post(f"{REFERENCES}/batch", files=images, data={"references": "[{}, {}]"})
    code = answer.json()["rows"][0]["code"]
    assert left() == [("local", "reference.add", "demo", (), code)]


def test_what_reads_leaves_no_line(client, left):
    problem(client.post("/search", content=b"x"), 415, "unsupported_media_type")
    problem(client.get(REFERENCES, params={"limit": 0}), 422, "invalid_parameter")
    for path in (f"/libraries/{PLANTED}/b", "/libraries/a/b/references", "/libraries/.a/references"):
        problem(client.get(path), 422, "bad_library_name")
    assert left() == []


def test_every_route_that_writes_has_an_action():
    parts = (enrolment, references, libraries, patients)
    writing = [
        route.name
        for part in parts
        for route in part.router.routes
        if isinstance(route, APIRoute) and route.methods - {"GET"}
    ]
    assert sorted(writing) == sorted(ACTIONS)
