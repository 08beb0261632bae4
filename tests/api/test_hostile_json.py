"""Random JSON, mostly wrong, to every route that takes some: never a 5xx, never repeated in an error."""

import json
import random
import shutil

import pytest
from harness import running_client
from test_bad_input import GOOD, problem

from app.config import Settings

PLANTED = "Planted-Name"
NAMES = (
    "organ", "organ_group", "plane", "diagnoses", "diagnosis_groups", "findings", "attributes", "external_id", "frame",
    "region", "patient_id", "organs", "labels", PLANTED,
)  # fmt: skip
TEXTS = ("", " ", "femur", "a;b", "\0", "\ud800", "x" * 300, "é", "a\nb", "'; DROP TABLE libraries; --", PLANTED + "^")
NUMBERS = (0, 1, -1, 2**31, 10**30, 0.5, 1e300, True, False, None)


def anything(rng, depth=0):
    """A JSON value: objects of names that are known and unknown, down to three levels."""
    kind = rng.random()
    if depth < 3 and kind < 0.45:
        return {rng.choice((*NAMES, *TEXTS)): anything(rng, depth + 1) for _ in range(rng.randrange(4))}
    if depth < 3 and kind < 0.6:
        return [anything(rng, depth + 1) for _ in range(rng.randrange(5))]
    return rng.choice(TEXTS) if kind < 0.85 else rng.choice(NUMBERS)


@pytest.fixture(scope="module")
def client(demo_data, tmp_path_factory):
    data = tmp_path_factory.mktemp("hostile") / "data"
    shutil.copytree(demo_data, data)
    with running_client(Settings(data=data)) as client:
        yield client


def calls(client, key, text):
    as_json = {"content": text, "headers": {"Content-Type": "application/json"}}
    picture = ("x", GOOD)
    yield client.patch(f"/references/{key}", **as_json)
    yield client.put("/libraries/odd", **as_json)
    yield client.post("/patients/erase", **as_json)
    yield client.post("/libraries/demo/references", files={"image": picture}, data={"labels": text})
    batch = f"[{text.decode('utf-8', 'replace')}]"
    yield client.post("/libraries/demo/references/batch", files=[("images", picture)], data={"references": batch})


@pytest.mark.parametrize("seed", range(60))
def test_random_json_never_breaks_the_service(client, seed):
    rng = random.Random(seed)
    key = client.get("/libraries/demo/references", params={"limit": 1}).json()["references"][0]["reference_id"]
    text = json.dumps(anything(rng), ensure_ascii=rng.random() < 0.8).encode("utf-8", "surrogatepass")
    for answer in calls(client, key, text):
        assert answer.status_code < 500, (answer.text, text)
        if answer.status_code >= 400:
            problem(answer, answer.status_code)
            assert PLANTED not in answer.text
    assert client.get("/health/ready").status_code == 200


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"nope", b"[" * 5000, b"NaN", b'{"organ": NaN}', b"{}" * 2])
def test_what_is_no_json_is_said(client, text):
    as_json = {"content": text, "headers": {"Content-Type": "application/json"}}
    problem(client.put("/libraries/odd", **as_json), 422, "bad_json" if text != b"NaN" else None)
