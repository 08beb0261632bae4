"""The HTTP contract on the demo library."""

import io

import numpy as np
import pytest
from harness import PHANTOMS
from PIL import Image

from app.images.phantom import draw_phantoms, phantom_dicom


@pytest.fixture
def picture(query_file):
    return query_file.read_bytes()


def test_the_answer_is_that_of_the_design(demo_client, picture):
    response = demo_client.post("/search", files={"image": ("scan.png", picture)}, params={"k": 3})
    assert response.status_code == 200
    body = response.json()
    assert list(body) == [
        "request_id", "query", "library", "encoder", "target", "index",
        "neighbours", "evidence", "scope", "unavailable", "timings_ms",
    ]  # fmt: skip
    assert list(body["query"]) == [
        "sha256", "format", "width", "height", "frame", "region", "region_source", "reference_id", "patient_excluded",
    ]  # fmt: skip
    assert body["query"]["format"] == "png"
    assert body["query"]["frame"] is None
    assert body["library"] == {"name": "demo", "version": body["library"]["version"], "size": PHANTOMS}
    assert body["encoder"]["name"] == "resnet-us"
    assert body["encoder"]["dim"] == 256
    assert body["index"] == {"engine": "exact", "exact": True}
    first = body["neighbours"][0]
    assert list(first) == [
        "rank", "reference_id", "external_id", "distance", "similarity", "labels", "attributes", "scores", "image",
    ]  # fmt: skip
    assert list(first["labels"]) == ["organ", "organ_group", "plane", "diagnoses", "diagnosis_groups", "findings"]
    assert first["scores"]["dreamsim"] is None
    assert "dreamsim" in body["unavailable"]
    assert first["image"] == f"/references/{first['reference_id']}/image"
    assert list(body["evidence"][0]) == ["kind", "label", "found", "patients", "expected", "lift", "low_support"]
    assert set(body["timings_ms"]) == {"read", "encode", "search", "scores", "total"}


def test_a_raw_body_gives_the_same_answer(demo_client, picture):
    form = demo_client.post("/search", files={"image": ("scan.png", picture)}).json()
    for media_type in ("image/png", "application/octet-stream", "application/dicom", "IMAGE/JPEG; q=1"):
        raw = demo_client.post("/search", content=picture, headers={"Content-Type": media_type}).json()
        assert raw["neighbours"] == form["neighbours"]


def test_parameters_reach_the_search(demo_client, picture):
    def search(**params):
        response = demo_client.post("/search", files={"image": ("scan.png", picture)}, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    assert len(search(k=PHANTOMS)["neighbours"]) == PHANTOMS
    spines = search(where=["organ:spine", "organ:femur"], k=20)["neighbours"]
    assert {found["labels"]["organ"] for found in spines} == {"spine", "femur"}
    assert search(scores="")["neighbours"][0]["scores"] == {}
    assert list(search(scores="mse")["neighbours"][0]["scores"]) == ["mse"]
    assert search(region="100,80,400,300")["query"]["region"] == [100, 80, 400, 300]
    assert search(region="100,80,400,300")["query"]["region_source"] == "given"
    assert search(library="demo", encoder="resnet-us")["library"]["name"] == "demo"
    everyone, one_each = (search(k=PHANTOMS, **more)["neighbours"] for more in ({}, {"max_per_patient": 1}))
    assert len(one_each) < len(everyone) == PHANTOMS


def test_a_patient_is_left_out_by_form_field_header_or_dicom(demo_client):
    phantom = next(iter(draw_phantoms(count=1, seed=5)))
    file = io.BytesIO()
    Image.fromarray(phantom.pixels).save(file, "PNG")

    def size(files, **more):
        body = demo_client.post("/search", files=files, params={"k": PHANTOMS}, **more).json()
        return len(body["neighbours"]), body["query"]["patient_excluded"]

    png = {"image": ("a.png", file.getvalue())}
    everyone, excluded = size(png)
    assert not excluded
    by_field = size(png, data={"exclude_patient_id": phantom.patient_id})
    by_header = size(png, headers={"X-Exclude-Patient-ID": phantom.patient_id})
    by_dicom = size({"image": ("a.dcm", phantom_dicom(phantom))})
    assert by_field == by_header == by_dicom
    # a header that curl sends is UTF-8, whatever HTTP says
    utf8 = {"X-Exclude-Patient-ID": "Müller-1".encode()}
    assert size(png, headers=utf8)[1]
    assert by_field[1]
    assert by_field[0] < everyone


def test_a_cine_is_searched_by_its_middle_frame_unless_one_is_named(demo_client):
    from pydicom import examples

    data = examples.get_path("ybr_color").read_bytes()
    middle = demo_client.post("/search", files={"image": ("cine.dcm", data)}).json()["query"]
    first = demo_client.post("/search", files={"image": ("cine.dcm", data)}, params={"frame": 1}).json()["query"]
    assert (middle["frame"], first["frame"]) == (15, 1)
    assert middle["format"] == "dicom"


def test_reference_its_picture_and_its_neighbours(demo_client, picture):
    found = demo_client.post("/search", files={"image": ("scan.png", picture)}, params={"k": 1}).json()["neighbours"][0]
    reference = demo_client.get(f"/references/{found['reference_id']}").json()
    assert reference["labels"] == found["labels"]
    assert reference["external_id"] == found["external_id"]
    assert reference["library"] == "demo"
    assert len(reference["history"]) == 1
    stored = demo_client.get(found["image"])
    assert stored.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(stored.content)) as image:
        assert np.asarray(image).any()
    like = demo_client.get(f"/references/{found['reference_id']}/neighbours", params={"k": 5}).json()
    assert len(like["neighbours"]) == 5
    assert like["query"]["reference_id"] == found["reference_id"]
    assert found["reference_id"] not in {other["reference_id"] for other in like["neighbours"]}


def test_compare_and_embed(demo_client, picture, phantoms):
    other = (phantoms / "queries" / "query-femur.png").read_bytes()
    same = demo_client.post("/compare", files={"a": ("a.png", picture), "b": ("b.png", picture)}).json()
    assert (same["distance"], same["scores"]["mse"], same["scores"]["histogram"]) == (0, 0, 1)
    both = demo_client.post("/compare", files={"a": ("a.png", picture), "b": ("b.png", other)}).json()
    vectors = [
        np.array(demo_client.post("/embed", files={"image": ("x", data)}).json()["vector"]) for data in (picture, other)
    ]
    assert both["distance"] == pytest.approx(np.linalg.norm(vectors[0] - vectors[1]), abs=1e-6)
    assert both["similarity"] == pytest.approx(1 - both["distance"] ** 2 / 2)
    assert np.linalg.norm(vectors[0]) == pytest.approx(1)
    cropped = demo_client.post(
        "/compare", files={"a": ("a", picture), "b": ("b", picture)}, params={"region_b": "100,80,400,300"}
    ).json()
    assert cropped["distance"] > 0.01


def test_libraries_encoders_version_and_health(demo_client):
    (library,) = demo_client.get("/libraries").json()
    assert (library["name"], library["size"]) == ("demo", PHANTOMS)
    assert library["encoders"][0]["vectors"] == PHANTOMS
    assert library.items() <= demo_client.get("/libraries/demo").json().items()
    (encoder,) = demo_client.get("/encoders").json()
    assert encoder["default"]
    assert encoder["digest"] == library["encoders"][0]["digest"]
    version = demo_client.get("/version").json()
    assert "Not a diagnosis" in version["purpose"]
    assert version["open"] is False
    assert demo_client.get("/health/live").json() == {"status": "ok"}
    assert demo_client.get("/health/ready").json() == {"status": "ok"}


def test_many_at_once_get_the_answers_of_one_at_a_time(demo_client, phantoms):
    from concurrent.futures import ThreadPoolExecutor

    pictures = [path.read_bytes() for path in sorted((phantoms / "queries").glob("*.png"))]

    def search(data):
        return demo_client.post("/search", files={"image": ("x", data)}).json()["neighbours"]

    alone = [search(data) for data in pictures]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(search, pictures * 3))
    assert together == alone * 3


def test_head_is_a_get_without_its_body(demo_client):
    for path in ("/", "/health/ready", "/libraries"):
        response = demo_client.head(path)
        assert response.status_code == 200
    assert demo_client.head("/nothing").status_code == 404
