"""The bytes of a DICOM file as a pydicom data set that holds only the elements we look at."""

from __future__ import annotations

import zlib
from io import BytesIO

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from app.images.deidentify import HEADER_KEYWORDS
from app.images.guard import undecodable
from app.images.limits import ReadLimits
from app.images.scan_regions import SEQUENCE

PIXEL_KEYWORDS = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue"),
    *("PixelPaddingRangeLimit", "RescaleIntercept", "RescaleSlope", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *(
        f"{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for part in ("Descriptor", "Data")
    ),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData"),
)
WANTED: list[BaseTag | int] = [
    tag for tag in map(tag_for_keyword, (*HEADER_KEYWORDS, SEQUENCE, *PIXEL_KEYWORDS)) if tag is not None
]


def parse_dicom(data: bytes, limits: ReadLimits) -> Dataset:
    """The wanted elements, with ``file_meta.TransferSyntaxUID`` set; pydicom's errors come through."""
    stream = BytesIO(data)
    read_preamble(stream, force=True)
    meta = _read_meta(stream)
    syntax = UID(str(meta.get("TransferSyntaxUID", "") or _guess_syntax(stream)))
    if syntax == DeflatedExplicitVRLittleEndian:
        stream = BytesIO(_inflate(stream.read(), limits))
        syntax = ExplicitVRLittleEndian
    dataset = read_dataset(stream, *_encoding(syntax), specific_tags=WANTED)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def _read_meta(stream: BytesIO) -> Dataset:
    """The file meta information (group 2); empty where there is none."""
    return read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)


def _guess_syntax(stream: BytesIO) -> UID:
    """The uncompressed transfer syntax that the first element of a file without one is written in."""
    start = stream.read(6)
    stream.seek(-len(start), 1)
    if not start[4:6].isalpha():
        return ImplicitVRLittleEndian
    return ExplicitVRBigEndian if start[:1] == b"\0" else ExplicitVRLittleEndian


def _encoding(syntax: UID) -> tuple[bool, bool]:
    """Whether a syntax has implicit VRs and whether it is little endian; all but two are explicit and little."""
    return syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian


def _inflate(packed: bytes, limits: ReadLimits) -> bytes:
    """A deflated data set, inflated no further than the limit on bytes."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(packed, limits.max_bytes + 1)
    limits.check_bytes(len(plain))
    if not inflater.eof:
        raise undecodable()
    return plain
