"""where= on every path that takes it: one rule for searches and for pages of references."""

import io

import pytest
from PIL import Image
from test_bad_input import problem

from app.images.phantom import draw_phantoms

PLANTED = "Planted-77"


@pytest.fixture(scope="module")
def picture():
    (phantom,) = draw_phantoms(count=1, seed=78)
    file = io.BytesIO()
    Image.fromarray(phantom.pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def asks(demo_client, picture):
    key = demo_client.get("/libraries/demo/references", params={"limit": 1}).json()["references"][0]["reference_id"]
    return (
        lambda where: demo_client.post("/search", files={"image": ("x.png", picture)}, params={"where": where}),
        lambda where: demo_client.get(f"/references/{key}/neighbours", params={"where": where}),
        lambda where: demo_client.get("/libraries/demo/references", params={"where": where}),
    )


@pytest.mark.parametrize("name", ["colour", "organs", "device ", "\0", "path", PLANTED])
def test_a_name_that_is_neither_label_kind_nor_attribute_is_refused(asks, name):
    for ask in asks:
        answer = ask(f"{name}:{PLANTED}")
        assert "organ_group" in problem(answer, 422, "unknown_filter")["hint"]
        assert PLANTED not in answer.text


@pytest.mark.parametrize("name", ["patient_id", "exclude_patient_id", "PatientID", "patient-id"])
def test_a_patient_is_no_filter(asks, name):
    for ask in asks:
        answer = ask(["organ:femur", f"{name}:{PLANTED}"])
        assert "exclude_patient_id" in problem(answer, 422, "patient_in_filter")["hint"]
        assert PLANTED not in answer.text


@pytest.mark.parametrize("where", ["organ:femur", "device:nobody-has-it", "site:north", "findings:nothing"])
def test_known_names_are_taken_with_any_value(asks, where):
    for ask in asks:
        assert ask(where).status_code == 200
