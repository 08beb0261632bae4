"""POST /frame: the picture that a search works on."""

import io
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

from app.domain import Box
from app.images.deidentify import Keyer
from app.images.reader import read_frame

NAMES = {"x-format", "x-width", "x-height", "x-frames", "x-frame", "x-region", "x-region-source"}


def test_it_is_the_frame_that_a_search_embeds(demo_client: TestClient, query_file: Path) -> None:
    response = demo_client.post("/frame", files={"image": query_file.read_bytes()})
    frame = read_frame(query_file.read_bytes(), keyer=Keyer(bytes(32)))

    width, height = size_of(query_file)
    assert response.headers["content-type"] == "image/png"
    assert np.array_equal(pixels_of(response.content), frame.pixels)
    assert frame.facts.region is not None
    assert described(response.headers) == {
        "x-format": "png",
        "x-width": str(width),
        "x-height": str(height),
        "x-frames": "1",
        "x-region": ",".join(map(str, frame.facts.region)),
        "x-region-source": "detected",
    }


def test_a_given_region_is_cut_out_whole(demo_client: TestClient, query_file: Path) -> None:
    region = Box(0, 0, *size_of(query_file))
    response = demo_client.post(
        f"/frame?region={','.join(map(str, region))}",
        content=query_file.read_bytes(),
        headers={"Content-Type": "image/png"},
    )
    assert Box.parse(response.headers["x-region"]) == region
    assert response.headers["x-region-source"] == "given"
    whole = np.asarray(Image.open(query_file).convert("L"))
    assert np.array_equal(pixels_of(response.content), whole)


def test_what_cannot_be_read_is_a_problem(demo_client: TestClient) -> None:
    response = demo_client.post("/frame", files={"image": b"this is text"})
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "unknown_format"


def pixels_of(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def described(headers: object) -> dict[str, str]:
    return {name: value for name, value in dict(headers).items() if name in NAMES}


def size_of(file: Path) -> tuple[int, int]:
    with Image.open(file) as image:
        return image.size
