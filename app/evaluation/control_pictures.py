"""Pictures that show only what an encoder should not decide by: marks, background, outline, size."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from app.domain import Box, Frame, Pixels, RegionSource
from app.images.hull import Mask, fill_hull, hull_of
from app.images.overlay import BRIGHT
from app.images.region import ScanRegion, detect_region

SIDE = 256
"""Side of the squares that show sizes, and marks under the common mask."""

_LINE = 0.01  # width of an outline as a share of its longer side
_RIM = 5  # letters have soft rims: two pixels around a mark are not background
_WHITE = 255


class Control(StrEnum):
    """What is left of a picture. All but ``CROPPED`` go to an encoder as they are, without the region step."""

    CROPPED = "cropped"
    FULL = "full frame"
    OVERLAYS = "overlays only"
    BACKGROUND = "background only"
    OUTLINE = "hull outline only"
    FILLED = "filled hull only"
    SIZE = "picture size only"
    ONE_MASK = "overlays under one mask"


MEANINGS = {
    Control.CROPPED: "the picture as the service reads it: cropped to the scan, blanked beside it",
    Control.FULL: "the whole stored picture, uncropped",
    Control.OVERLAYS: f"what lies beside the kept scan and is at least {BRIGHT} levels above the background, else black",
    Control.BACKGROUND: "what lies outside the scan's convex hull, without marks; hull and marks black",
    Control.OUTLINE: "the hull of the scan as a white line, cropped to it",
    Control.FILLED: "the hull of the scan filled with white, cropped to it",
    Control.SIZE: "a white rectangle of the stored picture's size on a square of the largest side of all",
    Control.ONE_MASK: "the overlays, every picture stretched to one square, blank where at least half of all pictures "
    "have their scan",
}


@dataclass(frozen=True, slots=True)
class Original:
    """A picture with its scan: ``full`` (h, w[, 3]), ``cropped`` as the service reads it, and masks (h, w).

    ``hull`` is the convex hull of what the region step keeps, ``kept`` that itself; ``box`` is around both.
    """

    full: Pixels
    cropped: Frame
    hull: Mask
    kept: Mask
    box: Box


def original_of(full: Pixels, cropped: Frame) -> Original:
    """Find the scan again in a whole picture that the service has cropped."""
    height, width = full.shape[:2]
    scan = _scan(full, cropped)
    box = scan.box or Box(0, 0, width, height)
    kept, hull = np.zeros((height, width), dtype=np.bool_), np.zeros((height, width), dtype=np.bool_)
    inside = np.ones((box.height, box.width), dtype=np.bool_) if scan.keep is None else scan.keep
    part = np.s_[box.y0 : box.y1, box.x0 : box.x1]
    kept[part] = inside
    # The hull is drawn through corners of pixels: what was kept belongs to it in any case.
    hull[part] = fill_hull(hull_of(inside), 1, box.width, box.height) | inside
    return Original(full, cropped, hull, kept, box)


def control_pictures(original: Original, largest: int) -> dict[Control, Pixels]:
    """Every control of a picture but ``ONE_MASK``; ``largest`` is the longest side of all pictures."""
    box = original.box
    hull = original.hull[box.y0 : box.y1, box.x0 : box.x1]
    return {
        Control.CROPPED: original.cropped.pixels,
        Control.FULL: original.full,
        Control.OVERLAYS: _only(original.full, marks_of(original)),
        Control.BACKGROUND: _only(original.full, ~original.hull & ~_widened(marks_of(original))),
        Control.OUTLINE: _white(_edge(hull)),
        Control.FILLED: _white(hull),
        Control.SIZE: size_picture(original.full.shape[1], original.full.shape[0], largest),
    }


def marks_of(original: Original) -> Mask:
    """Pixels (h, w) beside the kept scan that stand out from the background: letters, rulers, logos."""
    grey = _brightest(original.full)
    outside = grey[~original.hull]
    level = int(np.median(outside)) if outside.size else 0
    found: Mask = ~original.kept & (grey.astype(np.int16) >= level + BRIGHT)
    return found


def size_picture(width: int, height: int, largest: int) -> Pixels:
    """A white rectangle (width, height) in the middle of a black square, reduced by area to 256 x 256."""
    square = np.zeros((largest, largest), dtype=np.uint8)
    top, left = (largest - height) // 2, (largest - width) // 2
    square[top : top + height, left : left + width] = _WHITE
    return stretched(square)


def stretched(pixels: Pixels) -> Pixels:
    """A picture as luma (256, 256), by area, whatever its shape."""
    return np.asarray(Image.fromarray(pixels).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))


def _scan(full: Pixels, cropped: Frame) -> ScanRegion:
    facts = cropped.facts
    if facts.region_source is RegionSource.GIVEN:
        return ScanRegion(facts.region, None, RegionSource.GIVEN)
    return detect_region(full, facts.region if facts.region_source is RegionSource.DICOM else None)


def _only(pixels: Pixels, mask: Mask) -> Pixels:
    kept = np.zeros_like(pixels)
    kept[mask] = pixels[mask]
    return kept


def _brightest(pixels: Pixels) -> Pixels:
    return pixels if pixels.ndim == 2 else pixels.max(axis=2)


def _white(mask: Mask) -> Pixels:
    picture: Pixels = np.where(mask, np.uint8(_WHITE), np.uint8(0))
    return picture


def _edge(mask: Mask) -> Mask:
    """The rim of a mask, also where it meets the border of the picture."""
    width = max(1, round(_LINE * max(mask.shape)))
    around = np.pad(mask, width)
    inner = _filtered(around, ImageFilter.MinFilter(2 * width + 1))
    return (around & ~inner)[width:-width, width:-width]


def _widened(mask: Mask) -> Mask:
    return _filtered(mask, ImageFilter.MaxFilter(_RIM))


def _filtered(mask: Mask, by: ImageFilter.Filter) -> NDArray[np.bool_]:
    return np.asarray(Image.fromarray(_white(mask)).filter(by)) > 0
