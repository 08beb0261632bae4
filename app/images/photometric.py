"""DICOM samples to display: each photometric interpretation to 8-bit grey or RGB, exactly once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from app.domain import Pixels
from app.errors import BadInput
from app.images.decoded import eight_bits
from app.images.grey_levels import grey_pixels
from app.images.lookup_table import LookupTable, read_table
from app.images.transfer import Samples

GREY = ("MONOCHROME1", "MONOCHROME2")
YBR = ("YBR_FULL", "YBR_FULL_422")
COLOURS = ("Red", "Green", "Blue")


def display_pixels(samples: Samples, dataset: Dataset) -> Pixels:
    """Grey (height, width) or RGB (height, width, 3); raises BadInput ``unsupported_photometric``."""
    channels = samples.values.ndim
    if channels == 2 and samples.photometric in GREY:
        return grey_pixels(samples, dataset)
    if channels == 2 and samples.photometric == "PALETTE COLOR":
        return _from_palette(samples, dataset)
    if channels == 3 and samples.photometric == "RGB":
        return eight_bits(_unsigned(samples.values), samples.bits)
    if channels == 3 and samples.photometric in YBR and samples.values.dtype == np.uint8:
        return _from_ybr(samples.values.astype(np.uint8))
    raise BadInput(
        "unsupported_photometric",
        "the DICOM instance is in a colour space that is not read here",
        hint="export it as MONOCHROME2, RGB, YBR_FULL, YBR_FULL_422, YBR_ICT, YBR_RCT or PALETTE COLOR",
    )


def _unsigned(values: NDArray[np.integer]) -> NDArray[np.unsignedinteger]:
    """Values without a sign, which colour never has."""
    return values.astype(np.uint8 if values.dtype.itemsize == 1 else np.uint16, copy=False)


def _from_palette(samples: Samples, dataset: Dataset) -> Pixels:
    """RGB through the three palettes (PS3.3 C.7.6.3.1.5)."""
    tables = (
        read_table(dataset, f"{colour}PaletteColorLookupTableDescriptor", f"{colour}PaletteColorLookupTableData")
        for colour in COLOURS
    )
    return np.stack([_high_byte(table)[table.positions(samples.values)] for table in tables], axis=-1)


def _high_byte(table: LookupTable) -> Pixels:
    """A palette's entries as 8 bits: writers repeat the byte or leave the low one zero, so the high one counts."""
    # Some announce 16 bits and store 8.
    shift = max(0, table.bits - 8) if table.entries.max() > 255 else 0
    return (table.entries >> shift).astype(np.uint8)


def _from_ybr(values: Pixels) -> Pixels:
    """RGB from full-range YCbCr of ITU-R 601 (PS3.3 C.7.6.3.1.2, the same as JFIF's)."""
    return np.asarray(Image.frombytes("YCbCr", values.shape[1::-1], values.tobytes()).convert("RGB"))
