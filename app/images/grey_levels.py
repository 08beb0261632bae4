"""Stored grey values of DICOM to display: modality LUT, VOI LUT or window, full range, polarity, padding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from app.domain import Pixels
from app.images import header
from app.images.lookup_table import LookupTable, read_table
from app.images.transfer import Samples

Reals = NDArray[np.float64]

UNCHANGED = np.arange(256, dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Levels:
    """Values and the range that they can take."""

    values: Reals
    low: float
    high: float


def grey_pixels(samples: Samples, dataset: Dataset) -> Pixels:
    """8-bit grey (height, width) of MONOCHROME samples (PS3.3 C.11.1, C.11.2); never a stretch per image."""
    low = -(2 ** (samples.bits - 1)) if samples.signed else 0
    stored = np.arange(low, low + 2**samples.bits)
    table = _shown(stored, dataset, samples.photometric == "MONOCHROME1")
    if samples.values.dtype == np.uint8 and np.array_equal(table, UNCHANGED):
        return samples.values.view(np.uint8)
    # All possible values are few: the whole chain runs once on them, and the picture only looks them up.
    positions = samples.values.astype(np.int32) - low if samples.signed else samples.values
    shown: Pixels = np.take(table, positions, mode="clip")
    return shown


def _shown(stored: NDArray[np.integer], dataset: Dataset, inverted: bool) -> Pixels:
    """What each stored value looks like."""
    levels = _voi(_modality(stored, dataset), dataset)
    share = np.clip((levels.values - levels.low) / (levels.high - levels.low), 0, 1)
    shown = np.rint(255 * (1 - share if inverted else share)).astype(np.uint8)
    shown[_is_padding(stored, dataset)] = 0
    return shown


def _modality(stored: NDArray[np.integer], dataset: Dataset) -> Levels:
    """Stored values through the modality LUT or rescale."""
    table = _first_table(dataset, "ModalityLUTSequence")
    if table is not None:
        return Levels(table.look_up(stored), 0, table.top)
    slope = header.number(dataset, "RescaleSlope") or 1.0
    intercept = header.number(dataset, "RescaleIntercept") or 0.0
    values: Reals = stored.astype(np.float64) * slope + intercept
    return Levels(values, float(values.min()), float(values.max()))


def _voi(levels: Levels, dataset: Dataset) -> Levels:
    """Values through the first VOI LUT or window, as a share 0..1 of what is shown; unchanged without one."""
    table = _first_table(dataset, "VOILUTSequence")
    if table is not None:
        return Levels(table.look_up(np.rint(levels.values).astype(np.int64)), 0, table.top)
    centre, width = header.number(dataset, "WindowCenter"), header.number(dataset, "WindowWidth")
    if centre is None or width is None or width <= 0:
        return levels
    kind = header.text(dataset, "VOILUTFunction") or "LINEAR"
    return Levels(_windowed(levels.values, centre, width, kind), 0, 1)


def _windowed(values: Reals, centre: float, width: float, kind: str) -> Reals:
    """A window's share of full brightness (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    if kind == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if kind == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if width <= 1:
        return (values > centre - 0.5).astype(np.float64)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def _first_table(dataset: Dataset, keyword: str) -> LookupTable | None:
    """The first look-up table of a sequence that holds some."""
    tables = header.items(dataset, keyword)
    return read_table(tables[0], "LUTDescriptor", "LUTData") if tables else None


def _is_padding(stored: NDArray[np.integer], dataset: Dataset) -> NDArray[np.bool_]:
    """Which stored values are padding around the picture (PS3.3 C.7.5.1.1.2)."""
    first = header.whole(dataset, "PixelPaddingValue")
    if first is None:
        return np.zeros(stored.shape, bool)
    last = header.whole(dataset, "PixelPaddingRangeLimit")
    last = first if last is None else last
    return (stored >= min(first, last)) & (stored <= max(first, last))
