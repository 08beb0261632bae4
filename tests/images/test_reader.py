"""The reader: dispatch by bytes, regions, refusals, facts, stored frames, threads, real images."""

import hashlib
import os
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from dicom_files import grey_scan, make_dicom, planted_dicom, region_item
from PIL import Image
from pydicom import uid
from pydicom.sequence import Sequence

from app.domain import Box, Pixels, RegionSource
from app.errors import BadInput
from app.images import dicom, raster, reader, region
from app.images.deidentify import Keyer
from app.images.reader import FRAME_DIGEST, ReadLimits, read_frame, read_stored, write_stored

KEYER = Keyer(b"k" * 32)
RECIPES_BY_MODULE = [
    (reader, "READER_RECIPE"),
    (raster, "RASTER_RECIPE"),
    (dicom, "DICOM_RECIPE"),
    (region, "REGION_RECIPE"),
]
DATA = Path(os.environ.get("SONOSEEK_TEST_DATA", "../shared/data"))
SCAN = grey_scan(120, 160)


def packed(picture: Pixels, kind: str = "PNG", **options) -> bytes:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


def refusal(data: bytes, **options) -> BadInput:
    with pytest.raises(BadInput) as caught:
        read_frame(data, keyer=KEYER, **options)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_the_bytes_decide_the_format(kind: str) -> None:
    data = packed(SCAN, kind)
    facts = read_frame(data, keyer=KEYER).facts
    assert (facts.format, facts.width, facts.height) == (kind.lower(), 160, 120)
    assert (facts.frame, facts.frames, facts.modality, facts.patient_key) == (None, 1, None, None)
    assert facts.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("preamble", [True, False])
@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_dicom_is_recognised(preamble: bool, syntax: uid.UID) -> None:
    data = make_dicom(SCAN, syntax=syntax, preamble=preamble)
    facts = read_frame(data, keyer=KEYER).facts
    assert (facts.format, facts.modality, facts.sha256) == ("dicom", "US", hashlib.sha256(data).hexdigest())


def test_a_tiff_header_in_the_preamble_does_not_hide_dicom() -> None:
    data = packed(SCAN, "TIFF")[:128].ljust(128, b"\0") + make_dicom(SCAN)[128:]
    assert read_frame(data, keyer=KEYER).facts.format == "dicom"


BAD = {
    "empty": (b"", "empty_file", 422),
    "text": (b"this is not a picture, whatever its name says\n" * 9, "unknown_format", 422),
    "text that starts like a bitmap": (b"BMW is not a bitmap " * 20, "unknown_format", 422),
    "gif": (b"GIF89a" + bytes(100), "unknown_format", 422),
    "cut png": (packed(SCAN)[:900], "undecodable_image", 422),
    "cut jpeg": (packed(SCAN, "JPEG")[:900], "undecodable_image", 422),
    "cut dicom": (make_dicom(SCAN)[:900], "undecodable_image", 422),
    "only a signature": (b"\x89PNG\r\n\x1a\n", "undecodable_image", 422),
    "only a preamble": (bytes(128) + b"DICM", "no_pixel_data", 422),
    "one pixel": (packed(np.zeros((1, 1), np.uint8)), "image_too_small", 422),
    "black": (packed(np.zeros((64, 64), np.uint8)), "blank_image", 422),
    "white": (packed(np.full((64, 64, 3), 255, np.uint8)), "blank_image", 422),
    "black dicom": (make_dicom(np.zeros((64, 64), np.uint8)), "blank_image", 422),
    "one colour": (packed(np.full((64, 64, 3), (1, 2, 3), np.uint8)), "blank_image", 422),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str) -> None:
    data, code, status = BAD[case]
    refused = refusal(data)
    assert (refused.code, refused.status) == (code, status)


def test_a_bomb_is_refused_unseen() -> None:
    png = bytearray(packed(SCAN))
    png[16:24] = (60_000).to_bytes(4, "big") * 2
    refused = refusal(bytes(png))
    assert (refused.code, refused.status) == ("too_many_pixels", 413)


@pytest.mark.parametrize("shape", [(1024, 32_768), (32_768, 1024), (64, 2048)])
def test_long_pictures_cost_memory_like_others(shape: tuple[int, int]) -> None:
    data = packed(np.tile(grey_scan(64, 64), (shape[0] // 64, shape[1] // 64)))
    tracemalloc.start()
    try:
        read_frame(data, keyer=KEYER)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * shape[0] * shape[1] + 2_000_000


def test_the_limit_on_bytes_comes_first() -> None:
    refused = refusal(b"x" * 101, limits=ReadLimits(max_bytes=100))
    assert (refused.code, refused.status) == ("image_too_large", 413)


def test_frames_of_a_cine() -> None:
    frames = np.stack([grey_scan(120, 160, seed) for seed in range(4)])
    data = make_dicom(frames, frames=4)
    middle, first = read_frame(data, keyer=KEYER), read_frame(data, keyer=KEYER, frame=1)
    assert (middle.facts.frame, middle.facts.frames, first.facts.frame) == (2, 4, 1)
    assert middle.facts.sha256 == first.facts.sha256
    assert np.array_equal(middle.pixels, frames[1])
    assert refusal(data, frame=5).code == "bad_frame"
    assert refusal(packed(SCAN), frame=2).code == "bad_frame"


def test_full_frame_pictures_are_not_cut() -> None:
    frame = read_frame(packed(SCAN), keyer=KEYER)
    assert frame.facts.region_source is RegionSource.FULL_FRAME
    assert frame.facts.region == Box(0, 0, 160, 120)
    assert np.array_equal(frame.pixels, SCAN)
    assert not frame.facts.unmasked


def test_the_headers_region_is_used_and_can_be_overridden() -> None:
    data = make_dicom(SCAN, SequenceOfUltrasoundRegions=Sequence([region_item((10, 20, 110, 90))]))
    frame = read_frame(data, keyer=KEYER)
    assert (frame.facts.region_source, frame.facts.region) == (RegionSource.DICOM, Box(10, 20, 110, 90))
    assert frame.pixels.shape == (70, 100)
    frame = read_frame(data, keyer=KEYER, region=Box(0, 0, 40, 30))
    assert (frame.facts.region_source, frame.facts.region) == (RegionSource.GIVEN, Box(0, 0, 40, 30))
    assert np.array_equal(frame.pixels, SCAN[:30, :40])


def test_a_header_region_outside_the_picture_gives_way_to_detection() -> None:
    data = make_dicom(SCAN, SequenceOfUltrasoundRegions=Sequence([region_item((10, 20, 500, 90))]))
    facts = read_frame(data, keyer=KEYER).facts
    assert facts.region_source is RegionSource.FULL_FRAME
    assert len(facts.warnings) == 1


@pytest.mark.parametrize(
    "box", [(0, 0, 161, 120), (-1, 0, 50, 50), (50, 50, 50, 80), (90, 90, 20, 20), (0, 0, 15, 100), (900, 0, 999, 99)]
)
def test_bad_regions(box: tuple[int, int, int, int]) -> None:
    refused = refusal(packed(SCAN), region=Box(*box))
    assert (refused.code, refused.status) == ("bad_region", 422)


def test_a_region_without_anything_in_it() -> None:
    picture = SCAN.copy()
    picture[:, :80] = 0
    assert refusal(packed(picture), region=Box(0, 0, 60, 60)).code == "blank_image"


def test_regions_are_in_the_upright_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    frame = read_frame(packed(SCAN, exif=exif), keyer=KEYER, region=Box(0, 0, 40, 150))
    assert (frame.facts.width, frame.facts.height) == (120, 160)
    assert np.array_equal(frame.pixels, np.rot90(SCAN, -1)[:150, :40])


def test_a_picture_without_a_scan_is_read_with_a_warning() -> None:
    picture = np.zeros((240, 320), np.uint8)
    picture[100:102, 40:300:9] = 255
    frame = read_frame(packed(picture), keyer=KEYER)
    assert frame.facts.region_source is RegionSource.NONE
    assert frame.facts.region is None
    assert frame.facts.unmasked
    assert len(frame.facts.warnings) == 1
    assert np.array_equal(frame.pixels, picture)


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_other_modalities_are_named_and_left_to_the_search(modality: str) -> None:
    facts = read_frame(make_dicom(SCAN.astype(np.int16) * 100, Modality=modality), keyer=KEYER).facts
    assert facts.modality == modality
    assert facts.warnings == ()


@pytest.mark.parametrize("picture", [SCAN, np.dstack([SCAN, SCAN[::-1], SCAN[:, ::-1]])], ids=["grey", "colour"])
def test_stored_frames_come_back_bit_by_bit(picture: Pixels) -> None:
    stored = write_stored(picture)
    back = read_stored(stored)
    assert back.dtype == np.uint8
    assert np.array_equal(back, picture)
    assert stored == write_stored(back)
    again = read_frame(stored, keyer=KEYER, region=Box(0, 0, 160, 120))
    assert np.array_equal(again.pixels, picture)


def test_a_damaged_stored_frame_is_refused() -> None:
    with pytest.raises(BadInput):
        read_stored(write_stored(SCAN)[:500])


SNAPSHOT = {("reader-1", "raster-1", "dicom-1"): "ffe79b1772312a94e311b55867dfc811251e80c23fcb2d918251cff5dc76576d"}


def test_other_pixels_need_another_recipe() -> None:
    deep = np.linspace(0, 65535, 120 * 160).astype(np.uint16).reshape(120, 160)
    scan = np.random.default_rng(1).integers(0, 256, (120, 160)).astype(np.uint8)
    images = [packed(deep), packed(np.dstack([scan, scan, scan[::-1], scan[:, ::-1]]))]
    images += [make_dicom(deep, WindowCenter="9000", WindowWidth="20000"), make_dicom(deep, BitsStored=14)]
    images.append(make_dicom(np.dstack([scan, scan[::-1], scan]), photometric="YBR_FULL"))
    box = Box(3, 5, 150, 110)
    seen = hashlib.sha256(b"".join(read_frame(one, keyer=KEYER, region=box).pixels.tobytes() for one in images))
    # Where this fails, frames changed: bump the recipe of the part that changed them, then write it here.
    assert seen.hexdigest() == SNAPSHOT[reader.READER_RECIPE, reader.RASTER_RECIPE, reader.DICOM_RECIPE]


def test_the_frame_digest_covers_every_recipe() -> None:
    recipes = {module.__dict__[name] for module, name in RECIPES_BY_MODULE}
    assert recipes == set(reader.RECIPES)
    assert len(FRAME_DIGEST.removeprefix("sha256:")) == 64


def test_threads_read_the_same_as_one() -> None:
    images = [packed(SCAN), packed(SCAN, "JPEG"), planted_dicom(frames=3).data]
    images += [make_dicom(SCAN, syntax=s) for s in (uid.RLELossless, uid.JPEGLosslessSV1, uid.JPEG2000Lossless)]
    alone = [read_frame(data, keyer=KEYER) for data in images]
    filters = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: read_frame(data, keyer=KEYER), images * 8))
    for number, frame in enumerate(together):
        expected = alone[number % len(images)]
        assert frame.facts == expected.facts
        assert np.array_equal(frame.pixels, expected.pixels)
    assert warnings.filters == filters


@pytest.mark.parametrize("folder", ["fetal", "early", "hc18", "breast", "lung"])
def test_real_images(folder: str) -> None:
    paths = sorted((DATA / folder / "images").rglob("*.*"))[:400:40]
    if not paths:
        pytest.skip(f"no real images in {folder}: set SONOSEEK_TEST_DATA")
    for path in paths:
        data = path.read_bytes()
        frame = read_frame(data, keyer=KEYER)
        with Image.open(BytesIO(data)) as image:
            assert (frame.facts.width, frame.facts.height) == image.size
        assert frame.pixels.dtype == np.uint8
        assert min(frame.pixels.shape[:2]) >= 16
        assert np.array_equal(read_stored(write_stored(frame.pixels)), frame.pixels)
