"""How a DICOM header describes its frames: size, number, samples, bits, colour space."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from app.errors import BadInput
from app.images import header
from app.images.decoded import too_deep
from app.images.guard import undecodable
from app.images.limits import ReadLimits

PICTURE = ("PixelData", "Rows", "Columns", "BitsAllocated")
DEEPEST = 16


@dataclass(frozen=True, slots=True)
class Layout:
    """Size and number of frames, samples per pixel, bits, sign and colour space of the stored values."""

    width: int
    height: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    photometric: str


def read_layout(dataset: Dataset, limits: ReadLimits) -> Layout:
    """The layout, within the limits; raises BadInput ``no_pixel_data`` or TooLarge before any decoding."""
    if any(not dataset.get(keyword) for keyword in PICTURE):
        raise _no_pixels()
    _fill_gaps(dataset)
    limits.check_size(int(dataset.Columns), int(dataset.Rows))
    limits.check_frames(int(dataset.NumberOfFrames))
    layout = _layout(dataset)
    if layout.samples not in (1, 3) or layout.bits_allocated not in (1, 8, 16, 32):
        raise undecodable()
    if layout.bits_stored > DEEPEST or _is_shifted(dataset):
        raise too_deep()
    return layout


def _layout(dataset: Dataset) -> Layout:
    """The header's numbers as they stand."""
    return Layout(
        width=int(dataset.Columns),
        height=int(dataset.Rows),
        frames=int(dataset.NumberOfFrames),
        samples=int(dataset.SamplesPerPixel),
        bits_allocated=int(dataset.BitsAllocated),
        bits_stored=int(dataset.BitsStored),
        signed=dataset.PixelRepresentation == 1,
        photometric=header.text(dataset, "PhotometricInterpretation") or "",
    )


def _is_shifted(dataset: Dataset) -> bool:
    """Whether the values do not stand in the lowest bits, as the standard long wants it."""
    high = header.whole(dataset, "HighBit")
    return high is not None and high + 1 != dataset.BitsStored < dataset.BitsAllocated


def _no_pixels() -> BadInput:
    """The refusal of a plan, a report or a file whose end is missing."""
    return BadInput(
        "no_pixel_data",
        "the DICOM instance holds no picture",
        hint="send an image instance, not a report or a plan; an image may have been cut short",
    )


def _fill_gaps(dataset: Dataset) -> None:
    """Elements that careless writers leave out, with the value that they can only have meant."""
    dataset.NumberOfFrames = max(1, header.whole(dataset, "NumberOfFrames") or 1)
    for keyword, usual in (
        ("SamplesPerPixel", 1),
        ("PlanarConfiguration", 0),
        ("PixelRepresentation", 0),
        ("BitsStored", dataset.BitsAllocated),
    ):
        if header.whole(dataset, keyword) is None:
            setattr(dataset, keyword, usual)
