"""Where in a picture the scan is: the box around it, and which pixels inside the box are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from app.domain import Box, Pixels, RegionSource
from app.images.hull import Mask, fill_hull, hull_of
from app.images.overlay import OVERLAY_RECIPE, find_overlay
from app.images.sketch import SKETCH_RECIPE, sketch
from app.images.tissue import TISSUE_RECIPE, find_tissue

WHOLE = 0.97

REGION_RECIPE = f"region-1 {WHOLE} {SKETCH_RECIPE} {TISSUE_RECIPE} {OVERLAY_RECIPE}"


@dataclass(frozen=True)
class ScanRegion:
    """The scan in a picture: its box, and a mask of the box's size (True = keep; None = keep all)."""

    box: Box | None
    keep: Mask | None
    source: RegionSource


def detect_region(pixels: Pixels, within: Box | None = None) -> ScanRegion:
    """Find the scan in a picture (DETECTED, FULL_FRAME or NONE), or clean the box a DICOM header gives."""
    if within is not None:
        return _clean(pixels, within)
    drawing = sketch(_brightest(pixels))
    scan = find_tissue(drawing)
    if scan is None:
        return ScanRegion(None, None, RegionSource.NONE)
    hull = hull_of(scan)
    overlay = find_overlay(drawing, scan, hull)
    outline = fill_hull(hull, drawing.cell_pixels, drawing.width, drawing.height)
    if outline.mean() >= WHOLE and not overlay.any():
        return ScanRegion(Box(0, 0, drawing.width, drawing.height), None, RegionSource.FULL_FRAME)
    keep = outline & ~overlay
    if not keep.any():
        return ScanRegion(None, None, RegionSource.NONE)
    box = _bounds(keep)
    keep = _cut(keep, box)
    return ScanRegion(box, None if keep.all() else keep, RegionSource.DETECTED)


def crop_to_region(pixels: Pixels, region: ScanRegion) -> Pixels:
    """A copy of the box's pixels, zero where the mask says so; the whole picture where there is no box."""
    if region.box is None:
        return pixels.copy()
    crop = _cut(pixels, region.box).copy()
    if region.keep is not None:
        crop[~region.keep] = 0
    return crop


def _clean(pixels: Pixels, box: Box) -> ScanRegion:
    """The box as it is, with letters and marks beside the tissue masked; no mask where there are none."""
    drawing = sketch(_brightest(_cut(pixels, box)))
    scan = find_tissue(drawing)
    overlay = None if scan is None else find_overlay(drawing, scan, hull_of(scan))
    keep = None if overlay is None or not overlay.any() else ~overlay
    return ScanRegion(box, keep, RegionSource.DICOM)


def _brightest(pixels: Pixels) -> Pixels:
    """The brightest channel of each pixel: luma would hide dark blue letters."""
    if pixels.ndim == 2:
        return pixels
    red, green, blue = Image.fromarray(pixels).split()
    return np.asarray(ImageChops.lighter(ImageChops.lighter(red, green), blue))


def _cut(picture: NDArray[Any], box: Box) -> NDArray[Any]:
    """The part of a picture or mask that lies in a box, as a view."""
    return picture[box.y0 : box.y1, box.x0 : box.x1]


def _bounds(mask: Mask) -> Box:
    """The smallest box around a mask."""
    xs, ys = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return Box(int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1)
