"""What a scanner draws around the scan: letters, marks, rulers and bars with black on all sides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from app.domain import Pixels
from app.images.hull import Points, fill_hull
from app.images.sketch import Mask, Sketch

BRIGHT = 32  # level: darker marks cannot be read
SHARP = 0.6  # rise over two blocks as a share of the peak: letters 0.9, echoes about half
HARSH = 90  # range within a cell that may hold a letter
MARGIN = 0.1  # of the picture's longer side

OVERLAY_RECIPE = f"{BRIGHT} {SHARP} {HARSH} {MARGIN}"
SQUARE = np.ones((3, 3), bool)


def find_overlay(sketch: Sketch, scan: Mask, hull: Points) -> Mask:
    """Pixels (height, width) of sharp bright things beside the scan, or in dark bays that open to its outside."""
    labels, count = ndimage.label(sketch.lit, SQUARE)
    held = (scan & (sketch.ranges < HARSH)) | _holes(scan) | _deep(scan.shape, hull)
    held = held.repeat(sketch.cell, axis=1).repeat(sketch.cell, axis=0)
    loose = np.bincount(labels[held], minlength=count + 1) == 0
    loose[0] = False
    blocks = _widened(_drawn(sketch, labels, loose))
    pixels = blocks.repeat(sketch.step, axis=1).repeat(sketch.step, axis=0)
    return pixels[: sketch.height, : sketch.width]


def _holes(scan: Mask) -> Mask:
    """Dark pieces that do not reach the edge of the picture: cysts, bladders, shadows."""
    labels, count = ndimage.label(~scan)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    enclosed = np.bincount(border, minlength=count + 1) == 0
    enclosed[0] = False
    holes: Mask = enclosed[labels]
    return holes


def _deep(shape: tuple[int, ...], hull: Points) -> Mask:
    """Cells deep inside the outline of the scan, where scanners write nothing but measurements."""
    outline = fill_hull(hull, 1, width=shape[1], height=shape[0])
    side = 2 * round(max(shape) * MARGIN) + 1
    for axis in (0, 1):
        outline = ndimage.minimum_filter1d(outline, side, axis=axis, mode="constant")
    return outline


def _drawn(sketch: Sketch, labels: NDArray[np.int32], loose: Mask) -> Mask:
    """Blocks of loose things whose edge is about as high as their brightest level: drawn, not scanned."""
    blocks = loose[labels]
    at, levels = labels[blocks], sketch.levels[blocks]
    peaks = np.zeros(loose.size, np.uint8)
    np.maximum.at(peaks, at, levels)
    edges = np.zeros(loose.size, np.uint8)
    np.maximum.at(edges, at, _rise(sketch.levels)[blocks])
    return ((peaks >= BRIGHT) & (edges >= SHARP * peaks))[labels] & blocks


def _rise(levels: Pixels) -> Pixels:
    """How far each block rises above the darkest of those two away in its row and column."""
    around = np.pad(levels, 2, mode="edge")
    across = np.minimum(around[2:-2, :-4], around[2:-2, 4:])
    along = np.minimum(around[:-4, 2:-2], around[4:, 2:-2])
    return levels - np.minimum(levels, np.minimum(across, along))


def _widened(blocks: Mask) -> Mask:
    """The blocks and their eight neighbours: letters have soft rims."""
    rows = blocks.copy()
    rows[1:] |= blocks[:-1]
    rows[:-1] |= blocks[1:]
    wide = rows.copy()
    wide[:, 1:] |= rows[:, :-1]
    wide[:, :-1] |= rows[:, 1:]
    return wide
