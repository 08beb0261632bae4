"""What a scanner draws around the scan: letters, marks, rulers and bars with black on all sides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from app.domain import Pixels
from app.images.sketch import Mask, Sketch

BRIGHT = 32
SHARP = 0.6

OVERLAY_RECIPE = f"{BRIGHT} {SHARP}"
SQUARE = np.ones((3, 3), bool)


def find_overlay(sketch: Sketch, scan: Mask) -> Mask:
    """Pixels (height, width) of sharp bright things beside the scan: they touch none of its cells or holes."""
    labels, count = ndimage.label(sketch.lit, SQUARE)
    held = _without_holes(scan).repeat(sketch.cell, axis=0).repeat(sketch.cell, axis=1)
    loose = np.bincount(labels[held], minlength=count + 1) == 0
    loose[0] = False
    blocks = _widened(_drawn(sketch, labels, loose))
    pixels = blocks.repeat(sketch.step, axis=0).repeat(sketch.step, axis=1)
    return pixels[: sketch.height, : sketch.width]


def _without_holes(scan: Mask) -> Mask:
    """The scan and every dark piece that does not reach the edge of the picture: cysts, bladders, shadows."""
    labels, count = ndimage.label(~scan)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    hole = np.bincount(border, minlength=count + 1) == 0
    filled: Mask = scan | hole[labels]
    return filled


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
