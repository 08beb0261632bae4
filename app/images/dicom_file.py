"""The bytes of a DICOM file as a pydicom data set that holds only the elements we look at."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import cast

from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement, empty_value_for_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.values import convert_string

from app.images.deidentify import HEADER_KEYWORDS
from app.images.dicom_elements import UNDEFINED, Element, Walk
from app.images.guard import undecodable
from app.images.limits import ReadLimits
from app.images.scan_regions import REGION_KEYWORDS, SEQUENCE

TABLE_KEYWORDS = (
    *(f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
    *("LUTData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)
PIXEL_KEYWORDS = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue"),
    *("PixelPaddingRangeLimit", "RescaleIntercept", "RescaleSlope", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in ("Red", "Green", "Blue")),
    "PixelData",
)
ITEM_KEYWORDS = ("PatientID", "LUTDescriptor", "LUTData", *REGION_KEYWORDS)

SYNTAX, CHARACTER_SET, PIXELS = 0x00020010, 0x00080005, 0x7FE00010
LONGEST_VALUE, LONGEST_TABLE = 2**14, 2**18
"""Bytes of a value and of a look-up table: ten times what real headers have, and cheap to convert."""
MOST_ITEMS, MOST_CHARACTER_SETS = 1000, 16


def _tags(*keywords: str) -> frozenset[int]:
    """The tags of some keywords."""
    return frozenset(tag for tag in map(tag_for_keyword, keywords) if tag is not None)


WANTED = _tags(*HEADER_KEYWORDS, SEQUENCE, *PIXEL_KEYWORDS, *TABLE_KEYWORDS) | {CHARACTER_SET}
WANTED_IN_ITEMS = _tags(*ITEM_KEYWORDS) | {CHARACTER_SET}
SEQUENCES = frozenset(tag for tag in WANTED if dictionary_VR(tag) == "SQ")
TABLES = _tags(*TABLE_KEYWORDS)


def parse_dicom(data: bytes, limits: ReadLimits) -> Dataset:
    """The wanted elements, with ``file_meta.TransferSyntaxUID`` set; pydicom's errors come through."""
    syntax, start = _read_meta(data)
    if syntax == DeflatedExplicitVRLittleEndian:
        data, start = _inflate(data[start:], limits), 0
        syntax = ExplicitVRLittleEndian
    walk = Walk(data, start, little=syntax != ExplicitVRBigEndian)
    dataset = _data_set(walk, start, len(data), WANTED, default_encoding)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def _read_meta(data: bytes) -> tuple[UID, int]:
    """The transfer syntax and where the data set starts: after preamble and group 2, where there are any."""
    start = 132 if data[128:132] == b"DICM" else 0
    name = b""
    for element in Walk(data, start, little=True).elements(start, len(data)):
        if element.tag >> 16 != SYNTAX >> 16:
            break
        start = element.after
        if element.tag == SYNTAX:
            name = data[element.start : min(element.stop, element.start + 64)]
    return UID(name.decode("latin-1").strip(" \0") or _guess_syntax(data[start : start + 6])), start


def _guess_syntax(start: bytes) -> UID:
    """The uncompressed transfer syntax that the first element of a file without one is written in."""
    if not start[4:6].isalpha():
        return ImplicitVRLittleEndian
    return ExplicitVRBigEndian if start[:1] == b"\0" else ExplicitVRLittleEndian


def _inflate(packed: bytes, limits: ReadLimits) -> bytes:
    """A deflated data set, inflated no further than the limit on bytes."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(packed, limits.max_bytes + 1)
    limits.check_bytes(len(plain))
    if not inflater.eof:
        raise undecodable()
    return plain


def _data_set(walk: Walk, start: int, end: int, wanted: frozenset[int], encoding: str | list[str]) -> Dataset:
    """The wanted elements between two positions, unconverted, and the items of wanted sequences likewise."""
    found = {element.tag: element for element in walk.elements(start, end) if element.tag in wanted}
    encoding = _encoding(walk, found) or encoding
    plain = [element for tag, element in found.items() if tag not in SEQUENCES]
    dataset = Dataset({BaseTag(element.tag): _raw(walk, element) for element in plain})
    dataset.set_original_encoding(walk.implicit, walk.little, encoding)
    for tag in SEQUENCES & found.keys():
        dataset[tag] = DataElement(tag, "SQ", _sequence(walk, found[tag], encoding))
    return dataset


def _encoding(walk: Walk, found: Mapping[int, Element]) -> list[str] | None:
    """The encodings that (0008,0005) names; None where it is absent."""
    if CHARACTER_SET not in found:
        return None
    names = _raw(walk, found[CHARACTER_SET]).value or b""
    if names.count(b"\\") >= MOST_CHARACTER_SETS:
        raise undecodable()
    return convert_encodings(convert_string(names, walk.little))


def _raw(walk: Walk, element: Element) -> RawDataElement:
    """An element for pydicom to convert when it is asked for; BadInput where that could cost much."""
    _check(element)
    empty = cast("bytes | None", empty_value_for_VR(element.vr, raw=True))
    value = walk.data[element.start : element.stop] or empty
    tag, little = BaseTag(element.tag), walk.little
    return RawDataElement(tag, element.vr, element.length, value, element.start, walk.implicit, little)


def _check(element: Element) -> None:
    """Raise BadInput for values of a length or kind that no scanner writes there."""
    if element.tag == PIXELS:
        fair = element.vr in (None, "UN") or element.vr.startswith("O")
    else:
        longest = LONGEST_TABLE if element.tag in TABLES else LONGEST_VALUE
        fair = element.length <= longest and element.vr != "SQ" and element.length != UNDEFINED
    if not fair:
        raise undecodable()


def _sequence(walk: Walk, element: Element, encoding: str | list[str]) -> Sequence:
    """The items of a sequence."""
    items = []
    for start, stop in walk.items(element.start, element.stop):
        items.append(_data_set(walk, start, stop, WANTED_IN_ITEMS, encoding))
        if len(items) > MOST_ITEMS:
            raise undecodable()
    return Sequence(items)
