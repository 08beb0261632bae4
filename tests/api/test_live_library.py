"""Adding, relabelling and removing references while the service runs, each visible to the next search."""

import io
import json
import shutil
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from harness import PHANTOMS, running_client
from mounts import read_only
from PIL import Image
from sqlalchemy import event
from test_bad_input import problem

from app.config import SecuritySettings, ServerSettings, Settings
from app.images.phantom import draw_phantoms, phantom_dicom
from app.wiring import open_library

KEY = "a-long-enough-key-for-tests"
REFERENCES = "/libraries/demo/references"


def pictures(count, seed):
    """Synthetic pictures that are in no library."""
    for phantom in draw_phantoms(count=count, seed=seed):
        file = io.BytesIO()
        Image.fromarray(phantom.pixels).save(file, "PNG")
        yield file.getvalue()


@pytest.fixture(scope="module")
def data(demo_data, tmp_path_factory):
    copy = tmp_path_factory.mktemp("live") / "data"
    shutil.copytree(demo_data, copy)
    return copy


@pytest.fixture(scope="module")
def client(data):
    with running_client(Settings(data=data)) as client:
        yield client


@pytest.fixture(scope="module")
def spare():
    """Pictures to add, a new one each time."""
    return pictures(60, seed=77)


def add(client, picture, library="demo", *, params=None, headers=None, **said):
    return client.post(
        f"/libraries/{library}/references",
        files={"image": ("scan.png", picture)},
        data={"labels": json.dumps(said)},
        params=params,
        headers=headers,
    )


def added(client, picture, **said):
    response = add(client, picture, **said)
    assert response.status_code == 201, response.text
    return response.json()


def version(client, library="demo"):
    return client.get(f"/libraries/{library}").json()["version"]


def found(client, picture, **params):
    response = client.post(
        "/search", files={"image": ("x.png", picture)}, params={"library": "demo", "scores": "", **params}
    )
    assert response.status_code == 200, response.text
    return response.json()


def lines(data, limit=10):
    return open_library(Settings(data=data)).access_log.read(limit)


# -- one reference -------------------------------------------------------------------------------------


def test_a_reference_is_found_by_the_next_search_and_not_after_its_deletion(client, spare):
    picture = next(spare)
    said = {"organ": "femur", "findings": ["b", "a"], "attributes": {"device": "X"}, "external_id": "case:1"}
    response = add(client, picture, **said)
    body = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"/references/{body['reference_id']}"
    assert (body["outcome"], body["warnings"], body["external_id"]) == ("added", [], "case:1")
    assert body["labels"]["organ_group"] == "fetal limb"
    assert body["labels"]["findings"] == ["b", "a"]
    assert body["attributes"] == {"device": "X"}
    first = found(client, picture, include_self=True, k=1)["neighbours"][0]
    assert (first["reference_id"], first["distance"]) == (body["reference_id"], pytest.approx(0, abs=1e-6))
    assert client.get(body["image"]).headers["content-type"] == "image/png"

    assert client.delete(f"/references/{body['reference_id']}").status_code == 204
    problem(client.delete(f"/references/{body['reference_id']}"), 404, "unknown_reference")
    after = found(client, picture, include_self=True, k=1)
    assert after["query"]["reference_id"] is None
    assert after["neighbours"][0]["reference_id"] != body["reference_id"]
    problem(client.get(body["image"]), 404, "unknown_reference")


def test_the_same_call_again_changes_nothing(client, spare):
    picture = next(spare)
    said = {"organ": "spine", "patient_id": "P-7", "region": [100, 80, 400, 300]}
    first = added(client, picture, **said)
    before = version(client)
    again = add(client, picture, **said)
    assert again.status_code == 200
    assert again.json() == {**first, "outcome": "unchanged"}
    assert version(client) == before
    assert first["region"] == [100, 80, 400, 300]


def test_other_labels_are_a_conflict_that_names_the_reference(client, spare):
    picture = next(spare)
    key = added(client, picture, organ="spine")["reference_id"]
    before = version(client)
    body = problem(add(client, picture, organ="femur"), 409, "already_enrolled")
    assert key in body["detail"]
    assert "labels" in body["detail"]
    assert "on_conflict=update" in body["hint"]
    skipped = add(client, picture, organ="femur", params={"on_conflict": "skip"})
    assert (skipped.status_code, skipped.json()["outcome"]) == (200, "skipped")
    assert version(client) == before
    updated = add(client, picture, organ="femur", params={"on_conflict": "update"}).json()
    assert (updated["outcome"], updated["labels"]["organ"]) == ("updated", "femur")
    assert [change["labels"]["organ"] for change in updated["history"]] == ["spine", "femur"]
    problem(add(client, picture, organ="femur", params={"on_conflict": "replace"}), 422, "invalid_parameter")


def test_external_ids_are_unique_and_name_no_person(client, spare):
    one, two, three = next(spare), next(spare), next(spare)
    added(client, one, external_id="case-9")
    problem(add(client, two, external_id="case-9"), 409, "external_id_taken")
    known = added(client, three, organ="spine")
    update = {"on_conflict": "update"}
    problem(add(client, three, organ="spine", external_id="case-9", params=update), 409, "external_id_taken")
    assert client.get(f"/references/{known['reference_id']}").json()["external_id"] is None
    problem(add(client, two, external_id="P-1", patient_id=" P-1"), 422, "external_id_is_identity")
    problem(add(client, three, external_id="P-1", patient_id="P-1", params=update), 422, "external_id_is_identity")
    phantom = next(iter(draw_phantoms(count=1, seed=78)))
    problem(add(client, phantom_dicom(phantom), external_id=phantom.patient_id), 422, "external_id_is_identity")


def test_unknown_labels_are_taken_with_a_warning(client, spare):
    body = added(client, next(spare), organ="tail", diagnoses=["normal", "bent tail"])
    assert any("'tail'" in warning for warning in body["warnings"])
    assert any("'bent tail'" in warning for warning in body["warnings"])
    assert added(client, next(spare), organ="tail", organ_group="fetal tail")["warnings"] == []


@pytest.mark.parametrize(
    ("labels", "code", "names"),
    [
        ("{", "bad_json", "JSON"),
        ("[]", "bad_fields", "object"),
        ('{"organ": 5}', "bad_fields", "organ"),
        ('{"organ": ""}', "bad_fields", "organ"),
        ('{"organ": "a\\u0000b"}', "bad_fields", "organ"),
        ('{"organ": "\\ud800"}', "bad_json", "JSON"),
        ('{"diagnoses": "normal"}', "bad_fields", "diagnoses"),
        ('{"findings": ["a", "b;c"]}', "bad_fields", "findings.2"),
        ('{"attributes": {"organ": "x"}}', "bad_fields", "attributes"),
        ('{"external_id": "a b"}', "bad_fields", "external_id"),
        ('{"frame": 0}', "bad_fields", "frame"),
        ('{"region": [0, 0, 9]}', "bad_fields", "region"),
        ('{"Planted-Name": "x"}', "bad_fields", "an unknown field"),
        ('{"labels": {"organ": "femur"}}', "bad_fields", "an unknown field"),
    ],
)
def test_malformed_labels_are_refused_by_field_and_never_repeated(client, labels, code, names):
    response = client.post(
        REFERENCES, files={"image": ("scan.png", next(pictures(1, seed=79)))}, data={"labels": labels}
    )
    body = problem(response, 422, code)
    assert names in body["detail"]
    assert "Planted" not in response.text


def test_what_is_no_form_with_an_image_and_labels_is_explained(client, spare):
    picture = next(spare)
    raw = client.post(REFERENCES, content=picture, headers={"Content-Type": "image/png"})
    assert "-F 'labels=" in problem(raw, 415, "multipart_needed")["hint"]
    problem(client.post(REFERENCES, json={"organ": "femur"}), 415, "unsupported_media_type")
    problem(client.post(REFERENCES, files={"image": ("a", picture)}), 400, "no_labels")
    problem(client.post(REFERENCES, files={"labels": ("a", b"{}")}), 400, "no_image")
    extra = {"labels": "{}", "exclude_patient_id": "P"}
    problem(client.post(REFERENCES, files={"image": ("a", picture)}, data=extra), 400, "unknown_part")
    problem(add(client, b"I am a text"), 422, "unknown_format")
    problem(add(client, picture, library="heart"), 404, "unknown_library")
    problem(add(client, picture, params={"patient_id": "P-1"}), 422, "patient_in_url")
    as_file = {"image": ("a", picture), "labels": ("labels.json", b'{"organ": "femur"}')}
    assert client.post(REFERENCES, files=as_file).status_code == 201


def test_a_picture_without_a_scan_region_is_stored_only_when_asked(client):
    page = np.full((400, 600), 250, dtype=np.uint8)
    page[50:60, 50:250] = np.random.default_rng(0).integers(0, 255, (10, 200))
    file = io.BytesIO()
    Image.fromarray(page).save(file, "PNG")
    assert "allow_unmasked" in problem(add(client, file.getvalue()), 422, "unmasked_image")["hint"]
    assert add(client, file.getvalue(), params={"allow_unmasked": True}).status_code == 201


def test_two_callers_at_once_make_one_reference(client, spare):
    picture, answers, start = next(spare), [], threading.Barrier(6)

    def send():
        start.wait()
        answers.append(add(client, picture, organ="spine"))

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({answer.json()["reference_id"] for answer in answers}) == 1


# -- many ----------------------------------------------------------------------------------------------


def send_batch(client, images, references, **params):
    files = [("images", ("x", image)) for image in images]
    return client.post(f"{REFERENCES}/batch", files=files, data={"references": json.dumps(references)}, params=params)


def test_a_batch_stores_the_good_rows_and_says_what_became_of_each(client, spare):
    one, two, three = next(spare), next(spare), next(spare)
    added(client, three, organ="spine")
    images = [one, b"no picture", two, two, three, three]
    said = [{"organ": "femur", "external_id": "b-1"}, {}, {"organ": 7}, {"external_id": "b-1"}, {"organ": "spine"}, {}]
    size = client.get("/libraries/demo").json()["size"]
    response = send_batch(client, images, said)
    body = response.json()
    assert response.status_code == 200, response.text
    assert [row["outcome"] for row in body["rows"]] == ["added", "error", "error", "error", "unchanged", "error"]
    assert [row["row"] for row in body["rows"]] == [1, 2, 3, 4, 5, 6]
    codes = [row["code"] for row in body["rows"]]
    assert codes == [None, "unknown_format", "bad_fields", "external_id_taken", None, "already_enrolled"]
    assert all(row["hint"] for row in body["rows"] if row["outcome"] == "error")
    assert body["counts"] == {"added": 1, "error": 4, "unchanged": 1}
    assert body["library"]["size"] == size + 1
    assert body["rows"][0]["reference_id"] in {
        found["reference_id"] for found in found(client, one, include_self=True, k=1)["neighbours"]
    }


def test_a_batch_of_another_shape_is_refused_as_a_whole(client, spare):
    picture = next(spare)
    assert "2" in problem(send_batch(client, [picture, picture], [{}]), 422, "batch_mismatch")["detail"]
    problem(send_batch(client, [picture], {"organ": "femur"}), 422, "bad_batch")
    assert "images" in problem(send_batch(client, [], []), 415, "unsupported_media_type")["hint"]
    problem(send_batch(client, [b"x"] * 258, [{}] * 258), 400, "too_many_files")
    problem(send_batch(client, [b"x"] * 257, [{}] * 257), 422, "bad_batch")
    once = client.post(f"{REFERENCES}/batch", files={"image": ("x", picture)}, data={"references": "[{}]"})
    problem(once, 400, "unknown_part")


def test_256_images_are_one_call(client):
    """Small pictures of noise: their number is the point, over several batches of the device."""
    rng = np.random.default_rng(3)
    images = []
    for _ in range(256):
        file = io.BytesIO()
        Image.fromarray(rng.integers(20, 220, (40, 48), dtype=np.uint8)).save(file, "PNG")
        images.append(file.getvalue())
    client.put("/libraries/many", json={})
    files = [("images", ("x", image)) for image in images]
    said = json.dumps([{"organ": f"organ {number % 5}", "region": [0, 0, 48, 40]} for number in range(256)])
    for outcome in ("added", "unchanged"):
        body = client.post("/libraries/many/references/batch", files=files, data={"references": said}).json()
        assert body["counts"] == {outcome: 256}
        assert body["library"]["size"] == 256
    assert client.delete("/libraries/many", params={"confirm": "many"}).json()["references"] == 256


# -- labels --------------------------------------------------------------------------------------------


def test_a_patch_replaces_the_kinds_that_are_named_and_groups_follow(client, spare):
    body = added(
        client, next(spare), organ="femur", plane="axial", findings=["a"], attributes={"device": "X", "site": "S"}
    )
    path = f"/references/{body['reference_id']}"
    patched = client.patch(path, json={"organ": "spine", "findings": []}).json()
    assert patched["outcome"] == "updated"
    assert patched["labels"] == {**body["labels"], "organ": "spine", "organ_group": "fetal spine", "findings": []}
    assert patched["attributes"] == body["attributes"]
    assert [change["actor"] for change in patched["history"]] == ["local", "local"]
    before = version(client)
    same = client.patch(path, json={"organ": "spine"})
    assert (same.status_code, same.json()["outcome"], version(client)) == (200, "unchanged", before)
    assert client.patch(path, json={"attributes": {"device": "Y"}}).json()["attributes"] == {"device": "Y"}
    unknown = client.patch(path, json={"organ": "tail"}).json()
    assert unknown["labels"]["organ_group"] is None  # the group of the spine is not that of a tail
    assert unknown["warnings"]
    assert client.patch(path, json={"organ": None}).json()["labels"]["organ"] is None


def test_a_patched_label_is_what_the_next_search_filters_by(client, spare):
    picture = next(spare)
    key = added(client, picture, organ="femur")["reference_id"]
    client.patch(f"/references/{key}", json={"organ": "tibia"})
    body = found(client, picture, where="organ:tibia", include_self=True)
    assert [one["reference_id"] for one in body["neighbours"]] == [key]
    ids = [
        one["reference_id"]
        for one in found(client, picture, where="organ:femur", include_self=True, k=100)["neighbours"]
    ]
    assert key not in ids


def test_a_bad_patch_is_explained(client):
    nobody = "/references/00000000-0000-0000-0000-000000000000"
    problem(client.patch(nobody, json={"organ": "femur"}), 404, "unknown_reference")
    problem(client.patch(nobody, json={"organ": 3}), 422, "bad_fields")
    problem(client.patch(nobody, json={"external_id": "x"}), 422, "bad_fields")
    problem(client.patch(nobody, content=b"{}"), 415, "json_needed")
    big = b'{"organ": "' + b"x" * 2**21 + b'"}'
    problem(client.patch(nobody, content=big, headers={"Content-Type": "application/json"}), 413, "body_too_large")


def test_patches_of_different_kinds_at_once_lose_nothing(client, spare):
    path = f"/references/{added(client, next(spare))['reference_id']}"
    edits = [{"organ": "femur"}, {"plane": "axial"}, {"findings": ["a"]}, {"attributes": {"device": "X"}}]
    start = threading.Barrier(len(edits))

    def send(edit):
        start.wait()
        assert client.patch(path, json=edit).status_code == 200

    threads = [threading.Thread(target=send, args=(edit,)) for edit in edits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    body = client.get(path).json()
    labels = body["labels"]
    assert (labels["organ"], labels["plane"], labels["findings"]) == ("femur", "axial", ["a"])
    assert body["attributes"] == {"device": "X"}


# -- libraries -----------------------------------------------------------------------------------------


def test_a_library_is_put_filled_and_deleted(client, spare):
    taxonomy = {"organs": {"femur": "limb"}, "diagnoses": {"short": "skeletal"}}
    created = client.put("/libraries/fresh", json=taxonomy)
    assert (created.status_code, created.json()["size"]) == (201, 0)
    again = client.put("/libraries/fresh", json=taxonomy)
    assert (again.status_code, again.json()) == (200, created.json())
    picture = next(spare)
    key = add(client, picture, library="fresh", organ="femur").json()["reference_id"]
    regrouped = client.put("/libraries/fresh", json={"organs": {"femur": "long bone"}})
    assert regrouped.json()["version"] > created.json()["version"] + 1
    assert client.get(f"/references/{key}").json()["labels"]["organ_group"] == "long bone"
    client.put("/libraries/fresh", json={})
    assert client.get(f"/references/{key}").json()["labels"]["organ_group"] is None
    assert add(client, picture, library="fresh", organ="femur").status_code == 200  # the same call changes nothing

    problem(client.delete("/libraries/fresh"), 422, "confirm_needed")
    problem(client.delete("/libraries/fresh", params={"confirm": "demo"}), 409, "confirm_differs")
    assert client.get("/libraries/fresh").json()["size"] == 1
    assert client.delete("/libraries/fresh", params={"confirm": "fresh"}).json()["references"] == 1
    problem(client.delete("/libraries/fresh", params={"confirm": "fresh"}), 404, "unknown_library")
    problem(client.get(f"/references/{key}"), 404, "unknown_reference")


@pytest.mark.parametrize("name", ["a%2Fb", "a/b", ".hidden", "a b", "x" * 65, "ä", "%00"])
def test_a_bad_library_name_is_refused(client, name):
    problem(client.put(f"/libraries/{name}", json={}), 422, "bad_library_name")


@pytest.mark.parametrize("body", ["[]", '{"organs": ["femur"]}', '{"organs": {"femur": 3}}', '{"organ": {}}', "{"])
def test_a_malformed_taxonomy_is_refused(client, body):
    response = client.put("/libraries/odd", content=body, headers={"Content-Type": "application/json"})
    assert problem(response, 422)["code"] in ("bad_fields", "bad_json")
    problem(client.get("/libraries/odd"), 404, "unknown_library")


def test_pages_hold_every_reference_once(demo_client):
    seen, after, pages = [], None, 0
    while True:
        params = {"limit": 10, **({"after": after} if after else {})}
        body = demo_client.get(REFERENCES, params=params).json()
        seen += [one["reference_id"] for one in body["references"]]
        after, pages = body["next"], pages + 1
        if after is None:
            break
    assert seen == sorted(set(seen))
    assert (len(seen), pages) == (PHANTOMS, -(-PHANTOMS // 10))
    assert demo_client.get(REFERENCES, params={"limit": PHANTOMS}).json()["next"] is None


def test_references_are_filtered(demo_client):
    everything = demo_client.get(REFERENCES, params={"limit": 1000}).json()["references"]
    both = demo_client.get(REFERENCES, params={"where": ["organ:femur", "organ:spine"], "limit": 1000}).json()
    wanted = [one["reference_id"] for one in everything if one["labels"]["organ"] in ("femur", "spine")]
    assert [one["reference_id"] for one in both["references"]] == wanted
    one = next(found for found in everything if found["external_id"])
    named = demo_client.get(REFERENCES, params={"external_id": one["external_id"]}).json()["references"]
    assert named == [one]
    problem(demo_client.get(REFERENCES, params={"where": "organ"}), 422, "bad_filter")
    problem(demo_client.get(REFERENCES, params={"limit": 0}), 422, "invalid_parameter")
    problem(demo_client.get(REFERENCES, params={"after": "x"}), 422, "invalid_parameter")
    problem(demo_client.get("/libraries/heart/references"), 404, "unknown_library")


def test_a_library_shows_its_counts_and_what_looks_the_same(client, spare):
    picture = next(spare)
    before = client.get("/libraries/demo").json()
    pixels = np.asarray(Image.open(io.BytesIO(picture)))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "BMP")
    one, other = added(client, picture, organ="tail"), added(client, file.getvalue())
    body = client.get("/libraries/demo").json()
    everything = client.get(REFERENCES, params={"limit": 1000}).json()["references"]
    organs = [found["labels"]["organ"] for found in everything if found["labels"]["organ"]]
    assert {item["label"]: item["count"] for item in body["labels"]["organ"]} == {
        organ: organs.count(organ) for organ in set(organs)
    }
    assert all(item["low_support"] == (item["count"] < 20) for items in body["labels"].values() for item in items)
    assert body["unlabelled"] == before["unlabelled"] + 1
    groups = [set(group["reference_ids"]) for group in body["duplicates"]["largest"]]
    assert any({one["reference_id"], other["reference_id"]} <= group for group in groups)
    assert body["duplicates"]["references"] > before["duplicates"]["references"]
    assert body["taxonomy"]["organs"]["femur"] == "fetal limb"


# -- patients ------------------------------------------------------------------------------------------


def test_a_patient_is_erased_everywhere_and_never_named(client, data, spare):
    client.put("/libraries/second", json={})
    one, two, other = next(spare), next(spare), next(spare)
    keys = [
        add(client, one, patient_id="Erase-Me 5").json()["reference_id"],
        add(client, two, library="second", patient_id=" Erase-Me 5").json()["reference_id"],
    ]
    kept = added(client, other, patient_id="Erase-Me 55")["reference_id"]
    found(client, one)
    response = client.post("/patients/erase", json={"patient_id": "Erase-Me 5"})
    body = response.json()
    assert response.status_code == 200, response.text
    assert body["libraries"] == {"demo": 1, "second": 1}
    assert sorted(body["reference_ids"]) == sorted(keys)
    assert any("backups" in sentence for sentence in body["remains"])
    assert "Erase-Me" not in response.text
    assert found(client, one, include_self=True)["query"]["reference_id"] is None
    assert not [path for key in keys for path in data.rglob(f"{key}*")]
    assert client.get(f"/references/{kept}").status_code == 200
    line = lines(data, 1)[0]
    assert (line.action, line.actor, line.outcome) == ("patient.erase", "local", "erased")
    assert len(line.objects) == 1
    assert "Erase-Me" not in str(line)

    again = client.post("/patients/erase", json={"patient_id": "Erase-Me 5"}).json()
    assert (again["libraries"], again["reference_ids"]) == ({}, [])
    for bad in ({"patient_id": ""}, {"patient_id": 5}, {}, {"patient": "Erase-Me 5"}):
        refused = client.post("/patients/erase", json=bad)
        problem(refused, 422, "bad_fields")
        assert "Erase-Me" not in refused.text
    problem(client.post("/patients/erase", json={"patient_id": "  "}), 422, "no_patient_id")
    problem(client.post("/patients/erase?patient_id=5", json={}), 422, "patient_in_url")


# -- who may, and what is written down -----------------------------------------------------------------


def test_every_call_that_changes_something_leaves_a_line_refused_ones_too(client, data, spare):
    picture = next(spare)
    key = added(client, picture, organ="spine")["reference_id"]
    add(client, picture, organ="spine")
    add(client, picture, organ="femur")
    add(client, picture, library="Planted-Name", organ="femur")
    client.patch(f"/references/{key}", json={"organ": "femur"})
    client.delete(f"/references/{key}")
    client.delete(f"/references/{key}")
    client.put("/libraries/logged", json={})
    client.delete("/libraries/logged")
    client.delete("/libraries/logged", params={"confirm": "logged"})
    written = [(line.action, line.library, line.objects, line.outcome) for line in reversed(lines(data, 10))]
    assert written == [
        ("reference.add", "demo", (key,), "added"),
        ("reference.add", "demo", (key,), "unchanged"),
        ("reference.add", "demo", (key,), "already_enrolled"),
        ("reference.add", None, (), "unknown_library"),
        ("reference.update", "demo", (key,), "updated"),
        ("reference.delete", "demo", (key,), "done"),
        ("reference.delete", None, (key,), "unknown_reference"),
        ("library.put", "logged", (), "added"),
        ("library.delete", "logged", (), "confirm_needed"),
        ("library.delete", "logged", (), "done"),
    ]


def test_with_a_key_the_actor_is_its_id(demo_data, tmp_path, spare):
    data = tmp_path / "data"
    shutil.copytree(demo_data, data)
    file = tmp_path / "key"
    file.write_text(KEY, encoding="ascii")
    bearer = {"Authorization": f"Bearer {KEY}"}
    with running_client(Settings(data=data, security=SecuritySettings(key_file=file))) as client:
        picture = next(spare)
        problem(add(client, picture), 401, "key_needed")
        key = add(client, picture, headers=bearer).json()
        problem(client.delete(f"/references/{key['reference_id']}"), 401, "key_needed")
    (line,) = lines(data, 1)
    assert line.actor.startswith("key-")
    assert line.actor == key["history"][0]["actor"]
    assert KEY not in str(line)


def test_a_door_without_writes_refuses_every_change_and_says_so(demo_data, tmp_path, spare):
    data = tmp_path / "data"
    shutil.copytree(demo_data, data)
    with running_client(Settings(data=data, server=ServerSettings(writes=False))) as client:
        assert client.get("/version").json()["writes"] is False
        picture = next(spare)
        key = found(client, picture)["neighbours"][0]["reference_id"]
        for refused in (
            add(client, picture),
            send_batch(client, [picture], [{}]),
            client.patch(f"/references/{key}", json={"organ": "x"}),
            client.delete(f"/references/{key}"),
            client.put("/libraries/demo", json={}),
            client.delete("/libraries/demo", params={"confirm": "demo"}),
            client.post("/patients/erase", json={"patient_id": "P"}),
        ):
            assert "SONOSEEK_SERVER__WRITES" in problem(refused, 403, "writes_off")["hint"]
        assert client.get("/libraries/demo").json()["size"] == PHANTOMS
    assert {line.outcome for line in lines(data, 7)} == {"writes_off"}


def test_another_page_cannot_write(client):
    evil = {"Origin": "https://evil.example"}
    problem(client.delete("/libraries/demo", params={"confirm": "demo"}, headers=evil), 403, "foreign_origin")
    problem(client.put("/libraries/demo", json={}, headers=evil), 403, "foreign_origin")


# -- a full disk, a read-only directory ----------------------------------------------------------------


@contextmanager
def no_room(client):
    """The database may not grow by a page while this lasts."""
    engine = client.app.state.opening.service().catalogue._engine

    def limit(connection, _record, _proxy):
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")

    event.listen(engine, "checkout", limit)
    try:
        yield
    finally:
        event.remove(engine, "checkout", limit)
        engine.dispose()


def test_a_full_disk_is_a_507_and_nothing_is_lost(demo_data, tmp_path, spare):
    data = tmp_path / "data"
    shutil.copytree(demo_data, data)
    picture = next(spare)
    with running_client(Settings(data=data)) as client:
        before = client.get("/libraries/demo").json()
        with no_room(client):
            refused = [add(client, picture, organ="femur"), send_batch(client, [picture, next(spare)], [{}, {}])]
            assert found(client, picture)["library"]["size"] == PHANTOMS
        for answer in refused:
            problem(answer, 507, "storage_full")
        assert client.get("/libraries/demo").json() == before
        assert len(list((data / "frames").rglob("*.*"))) == PHANTOMS
        assert add(client, picture, organ="femur").status_code == 201


def test_over_a_read_only_directory_searches_work_and_writes_say_why_not(demo_data, tmp_path, spare):
    data = tmp_path / "data"
    shutil.copytree(demo_data, data)
    picture = next(spare)
    with read_only(data), running_client(Settings(data=data)) as client:
        assert len(found(client, picture)["neighbours"]) == 10
        for refused in (add(client, picture), client.put("/libraries/new", json={})):
            assert "writable" in problem(refused, 503, "read_only")["hint"]


# -- what a first user tripped over ----------------------------------------------------------------------


def test_an_attribute_of_the_library_may_be_listed_by(client, spare):
    key = added(client, next(spare), attributes={"ward": "north"})["reference_id"]
    listed = client.get("/libraries/demo/references", params={"where": "ward:north"}).json()["references"]
    assert [one["reference_id"] for one in listed] == [key]
    assert client.get("/libraries/demo/references", params={"where": "ward:south"}).json()["references"] == []


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"organ": "Doe^Jane-77"}, "organ"),
        ({"findings": ["cyst", "Doe^Jane-77"]}, "findings"),
        ({"attributes": {"device": "Doe^Jane-77"}}, "attributes"),
    ],
)
def test_a_patient_id_is_not_stored_as_a_label(client, spare, data, said, named):
    refused = add(client, next(spare), patient_id=" Doe^Jane-77", **said)
    problem(refused, 422, "label_is_identity")
    assert named in refused.json()["detail"]
    assert "Doe^Jane" not in refused.text


def test_the_patient_id_of_a_dicom_header_is_not_stored_as_a_label(client):
    phantom = next(iter(draw_phantoms(count=1, seed=83)))
    problem(add(client, phantom_dicom(phantom), findings=[phantom.patient_id]), 422, "label_is_identity")


def test_a_short_patient_id_may_equal_an_attribute(client, spare):
    added(client, next(spare), patient_id="2", attributes={"trimester": "2"})


def test_refused_writing_calls_leave_a_line(client, data, spare):
    calls = [
        (client.post(f"{REFERENCES}/batch", files={"images": ("a", b"x")}), "reference.add", "demo"),
        (client.post(REFERENCES, content=b"x"), "reference.add", "demo"),
        (client.post(REFERENCES, params={"on_conflict": "perhaps"}), "reference.add", "demo"),
        (client.put("/libraries/demo", content=b"no json"), "library.put", "demo"),
        (client.put("/libraries/demo", json={"organ": {}}), "library.put", "demo"),
        (client.patch("/references/not-an-id", json={}), "reference.update", None),
        (client.post("/patients/erase", json={}), "patient.erase", None),
        (client.delete("/libraries/demo", params={"confirm_": "demo"}), "library.delete", "demo"),
    ]
    written = list(reversed(lines(data, len(calls))))
    for (response, action, library), line in zip(calls, written, strict=True):
        assert response.status_code >= 400
        assert (line.action, line.library, line.outcome) == (action, library, response.json()["code"])


def test_a_conflict_leaves_one_line_that_names_the_reference(client, data, spare):
    picture = next(spare)
    key = added(client, picture, organ="femur")["reference_id"]
    before = lines(data, 1)[0].id
    problem(add(client, picture, organ="spine"), 409, "already_enrolled")
    (line,) = [line for line in lines(data, 5) if line.id > before]
    assert (line.objects, line.outcome) == ((key,), "already_enrolled")


def test_null_clears_whatever_it_is_said_of(client, spare):
    key = added(client, next(spare), organ="femur", findings=["a"], attributes={"device": "X"})["reference_id"]
    changed = client.patch(f"/references/{key}", json={"organ": None, "findings": None, "attributes": None}).json()
    assert (changed["labels"]["organ"], changed["labels"]["findings"], changed["attributes"]) == (None, [], {})


@pytest.mark.parametrize("path", ["/libraries/a/b/references", "/libraries/a%2Fb/references"])
def test_adding_to_a_name_with_a_slash_says_what_names_are(client, spare, path):
    problem(client.post(path, files={"image": next(spare)}), 422, "bad_library_name")


def test_json_that_curl_has_cut_is_told_how_to_be_sent(client, spare):
    cut = client.post(REFERENCES, files={"image": ("x", next(spare))}, data={"labels": '{"organ": "a'})
    problem(cut, 422, "bad_json")
    assert "--form-string" in cut.json()["hint"]
