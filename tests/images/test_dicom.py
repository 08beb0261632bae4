"""DICOM: every syntax and colour space against known colours, the grey chain, frames, and damage."""

import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import (
    CARD_COLOURS,
    card_colours,
    colour_card,
    dicom_header,
    file_bytes,
    grey_scan,
    make_dicom,
    region_item,
    to_ybr,
)
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from app.domain import Box
from app.errors import BadInput, TooLarge
from app.images.decoded import Decoded
from app.images.deidentify import Keyer
from app.images.dicom import decode_dicom
from app.images.limits import ReadLimits

KEYER = Keyer(b"k" * 32)
SAMPLES = Path(pydicom.__file__).parent / "data" / "test_files"
NATIVE = [
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
]
LOSSLESS = [*NATIVE, uid.RLELossless, uid.JPEGLosslessSV1, uid.JPEGLossless, uid.JPEGLSLossless, uid.JPEG2000Lossless]


def decode(data: bytes, frame: int | None = None, **limits: int) -> Decoded:
    return decode_dicom(data, keyer=KEYER, limits=ReadLimits(**limits), frame=frame)


def refusal(data: bytes, frame: int | None = None, **limits: int) -> str:
    with pytest.raises(BadInput) as caught:
        decode(data, frame, **limits)
    return caught.value.code


def assert_card(pixels: np.ndarray, tolerance: int) -> None:
    assert pixels.shape == (48, 128, 3)
    assert np.abs(card_colours(pixels) - CARD_COLOURS).max() <= tolerance


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize(("photometric", "tolerance"), [("RGB", 0), ("YBR_FULL", 2)])
def test_colours_of_lossless_syntaxes(syntax: uid.UID, photometric: str, tolerance: int) -> None:
    card = colour_card()
    samples = card if photometric == "RGB" else to_ybr(card)
    coding = {"use_mct": False} if syntax == uid.JPEG2000Lossless else None
    assert_card(decode(make_dicom(samples, syntax=syntax, photometric=photometric, coding=coding)).pixels, tolerance)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
def test_grey_of_lossless_syntaxes_is_untouched(syntax: uid.UID) -> None:
    scan = grey_scan()
    assert np.array_equal(decode(make_dicom(scan, syntax=syntax)).pixels, scan)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
def test_twelve_bits_use_their_full_range(syntax: uid.UID) -> None:
    values = np.linspace(0, 4095, 64 * 64).astype(np.uint16).reshape(64, 64)
    pixels = decode(make_dicom(values, syntax=syntax, BitsStored=12)).pixels
    assert np.array_equal(pixels, np.rint(values / 4095 * 255))


@pytest.mark.parametrize("syntax", [s for s in LOSSLESS if s != uid.JPEGLSLossless], ids=lambda s: s.keyword)
def test_signed_values_start_at_their_lowest(syntax: uid.UID) -> None:
    values = np.linspace(-2048, 2047, 64 * 64).astype(np.int16).reshape(64, 64)
    pixels = decode(make_dicom(values, syntax=syntax, BitsStored=12)).pixels
    assert np.array_equal(pixels, np.rint((values + 2048) / 4095 * 255))


@pytest.mark.parametrize(
    ("photometric", "syntax", "coding"),
    [
        ("YBR_RCT", uid.JPEG2000Lossless, {}),
        ("YBR_ICT", uid.JPEG2000, {"j2k_psnr": [60]}),
        ("RGB", uid.JPEG2000, {"j2k_psnr": [60]}),
        ("RGB", uid.JPEGLSNearLossless, {"jls_error": 2}),
        ("YBR_FULL_422", uid.JPEGBaseline8Bit, {}),
        ("YBR_FULL_422", uid.JPEGBaseline8Bit, {"subsampling": 1}),
        ("YBR_FULL", uid.JPEGBaseline8Bit, {"bare": True}),
        ("YBR_FULL_422", uid.JPEGExtended12Bit, {}),
        # The codestream says what it is, whatever the header claims.
        ("RGB", uid.JPEGBaseline8Bit, {}),
        ("RGB", uid.JPEGBaseline8Bit, {"rgb": True}),
        ("YBR_FULL_422", uid.JPEGBaseline8Bit, {"rgb": True}),
    ],
)
def test_colours_of_other_codings(photometric: str, syntax: uid.UID, coding: dict) -> None:
    assert_card(decode(make_dicom(colour_card(), syntax=syntax, photometric=photometric, coding=coding)).pixels, 6)


def test_a_jpeg_without_markers_is_rgb_where_the_header_says_so() -> None:
    # Pillow converts to YCbCr: written from the inverse, the components are the card's own RGB values.
    card = colour_card()
    grey = np.repeat(card[..., 1:2], 3, axis=2)
    data = make_dicom(grey, syntax=uid.JPEGBaseline8Bit, photometric="RGB", coding={"bare": True})
    red, *rest = np.moveaxis(decode(data).pixels.astype(int), -1, 0)
    assert np.abs(red - card[..., 1]).max() <= 6
    assert all(np.abs(channel - 128).max() <= 6 for channel in rest)


@pytest.mark.parametrize("syntax", NATIVE[:3], ids=lambda syntax: syntax.keyword)
def test_half_the_colours(syntax: uid.UID) -> None:
    ybr = to_ybr(colour_card())
    packed = np.empty((48, 64, 4), np.uint8)
    packed[..., 0], packed[..., 1] = ybr[:, ::2, 0], ybr[:, 1::2, 0]
    packed[..., 2], packed[..., 3] = ybr[:, ::2, 1], ybr[:, ::2, 2]
    dataset = dicom_header(ybr, "YBR_FULL_422")
    dataset.PixelData = packed.tobytes()
    dataset["PixelData"].VR = "OB"
    assert_card(decode(file_bytes(dataset, syntax)).pixels, 2)


@pytest.mark.parametrize("syntax", [s for s in LOSSLESS if not s.is_encapsulated], ids=lambda s: s.keyword)
def test_colour_by_plane(syntax: uid.UID) -> None:
    dataset = dicom_header(colour_card(), "RGB", PlanarConfiguration=1)
    dataset.PixelData = np.moveaxis(colour_card(), -1, 0).tobytes()
    dataset["PixelData"].VR = "OB"
    assert_card(decode(file_bytes(dataset, syntax)).pixels, 0)


@pytest.mark.parametrize("syntax", LOSSLESS[4:], ids=lambda syntax: syntax.keyword)
def test_a_wrong_planar_configuration_does_not_scramble_compressed_frames(syntax: uid.UID) -> None:
    coding = {"use_mct": False} if syntax == uid.JPEG2000Lossless else None
    data = make_dicom(colour_card(), syntax=syntax, photometric="RGB", coding=coding)
    element = b"\x28\x00\x06\x00US\x02\x00"
    assert element in data
    at = data.index(element) + len(element)
    assert_card(decode(data[:at] + b"\x01\x00" + data[at + 2 :]).pixels, 0)


def test_eight_bit_words_of_big_endian_files_are_swapped() -> None:
    scan = grey_scan()
    dataset = dicom_header(scan, "MONOCHROME2")
    dataset.PixelData = scan.view(np.uint16).byteswap().tobytes()
    dataset["PixelData"].VR = "OW"
    assert np.array_equal(decode(file_bytes(dataset, uid.ExplicitVRBigEndian)).pixels, scan)


def palettes(bits: int, *, spread: int = 1, first: int = 0) -> dict:
    found = {}
    for number, colour in enumerate(("Red", "Green", "Blue")):
        entries = np.array([one[number] for one in CARD_COLOURS]) * spread
        kind = "<u2" if bits == 16 else "u1"
        found[f"{colour}PaletteColorLookupTableDescriptor"] = [len(entries), first, bits]
        found[f"{colour}PaletteColorLookupTableData"] = entries.astype(kind).tobytes()
    return found


@pytest.mark.parametrize("syntax", [*NATIVE[:2], uid.RLELossless], ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize(
    "tables", [palettes(8), palettes(16, spread=257), palettes(16, spread=256), palettes(16)], ids=range(4)
)
def test_palettes(syntax: uid.UID, tables: dict) -> None:
    index = np.repeat(np.arange(8, dtype=np.uint8), 16)[None].repeat(48, axis=0)
    assert_card(decode(make_dicom(index, syntax=syntax, photometric="PALETTE COLOR", **tables)).pixels, 0)


def test_big_endian_palette() -> None:
    index = np.repeat(np.arange(8, dtype=np.uint8), 16)[None].repeat(48, axis=0)
    tables = palettes(16, spread=257)
    for keyword in [name for name in tables if name.endswith("Data")]:
        tables[keyword] = np.frombuffer(tables[keyword], "<u2").astype(">u2").tobytes()
    data = make_dicom(index, syntax=uid.ExplicitVRBigEndian, photometric="PALETTE COLOR", **tables)
    assert_card(decode(data).pixels, 0)


def test_palette_that_starts_later_holds_its_ends() -> None:
    index = np.repeat(np.arange(100, 108, dtype=np.uint8), 16)[None].repeat(48, axis=0)
    index[0, :2] = 0, 255
    pixels = decode(make_dicom(index, photometric="PALETTE COLOR", **palettes(8, first=100))).pixels
    assert_card(pixels, 0)
    assert pixels[0, :2].tolist() == [list(CARD_COLOURS[0]), list(CARD_COLOURS[-1])]


def segmented(words: list[int]) -> bytes:
    tables = {}
    for colour in ("Red", "Green", "Blue"):
        tables[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tables[f"Segmented{colour}PaletteColorLookupTableData"] = np.array(words, "<u2").tobytes()
    return make_dicom(grey_scan(), photometric="PALETTE COLOR", **tables)


def test_segmented_palette() -> None:
    assert np.array_equal(decode(segmented([0, 1, 0, 1, 255, 65535])).pixels, grey_scan())


def test_segmented_palette_unfolds_no_further_than_announced() -> None:
    assert refusal(segmented([0, 1, 0, *[1, 65535, 65535] * 9])) == "undecodable_image"
    assert refusal(segmented([0, 1, 0, 2, 1, 0, 0])) == "undecodable_image"


def test_monochrome1_is_inverted() -> None:
    scan = grey_scan()
    assert np.array_equal(decode(make_dicom(scan, photometric="MONOCHROME1")).pixels, 255 - scan)


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: syntax.keyword)
def test_window_of_the_standards_formula(syntax: uid.UID) -> None:
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    data = make_dicom(values, syntax=syntax, WindowCenter=["1000", "7"], WindowWidth=["501", "7"])
    pixels = decode(data).pixels.ravel()
    # PS3.3 C.11.2.1.2: black up to c - 0.5 - (w-1)/2 = 749.5, white beyond 1249.5.
    assert pixels[749] == 0
    assert pixels[1250] == 255
    assert pixels[1000] == round((0.5 / 500 + 0.5) * 255)


def test_a_window_over_all_values_changes_nothing() -> None:
    scan = grey_scan()
    assert np.array_equal(decode(make_dicom(scan, WindowCenter="128", WindowWidth="256")).pixels, scan)


def test_other_windows() -> None:
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    window = {"WindowCenter": "1000", "WindowWidth": "500"}
    exact = decode(make_dicom(values, VOILUTFunction="LINEAR_EXACT", **window)).pixels.ravel()
    assert (exact[750], exact[1000], exact[1250]) == (0, 128, 255)
    sigmoid = decode(make_dicom(values, VOILUTFunction="SIGMOID", **window)).pixels.ravel()
    assert (sigmoid[1000], sigmoid[1500]) == (128, round(255 / (1 + np.exp(-4))))


def test_rescale_comes_before_the_window() -> None:
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    rescaled = {"RescaleSlope": "2", "RescaleIntercept": "-1000", "WindowCenter": "0.5", "WindowWidth": "201"}
    pixels = decode(make_dicom(values, Modality="CT", **rescaled)).pixels.ravel()
    assert (pixels[450], pixels[500], pixels[550]) == (0, 128, 255)


def lut_item(entries: list[int], bits: int, first: int = 0) -> Sequence:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.LUTData = np.array(entries, "<u2").tobytes()
    item["LUTData"].VR = "OW"
    return Sequence([item])


@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("syntax", NATIVE[:2], ids=lambda syntax: syntax.keyword)
def test_look_up_tables(keyword: str, syntax: uid.UID) -> None:
    scan = grey_scan()
    data = make_dicom(scan, syntax=syntax, **{keyword: lut_item([4 * (255 - v) for v in range(256)], 10)})
    assert np.array_equal(decode(data).pixels, np.rint(4 * (255 - scan.astype(int)) / 1023 * 255))


def test_padding_is_black() -> None:
    values = grey_scan().astype(np.uint16) * 16
    values[:8] = 65000
    values[8:16] = 65010
    padding = {"PixelPaddingValue": 65010, "PixelPaddingRangeLimit": 65000}
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        pixels = decode(make_dicom(values, photometric=photometric, **padding)).pixels
        assert pixels[:16].max() == 0
        assert pixels[16:].min() > 0 or photometric == "MONOCHROME2"


def test_equal_channels_are_grey() -> None:
    scan = grey_scan()
    data = make_dicom(np.repeat(scan[..., None], 3, axis=2), photometric="RGB")
    assert np.array_equal(decode(data).pixels, scan)


def cine(count: int = 5) -> np.ndarray:
    return np.stack([grey_scan(seed=number) for number in range(count)])


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
def test_frames(syntax: uid.UID) -> None:
    frames = cine()
    data = make_dicom(frames, syntax=syntax, frames=5)
    middle, last = decode(data), decode(data, 5)
    assert (middle.frame, middle.frames, last.frame) == (3, 5, 5)
    assert np.array_equal(middle.pixels, frames[2])
    assert np.array_equal(last.pixels, frames[4])


def test_only_the_wanted_frame_is_decoded() -> None:
    frames = cine(3)
    dataset = dicom_header(frames, "MONOCHROME2", frames=3)
    good = pydicom.dcmread(BytesIO(make_dicom(frames[1], syntax=uid.JPEG2000Lossless)))
    coded = next(pydicom.encaps.generate_frames(good.PixelData, number_of_frames=1))
    dataset.PixelData = encapsulate([b"no codestream at all", coded, b"nor this"])
    dataset["PixelData"].VR = "OB"
    data = file_bytes(dataset, uid.JPEG2000Lossless)
    assert np.array_equal(decode(data, 2).pixels, frames[1])
    assert refusal(data, 1) == "undecodable_image"


@pytest.mark.parametrize(("count", "frame"), [(5, 6), (5, 0), (5, -1), (None, 0), (None, 2)])
def test_frames_that_are_not_there(count: int | None, frame: int) -> None:
    data = make_dicom(cine(5) if count else grey_scan(), **({"frames": count} if count else {}))
    assert refusal(data, frame) == "bad_frame"


@pytest.mark.parametrize("syntax", NATIVE[:3], ids=lambda syntax: syntax.keyword)
def test_data_sets_without_preamble(syntax: uid.UID) -> None:
    scan = grey_scan()
    assert np.array_equal(decode(make_dicom(scan, syntax=syntax, preamble=False)).pixels, scan)


def test_elements_that_careless_writers_leave_out() -> None:
    left_out = {"BitsStored": 8, "HighBit": None, "PixelRepresentation": None, "SamplesPerPixel": None}
    scan = grey_scan()
    assert np.array_equal(decode(make_dicom(scan, **left_out)).pixels, scan)
    assert_card(decode(make_dicom(colour_card(), photometric="RGB", PlanarConfiguration=None)).pixels, 0)


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_other_modalities_are_read(modality: str) -> None:
    decoded = decode(make_dicom(grey_scan().astype(np.int16), Modality=modality))
    assert decoded.header is not None
    assert decoded.header.modality == modality
    assert decoded.header.warnings == ()


REGIONS = {
    "largest": ([region_item((4, 4, 40, 40)), region_item((0, 8, 96, 60), 2)], Box(0, 8, 96, 60)),
    "tissue only": ([region_item((4, 4, 40, 40)), region_item((0, 0, 96, 64), 3)], Box(4, 4, 40, 40)),
    "flat only": ([region_item((4, 4, 40, 40)), region_item((0, 0, 96, 64), 1, 3)], Box(4, 4, 40, 40)),
    "one past the end": ([region_item((0, 0, 97, 65))], Box(0, 0, 96, 64)),
    "outside": ([region_item((0, 0, 99, 64))], None),
    "outside beside inside": ([region_item((0, 0, 99, 64)), region_item((4, 4, 40, 40))], Box(4, 4, 40, 40)),
    "inside out": ([region_item((60, 0, 20, 64))], None),
    "none of use": ([region_item((0, 0, 96, 64), 3)], None),
    "damaged": ([Dataset()], None),
}


@pytest.mark.parametrize("case", REGIONS)
@pytest.mark.parametrize("syntax", NATIVE[:3], ids=lambda syntax: syntax.keyword)
def test_scan_regions(case: str, syntax: uid.UID) -> None:
    items, box = REGIONS[case]
    header = decode(make_dicom(grey_scan(), syntax=syntax, SequenceOfUltrasoundRegions=Sequence(items))).header
    assert header is not None
    assert header.region == box
    assert bool(header.warnings) == (case in ("outside", "inside out"))


def test_pydicoms_own_colour_files() -> None:
    rows = [(255, 0, 0), (255, 128, 128), (0, 255, 0), (128, 255, 128), (0, 0, 255), (128, 128, 255), (0, 0, 0)]
    paths = sorted([*SAMPLES.glob("SC_rgb_dcmtk*"), *SAMPLES.glob("SC_rgb_gdcm*"), *SAMPLES.glob("SC_ybr*")])
    if not paths:
        pytest.skip("this pydicom comes without its test files")
    for path in paths:
        pixels = decode(path.read_bytes()).pixels.astype(int)
        assert np.abs(pixels[5:70:10, 50] - rows).max() <= 6, path.name


def test_whatever_pydicom_ships_is_read_or_refused() -> None:
    paths = [path for path in SAMPLES.rglob("*") if path.is_file()]
    if not paths:
        pytest.skip("this pydicom comes without its test files")
    for path in paths:
        with suppress(BadInput):
            assert decode(path.read_bytes()).pixels.dtype == np.uint8


def test_no_picture_in_it() -> None:
    dataset = dicom_header(grey_scan(), "MONOCHROME2", Modality="RTPLAN")
    for keyword in ("Rows", "Columns", "BitsAllocated"):
        del dataset[keyword]
    assert refusal(file_bytes(dataset, uid.ImplicitVRLittleEndian)) == "no_pixel_data"


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
def test_cut_short_anywhere(syntax: uid.UID) -> None:
    data = make_dicom(grey_scan(), syntax=syntax)
    for cut in np.linspace(132, len(data) - 200, 40).astype(int):
        assert refusal(data[:cut]) in ("undecodable_image", "no_pixel_data")


@pytest.mark.parametrize("syntax", [s for s in LOSSLESS if "JPEGLossless" not in s.keyword], ids=lambda s: s.keyword)
def test_damaged_anywhere(syntax: uid.UID) -> None:
    data = make_dicom(grey_scan(), syntax=syntax)
    random = np.random.default_rng(5)
    for _ in range(150):
        damaged = bytearray(data)
        for place in random.integers(132, min(len(data), 1200), 3):
            damaged[place] = random.integers(256)
        with suppress(BadInput):
            assert decode(bytes(damaged)).pixels.dtype == np.uint8


def test_limits_count_before_decoding() -> None:
    small = {"PixelData": b"\0\0"}
    data = file_bytes(_announcing(Rows=60_000, Columns=60_000, **small), uid.ExplicitVRLittleEndian)
    assert refusal(data) == "too_many_pixels"
    data = file_bytes(_announcing(NumberOfFrames=2001, **small), uid.ExplicitVRLittleEndian)
    assert refusal(data) == "too_many_frames"
    data = file_bytes(_announcing(Rows=16, Columns=60_000, **small), uid.ExplicitVRLittleEndian)
    assert refusal(data) == "image_too_long"
    data = file_bytes(_announcing(Rows=1, Columns=1, **small), uid.ExplicitVRLittleEndian)
    assert refusal(data) == "image_too_small"


def _announcing(**elements: object) -> Dataset:
    dataset = dicom_header(grey_scan(), "MONOCHROME2", **elements)
    dataset["PixelData"].VR = "OB"
    return dataset


def test_a_deflated_bomb_is_not_inflated() -> None:
    plain = make_dicom(grey_scan(), syntax=uid.DeflatedExplicitVRLittleEndian)
    start = plain.index(uid.DeflatedExplicitVRLittleEndian.encode()) + 22
    packer = zlib.compressobj(9, wbits=-15)
    bomb = packer.compress(bytes(100_000_000)) + packer.flush()
    with pytest.raises(TooLarge) as caught:
        decode(plain[:start] + bomb, max_bytes=10_000_000)
    assert caught.value.code == "image_too_large"


@pytest.mark.parametrize("syntax", LOSSLESS[5:], ids=lambda syntax: syntax.keyword)
def test_a_small_header_does_not_hide_a_large_codestream(syntax: uid.UID) -> None:
    data = make_dicom(grey_scan(256, 256), syntax=syntax)
    rows = b"\x28\x00\x10\x00US\x02\x00"
    at = data.index(rows) + len(rows)
    assert refusal(data[:at] + b"\x20\x00" + data[at + 2 :]) == "undecodable_image"


def test_a_jpeg_ls_frame_without_its_end_is_not_tried() -> None:
    # CharLS can search for seconds past a missing end of image.
    data = make_dicom(grey_scan(), syntax=uid.JPEGLSLossless)
    end = data.rindex(b"\xff\xd9")
    assert refusal(data[:end] + b"\x83" + data[end + 1 :]) == "undecodable_image"


def test_run_lengths_unfold_no_further_than_the_picture() -> None:
    segment = b"\x81\x07" * 2_000_000
    frame = np.array([1, 64, *[0] * 14], "<u4").tobytes() + segment
    dataset = dicom_header(grey_scan(), "MONOCHROME2")
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    assert (decode(file_bytes(dataset, uid.RLELossless)).pixels == 7).all()


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"photometric": "HSV"}, "unsupported_photometric"),
        ({"photometric": "RGB"}, "unsupported_photometric"),
        ({"HighBit": 15, "BitsStored": 8, "pixels": np.uint16}, "unsupported_depth"),
        ({"pixels": np.uint32}, "unsupported_depth"),
        ({"SamplesPerPixel": 2}, "undecodable_image"),
    ],
)
def test_descriptions_that_are_not_read(elements: dict, code: str) -> None:
    pixels = grey_scan().astype(elements.pop("pixels", np.uint8))
    assert refusal(make_dicom(pixels, **elements)) == code


@pytest.mark.parametrize("syntax", [uid.JPEG2000MC, "1.2.3.4", "1.2.840.113619.5.2", "no UID"])
def test_syntaxes_that_are_not_read(syntax: str) -> None:
    dataset = dicom_header(grey_scan(), "MONOCHROME2")
    dataset.PixelData = encapsulate([b"\0\0\0\0"])
    dataset["PixelData"].VR = "OB"
    data = file_bytes(dataset, uid.JPEG2000Lossless)
    named = uid.JPEG2000Lossless.encode().ljust(22, b"\0")
    assert named in data
    assert refusal(data.replace(named, syntax.encode().ljust(22, b"\0"), 1)) == "unsupported_transfer_syntax"


def test_video_is_not_read() -> None:
    dataset = dicom_header(grey_scan(), "MONOCHROME2")
    dataset.PixelData = encapsulate([b"\0\0\0\0"])
    dataset["PixelData"].VR = "OB"
    assert refusal(file_bytes(dataset, uid.MPEG4HP41)) == "unsupported_transfer_syntax"
