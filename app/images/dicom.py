"""A DICOM instance into 8-bit pixels of one frame, and the little that is kept of its header."""

from __future__ import annotations

from dataclasses import replace

from pydicom.dataset import Dataset

from app.images.decoded import Decoded, pick_frame, without_false_colour
from app.images.deidentify import KeptHeader, Keyer, keep_header
from app.images.dicom_file import parse_dicom
from app.images.guard import guarded
from app.images.layout import Layout, read_layout
from app.images.limits import ReadLimits
from app.images.photometric import display_pixels
from app.images.scan_regions import header_region
from app.images.transfer import decode_samples

DICOM_RECIPE = "dicom-1"
"""Change it whenever the same instance would give other pixels."""


def decode_dicom(data: bytes, *, keyer: Keyer, limits: ReadLimits, frame: int | None = None) -> Decoded:
    """Decode one frame (default the middle one); raises BadInput or TooLarge, never with a header's words."""
    return guarded(lambda: _decode(data, keyer, limits, frame))


def _decode(data: bytes, keyer: Keyer, limits: ReadLimits, frame: int | None) -> Decoded:
    """Parse, check the limits, decode the one frame, convert its colours, keep the header's facts."""
    dataset = parse_dicom(data, limits)
    layout = read_layout(dataset, limits)
    chosen = pick_frame(frame, layout.frames)
    samples = decode_samples(dataset, layout, (chosen or 1) - 1)
    pixels = without_false_colour(display_pixels(samples, dataset))
    return Decoded(pixels, chosen, layout.frames, _kept(dataset, layout, keyer))


def _kept(dataset: Dataset, layout: Layout, keyer: Keyer) -> KeptHeader:
    """The header's facts with its scan region and what there is to warn of."""
    region, warnings = header_region(dataset, layout.width, layout.height)
    return replace(keep_header(dataset, keyer), region=region, warnings=warnings)
