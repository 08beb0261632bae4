"""Every bad input of the issue over HTTP: a clear 4xx with code and hint, and the service goes on answering."""

import numpy as np
import pytest
from harness import other_weights, running_client
from pictures import bomb, ct, dicom, encoded, rt_plan, speckle

from app.config import ServerSettings, Settings

GOOD = encoded(speckle())
DICOM = dicom("1.2.840.10008.5.1.4.1.1.6.1", "US", speckle())

BAD_IMAGES = {
    "empty file": (b"", 422, "empty_file"),
    "text named .png": (b"I am a text, not a picture.", 422, "unknown_format"),
    "truncated PNG": (GOOD[: len(GOOD) // 2], 422, "undecodable_image"),
    "truncated JPEG": (encoded(speckle(), "JPEG")[:3000], 422, "undecodable_image"),
    "truncated DICOM": (DICOM[: len(DICOM) // 2], 422, "undecodable_image"),
    "bomb": (bomb(), 413, "too_many_pixels"),
    "DICOM without pixels": (rt_plan(), 422, "no_pixel_data"),
    "1 x 1": (encoded(np.full((1, 1), 9, np.uint8)), 422, "image_too_small"),
    "all black": (encoded(np.zeros((300, 400), np.uint8)), 422, "blank_image"),
}


def problem(response, status, code=None):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert set(body) == {"type", "title", "status", "detail", "code", "hint", "request_id"}
    assert body["status"] == status
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["hint"]
    if code is not None:
        assert body["code"] == code
    return body


def search(client, data=GOOD, *, name="scan.png", **params):
    return client.post("/search", files={"image": (name, data)}, params=params)


@pytest.mark.parametrize("what", BAD_IMAGES)
def test_bad_images(demo_client, what):
    data, status, code = BAD_IMAGES[what]
    problem(search(demo_client, data), status, code)
    if data:
        raw = demo_client.post("/search", content=data, headers={"Content-Type": "application/octet-stream"})
        problem(raw, status, code)
    assert search(demo_client).status_code == 200


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_another_modality_is_answered_with_a_warning(demo_client, modality):
    data = ct() if modality == "CT" else dicom("1.2.840.10008.5.1.4.1.1.4", "MR", speckle())
    body = search(demo_client, data).json()
    assert body["scope"]["verdict"] == "not_ultrasound"
    assert any(modality in warning for warning in body["scope"]["warnings"])
    assert len(body["neighbours"]) == 10


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"library": "heart"}, 404, "unknown_library"),
        ({"encoder": "dino"}, 404, "unknown_encoder"),
        ({"k": 0}, 422, "bad_k"),
        ({"k": 10**9}, 422, "bad_k"),
        ({"k": -3}, 422, "bad_k"),
        ({"k": "many"}, 422, "invalid_parameter"),
        ({"k": 10**30}, 422, None),
        ({"region": "0,0,5000,5000"}, 422, "bad_region"),
        ({"region": "10,10,5,5"}, 422, "bad_region"),
        ({"region": "0,0,600,17"}, 422, "bad_region"),
        ({"region": "a,b"}, 422, "bad_region"),
        ({"frame": 2}, 422, None),
        ({"frame": 0}, 422, None),
        ({"where": "organ"}, 422, "bad_filter"),
        ({"where": "colour:red"}, 422, "unknown_filter"),
        ({"scores": "beauty"}, 422, "unknown_score"),
        ({"max_per_patient": 0}, 422, "bad_max_per_patient"),
        ({"max_per_patients": 1}, 422, "unknown_parameter"),
        ({"exclude_patient_id": "P1"}, 422, "patient_in_url"),
    ],
)
def test_bad_parameters(demo_client, params, status, code):
    body = problem(search(demo_client, **params), status, code)
    assert "Traceback" not in body["detail"]
    assert search(demo_client).status_code == 200


@pytest.mark.parametrize(
    "media_type", ["application/x-www-form-urlencoded", "text/plain", "application/json", "application/dicomX", ""]
)
def test_a_content_type_that_is_none_of_ours(demo_client, media_type):
    response = demo_client.post("/search", content=b"image=scan.png", headers={"Content-Type": media_type})
    assert "-F image=@" in problem(response, 415, "unsupported_media_type")["hint"]


def test_a_form_without_an_image(demo_client):
    problem(demo_client.post("/search", files={"picture": ("a.png", GOOD)}), 400, "no_image")
    problem(demo_client.post("/compare", files={"a": ("a.png", GOOD)}), 400, "no_image")
    response = demo_client.post(
        "/search", content=b"--x\r\nbroken", headers={"Content-Type": "multipart/form-data; boundary=y"}
    )
    problem(response, 400)
    problem(demo_client.post("/search", content=b"x", headers={"Content-Type": "multipart/form-data"}), 400)


def test_paths_and_methods_and_ids_that_do_not_exist(demo_client):
    problem(demo_client.get("/nothing/Planted^Name"), 404, "unknown_path")
    wrong = demo_client.get("/search")
    problem(wrong, 405, "wrong_method")
    assert wrong.headers["allow"] == "POST"
    problem(demo_client.get("/docs/nothing.js"), 404, "unknown_path")
    problem(demo_client.get("/references/not-an-id"), 422, "invalid_parameter")
    problem(demo_client.get("/references/00000000-0000-0000-0000-000000000000"), 404, "unknown_reference")
    problem(demo_client.get("/references/00000000-0000-0000-0000-000000000000/image"), 404, "unknown_reference")
    problem(demo_client.get("/libraries/heart"), 404, "unknown_library")


def test_a_body_over_the_limit(demo_data):
    settings = Settings(data=demo_data, server=ServerSettings(max_body_bytes=len(GOOD) + 2000))
    with running_client(settings) as client:
        problem(search(client, GOOD + b"\0" * 5000), 413, "body_too_large")

        def chunks():  # without a Content-Length
            for _ in range(20):
                yield GOOD[:8192]

        response = client.post("/search", content=chunks(), headers={"Content-Type": "image/png"})
        problem(response, 413, "body_too_large")
        assert search(client).status_code == 200


def test_problems_never_repeat_what_was_sent(demo_client):
    planted = "Planted-Name-1234"
    for response in (
        search(demo_client, **{"k": planted}),
        search(demo_client, **{"region": planted}),
        search(demo_client, **{"frame": planted}),
        search(demo_client, **{"library": planted}),
        search(demo_client, **{"encoder": planted}),
        search(demo_client, **{"scores": planted}),
        search(demo_client, **{"where": f"{planted}:x"}),
        search(demo_client, **{planted: "x"}),
        demo_client.post("/search", content=b"x", headers={"Content-Type": planted}),
        demo_client.get(f"/libraries/{planted}"),
        search(demo_client, planted.encode()),
        search(demo_client, dicom("1.2.840.10008.5.1.4.1.1.4", "MR", None)),
        demo_client.get(f"/references/{planted}"),
        demo_client.get(f"/{planted}"),
    ):
        assert response.status_code >= 400
        assert planted not in response.text
        assert "PLANTED-77" not in response.text


def test_a_library_of_other_weights_is_a_409_that_names_both_digests(demo_data, demo_client, tmp_path):
    other_weights(tmp_path)
    stored = demo_client.get("/libraries/demo").json()["encoders"][0]["digest"]
    with running_client(Settings(data=demo_data, models=tmp_path)) as client:
        loaded = client.get("/encoders").json()[0]["digest"]
        body = problem(search(client), 409, "digest_mismatch")
        assert stored != loaded
        assert stored in body["detail"]
        assert loaded in body["detail"]
        assert "sonoseek reembed demo" in body["hint"]
        assert client.get("/health/ready").status_code == 200


def test_misplaced_and_repeated_parts_are_refused(demo_client):
    image = ("image", ("a.png", GOOD))
    misplaced = demo_client.post("/search", files=[image], data={"library": "demo", "k": "2"})
    assert "parameter of the address" in problem(misplaced, 400, "unknown_part")["hint"]
    as_file = demo_client.post("/search", files=[image, ("exclude_patient_id", ("id", b"P1"))])
    problem(as_file, 400, "unknown_part")
    problem(demo_client.post("/search", files=[image, image]), 400, "repeated_part")
    three = [("a", ("a", GOOD)), ("b", ("b", GOOD)), ("c", ("c", GOOD))]
    problem(demo_client.post("/compare", files=three), 400, "unknown_part")
    assert demo_client.post("/search", files=[image], data={"exclude_patient_id": ""}).status_code == 200


def test_no_match_is_said(demo_client):
    body = search(demo_client, where="organ:Femur").json()
    assert body["neighbours"] == []
    assert "no reference passes the filters and exclusions" in body["scope"]["warnings"]
