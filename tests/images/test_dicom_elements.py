"""Walking DICOM elements: nesting in every encoding, and headers made to cost much."""

import struct
import time
import tracemalloc

import numpy as np
import pytest
from dicom_files import dicom_header, file_bytes, grey_scan, make_dicom, region_item
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from app.domain import Box
from app.errors import BadInput
from app.images.decoded import Decoded
from app.images.deidentify import Keyer
from app.images.dicom import decode_dicom
from app.images.limits import ReadLimits

KEYER = Keyer(b"k" * 32)
SIZE = 4_000_000
UNDEFINED = 0xFFFFFFFF
NATIVE = [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian]
ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
OPEN_ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED)
ITEM_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def decode(data: bytes) -> Decoded:
    return decode_dicom(data, keyer=KEYER, limits=ReadLimits())


def implicit(tag: int, value: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def explicit(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, size) + value


def before_pixels(extra: bytes, syntax: uid.UID = uid.ImplicitVRLittleEndian, **elements: object) -> bytes:
    """A sound instance with some more elements just before its pixels."""
    data = make_dicom(grey_scan(), syntax=syntax, **elements)
    at = data.rindex(b"\xe0\x7f\x10\x00")
    return data[:at] + extra + data[at:]


def filled(part: bytes) -> bytes:
    return part * (SIZE // len(part))


def nested(part: bytes) -> bytes:
    """A private element of undefined length that is full of a part."""
    return implicit(0x00191001, OPEN_ITEM + filled(part) + ITEM_END + SEQUENCE_END, UNDEFINED)


def palette() -> dict[str, object]:
    """Descriptors of palettes, and the data of two of them."""
    colours = ("Red", "Green", "Blue")
    descriptors = {f"{colour}PaletteColorLookupTableDescriptor": [256, 0, 8] for colour in colours}
    return descriptors | {f"{colour}PaletteColorLookupTableData": bytes(256) for colour in colours[1:]}


def overlapping() -> bytes:
    """Values of undefined length, each of which can be walked to the end of the file but never ends there."""
    start = explicit(0x00191001, b"OB", b"", UNDEFINED)
    return filled(start + ITEM[:4] + struct.pack("<L", len(SEQUENCE_END + start)) + SEQUENCE_END)


HOSTILE = {
    "a value of many numbers": before_pixels(implicit(0x00281050, filled(b"1\\"))),
    "many numbers of undefined length": before_pixels(implicit(0x00281050, filled(b"1\\") + SEQUENCE_END, UNDEFINED)),
    "a number that is a sequence": before_pixels(explicit(0x00281050, b"SQ", filled(ITEM)), NATIVE[1]),
    "many character sets": before_pixels(implicit(0x00080005, filled(b"\\"))),
    "nested character sets": before_pixels(
        implicit(0x00186011, ITEM[:4] + struct.pack("<L", 8 + SIZE) + implicit(0x00080005, filled(b"\\")))
    ),
    "a sequence of empty items": before_pixels(implicit(0x00186011, filled(ITEM))),
    "empty items of undefined length": before_pixels(implicit(0x00186011, filled(ITEM) + SEQUENCE_END, UNDEFINED)),
    "pixels that are a sequence": before_pixels(explicit(0x7FE00010, b"SQ", filled(ITEM)), NATIVE[1])[:-6200],
    "pixels that are words": before_pixels(explicit(0x7FE00010, b"UC", filled(b"\\")), NATIVE[1])[:-6200],
    "a palette that is text": before_pixels(
        explicit(0x00281201, b"UC", filled(b"\\")), NATIVE[1], photometric="PALETTE COLOR", **palette()
    ),
}
UNWANTED = {
    "empty items": nested(implicit(0x00191002, filled(ITEM)[:80] + SEQUENCE_END, UNDEFINED)),
    "elements": nested(implicit(0x00191002)),
    "items within items": implicit(0x00191001, filled(OPEN_ITEM + implicit(0x00191001, b"", UNDEFINED)), UNDEFINED),
    "elements outside": filled(implicit(0x00191002)),
}


def cost(data: bytes) -> tuple[str | None, float]:
    """The code of the refusal, if it is one, and the seconds of processor time."""
    start, code = time.process_time(), None
    try:
        decode(data)
    except BadInput as refused:
        code = refused.code
    return code, time.process_time() - start


@pytest.mark.parametrize("case", HOSTILE)
def test_headers_that_would_unfold_are_refused_at_once(case: str) -> None:
    code, seconds = cost(HOSTILE[case])
    assert code in ("undecodable_image", "no_pixel_data")
    assert seconds < 2


# Counting memory makes the long walk slow, and it keeps nothing.
@pytest.mark.parametrize("case", [case for case in HOSTILE if case != "empty items of undefined length"])
def test_and_take_little_memory(case: str) -> None:
    tracemalloc.start()
    try:
        cost(HOSTILE[case])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * SIZE


@pytest.mark.parametrize("case", UNWANTED)
def test_many_elements_that_nobody_wants_are_walked_or_refused(case: str) -> None:
    code, seconds = cost(before_pixels(UNWANTED[case] * 3))
    assert code == "undecodable_image"
    assert seconds < 2


def test_values_that_overlap_are_not_walked_again_and_again() -> None:
    code, seconds = cost(before_pixels(overlapping(), uid.ExplicitVRLittleEndian))
    assert code == "undecodable_image"
    assert seconds < 2


def test_many_fragments_are_refused() -> None:
    data = make_dicom(grey_scan(), syntax=uid.RLELossless)
    at = data.rindex(SEQUENCE_END)
    code, seconds = cost(data[:at] + filled(ITEM) + data[at:])
    assert code == "undecodable_image"
    assert seconds < 2


def test_a_huge_table_of_offsets_is_refused() -> None:
    data = make_dicom(grey_scan(), syntax=uid.RLELossless)
    at = data.rindex(b"\xe0\x7f\x10\x00") + 12
    assert data[at : at + 4] == ITEM[:4]
    table = int.from_bytes(data[at + 4 : at + 8], "little")
    hostile = data[:at] + ITEM[:4] + struct.pack("<L", SIZE) + bytes(SIZE) + data[at + 8 + table :]
    tracemalloc.start()
    try:
        code, _ = cost(hostile)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert code == "undecodable_image"
    assert peak < 2 * SIZE


def deep_header(undefined: bool) -> Dataset:
    """A header with sequences in sequences, wanted and unwanted, of known or of unknown length."""
    scan = grey_scan()
    inner, outer, other, table = Dataset(), Dataset(), Dataset(), Dataset()
    inner.PatientID, inner.CodeMeaning = "INNER", "BOTTOM"
    inner.is_undefined_length_sequence_item = outer.is_undefined_length_sequence_item = undefined
    outer.ReferencedPatientSequence = Sequence([inner, inner])
    other.PatientID, other.SourcePatientGroupIdentificationSequence = "O1", Sequence([inner])
    table.LUTDescriptor, table.LUTData = [256, 0, 8], np.arange(255, -1, -1, dtype="<u2").tobytes()
    table["LUTData"].VR = "OW"
    dataset = dicom_header(scan, "MONOCHROME2", PatientID="P1")
    for item in (other, table):
        item.is_undefined_length_sequence_item = undefined
    dataset.OriginalAttributesSequence = Sequence([outer, outer])
    dataset.OtherPatientIDsSequence = Sequence([other])
    dataset.VOILUTSequence = Sequence([table])
    dataset.SequenceOfUltrasoundRegions = Sequence([region_item((0, 0, 40, 40)), region_item((0, 8, 96, 60))])
    for element in dataset:
        element.is_undefined_length = undefined and element.VR == "SQ"
    dataset.PixelData = scan.tobytes()
    dataset["PixelData"].VR = "OB"
    return dataset


@pytest.mark.parametrize("syntax", NATIVE[:2], ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("undefined", [False, True])
def test_nested_sequences(syntax: uid.UID, undefined: bool) -> None:
    data = file_bytes(deep_header(undefined), syntax)
    assert (SEQUENCE_END in data) == undefined
    decoded = decode(data)
    assert np.array_equal(decoded.pixels, 255 - grey_scan())
    assert decoded.header is not None
    assert decoded.header.region == Box(0, 8, 96, 60)
    named = ("P1", "O1", "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2", "1.2.826.0.1.3680043.8.498.3")
    assert decoded.header.identity_keys == {KEYER.identity_key(one) for one in named}


def test_unknown_values_may_hold_implicit_items() -> None:
    item = implicit(0x00100020, b"INNER ")
    body = OPEN_ITEM + item + implicit(0x00081140, ITEM + SEQUENCE_END, UNDEFINED) + ITEM_END + SEQUENCE_END
    extra = explicit(0x00191001, b"UN", body, UNDEFINED)
    assert np.array_equal(decode(before_pixels(extra, uid.ExplicitVRLittleEndian)).pixels, grey_scan())


def test_a_value_of_undefined_length_without_items_ends_at_its_delimiter() -> None:
    extra = explicit(0x00191001, b"OB", b"no items at all " + SEQUENCE_END, UNDEFINED)
    assert np.array_equal(decode(before_pixels(extra, uid.ExplicitVRLittleEndian)).pixels, grey_scan())


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: syntax.keyword)
def test_items_have_the_character_set_of_their_own_or_of_the_instance(syntax: uid.UID) -> None:
    own, inherited = Dataset(), Dataset()
    own.SpecificCharacterSet, own.PatientID = "ISO_IR 100", "M\u00fcller"
    inherited.PatientID = "\u0416\u0443\u043a"
    elements = {"SpecificCharacterSet": "ISO_IR 192", "OtherPatientIDsSequence": Sequence([own, inherited])}
    header = decode(make_dicom(grey_scan(), syntax=syntax, PatientID="\u0160", **elements)).header
    assert header is not None
    assert header.patient_key == KEYER.patient_key("\u0160")
    assert {KEYER.identity_key("M\u00fcller"), KEYER.identity_key("\u0416\u0443\u043a")} <= header.identity_keys
