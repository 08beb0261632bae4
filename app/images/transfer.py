"""One frame of a DICOM instance out of its transfer syntax: the samples, and the colour space they are in."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder

from app.errors import BadInput
from app.images.coded_frame import check_coded_size, check_end, jpeg_component_ids, jpeg_precision
from app.images.decoded import too_deep
from app.images.guard import undecodable
from app.images.layout import Layout
from app.images.run_length import decode_run_lengths

NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)
JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
PLUGINS = {
    uid.JPEGLossless: "gdcm",
    uid.JPEGLosslessSV1: "gdcm",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEG2000: "pylibjpeg",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.HTJ2KLosslessRPCL: "pylibjpeg",
    uid.HTJ2K: "pylibjpeg",
}
"""One decoder for each syntax, all under permissive licences: a second try would give other pixels."""

LONGEST_OFFSETS = 2**16
"""Bytes of a basic offset table that are read even where there are fewer frames."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Decoded values (height, width) or (height, width, 3) in ``photometric``, of ``bits`` significant bits."""

    values: NDArray[np.integer]
    photometric: str
    bits: int
    signed: bool = False


def decode_samples(dataset: Dataset, layout: Layout, index: int) -> Samples:
    """Decode the frame at ``index`` (from 0) and no other; decoders' own errors come through."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in NATIVE:
        return _with_pydicom(dataset, layout, index, "")
    if syntax not in (*JPEG, uid.RLELossless, *PLUGINS):
        raise _unsupported()
    coded = _coded_frame(dataset, layout, index)
    if syntax == uid.RLELossless:
        return _from_run_lengths(coded, layout)
    check_coded_size(coded, layout.width, layout.height, layout.samples)
    if syntax in JPEG:
        return _from_jpeg(coded, layout)
    if PLUGINS[syntax] == "pyjpegls":
        check_end(coded)
    return _with_pydicom(dataset, layout, index, PLUGINS[syntax])


def _unsupported() -> BadInput:
    """The refusal of a transfer syntax that is not decoded here."""
    return BadInput(
        "unsupported_transfer_syntax",
        "the DICOM instance is video or in a transfer syntax that is not read here",
        hint="export it uncompressed, or as RLE, JPEG, JPEG-LS or JPEG 2000",
    )


def _coded_frame(dataset: Dataset, layout: Layout, index: int) -> bytes:
    """The compressed bytes of one frame."""
    # The first item holds an offset for each frame, or nothing: a huge one would become a list of numbers.
    if int.from_bytes(dataset.PixelData[4:8], "little") > max(LONGEST_OFFSETS, 4 * layout.frames):
        raise undecodable()
    offsets = [dataset.get(name) for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")]
    return get_frame(
        dataset.PixelData,
        index,
        number_of_frames=layout.frames,
        extended_offsets=(offsets[0], offsets[1]) if all(offsets) else None,
    )


def _from_run_lengths(coded: bytes, layout: Layout) -> Samples:
    """RLE Lossless."""
    shape = (layout.height, layout.width, layout.samples)
    values: NDArray[np.integer] = decode_run_lengths(coded, shape, layout.bits_allocated // 8)
    if layout.signed:
        values = values.view(f"i{values.itemsize}")
    return _described(values[..., 0] if layout.samples == 1 else values, layout, layout.photometric)


def _from_jpeg(coded: bytes, layout: Layout) -> Samples:
    """JPEG baseline and 8-bit extended, through Pillow; grey as it is, colour as RGB.

    libjpeg converts YCbCr to RGB by itself; where the codestream is silent and the header says RGB, the
    components are taken unconverted.
    """
    if jpeg_precision(coded) != 8:
        raise too_deep()
    with Image.open(BytesIO(coded), formats=["JPEG"]) as image:
        if layout.samples == 3 and _is_plain_rgb(image, coded, layout.photometric):
            image.draft("YCbCr", image.size)
        values = np.asarray(image)
    return Samples(values, "RGB" if layout.samples == 3 else layout.photometric, 8)


def _is_plain_rgb(image: Image.Image, coded: bytes, photometric: str) -> bool:
    """Whether a JPEG without any marker of its colour space is RGB by its header."""
    marked = "jfif" in image.info or "adobe_transform" in image.info
    return photometric == "RGB" and not marked and jpeg_component_ids(coded) not in (b"RGB", b"rgb")


def _with_pydicom(dataset: Dataset, layout: Layout, index: int, plugin: str) -> Samples:
    """Native syntaxes and those with a codec of their own, without any conversion of colour."""
    if plugin:
        # Codecs give colour by pixel; a header that says otherwise would scramble the picture.
        dataset.PlanarConfiguration = 0
        _quiet_gdcm()
    values, found = get_decoder(dataset.file_meta.TransferSyntaxUID).as_array(
        dataset, index=index, raw=True, decoding_plugin=plugin
    )
    if not np.issubdtype(values.dtype, np.integer):
        raise undecodable()
    return _described(values, layout, str(found["photometric_interpretation"]))


def _quiet_gdcm() -> None:
    """GDCM writes to the process's standard error unless it is told not to."""
    import gdcm

    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()


def _described(values: NDArray[np.integer], layout: Layout, photometric: str) -> Samples:
    """Samples with the bits and the sign that the header gives."""
    return Samples(values, photometric, layout.bits_stored, layout.signed)
