"""Pictures that hold everything but the anatomy: what an encoder may find labels by without looking at the scan."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageFilter

from app.domain import Pixels
from app.images.hull import Mask, fill_hull, hull_of
from app.images.region import ScanRegion

_WHITE = 255
_LINE = 3  # pixels that an outline is wide
_NEAR = 16  # levels that the background may differ from its most frequent one
SHARED_SIDE = 256
_MARGIN = 4  # cells of 256 by which a shared mask is wider than the scans


def scan_mask(pixels: Pixels, scan: ScanRegion) -> Mask:
    """Where in a whole picture the scan is (height, width); marks on it count as outside."""
    mask = np.zeros(pixels.shape[:2], dtype=np.bool_)
    if scan.box is not None:
        box = scan.box
        mask[box.y0 : box.y1, box.x0 : box.x1] = True if scan.keep is None else scan.keep
    return mask


def hull_mask(inside: Mask) -> Mask:
    """The convex hull of a mask, as a mask."""
    height, width = inside.shape
    if not inside.any():
        return inside.copy()
    return fill_hull(hull_of(inside), 1, width, height)


def grey(pixels: Pixels) -> Pixels:
    """Luma (ITU-R 601) of a grey or RGB picture."""
    return pixels if pixels.ndim == 2 else np.asarray(Image.fromarray(pixels).convert("L"))


def overlays(pixels: Pixels, scan: Mask) -> Pixels:
    """A grey picture without its scan: letters, logos and rulers, and whatever the background is."""
    return np.where(scan, 0, grey(pixels)).astype(np.uint8)


def background(pixels: Pixels, scan: Mask) -> Pixels:
    """A grey picture without its scan and without marks: the background's levels, and its size."""
    levels = grey(pixels)
    outside = levels[~scan]
    level = int(np.bincount(outside, minlength=256).argmax()) if outside.size else 0
    plain = ~scan & (np.abs(levels.astype(np.int16) - level) <= _NEAR)
    return np.where(plain, levels, level).astype(np.uint8)


def hull_filled(inside: Mask) -> Pixels:
    """The hull of a scan, white on black."""
    return np.where(hull_mask(inside), _WHITE, 0).astype(np.uint8)


def hull_outline(inside: Mask) -> Pixels:
    """The outline of the hull of a scan, white on black."""
    hull = hull_mask(inside)
    framed = np.pad(hull, _LINE)  # the edge of the picture ends the hull too
    core = _filtered(framed, ImageFilter.MinFilter(2 * _LINE + 1))[_LINE:-_LINE, _LINE:-_LINE]
    return np.where(hull & ~core, _WHITE, 0).astype(np.uint8)


def picture_size(width: int, height: int, side: int) -> Pixels:
    """A white rectangle of a picture's size in the middle of a black square, whose side is common to all."""
    square = np.zeros((side, side), dtype=np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = _WHITE
    return square


def shared_mask(masks: Iterable[Mask]) -> Mask:
    """What any of some scans covers (256, 256), each stretched to the unit square, and a little more."""
    shared = np.zeros((SHARED_SIDE, SHARED_SIDE), dtype=np.bool_)
    for mask in masks:
        shared |= _resized(hull_mask(mask), SHARED_SIDE, SHARED_SIDE)
    return _filtered(shared, ImageFilter.MaxFilter(2 * _MARGIN + 1))


def under_shared_mask(pixels: Pixels, shared: Mask) -> Pixels:
    """A whole grey picture, black wherever any picture of the library may have its scan: no outline is left."""
    height, width = pixels.shape[:2]
    return np.where(_resized(shared, width, height), 0, grey(pixels)).astype(np.uint8)


def _filtered(mask: Mask, by: ImageFilter.RankFilter) -> Mask:
    return np.asarray(Image.fromarray(mask.astype(np.uint8) * _WHITE).filter(by)) > 0


def _resized(mask: Mask, width: int, height: int) -> Mask:
    """A mask of another size, True where any of what it covers is."""
    small = Image.fromarray(mask.astype(np.uint8) * _WHITE).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(small) > 0
