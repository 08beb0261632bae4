"""A reduced copy of a picture, on which the scan is looked for: what is lit, and how each cell is filled."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from app.domain import Pixels

Mask = NDArray[np.bool_]
Shares = NDArray[np.float32]

FINE = 400  # blocks a side: letters of 9 pixels in a 1600 pixel picture are still two blocks high
GRID = 128  # cells a side
APART = 256  # flatness is judged over 1/256 of the picture, so that an enlarged scan is not flat
DARKEST = 32  # black may be 16 in video, 13 was seen in real files
BLACK = 0.01  # share of the picture that flat black covers at least
PAINT = 0.02  # share of the picture that a flat colour covers at least
CONTRAST = 4  # levels above black; JPEG ringing is below, the floor of dim scans above

SKETCH_RECIPE = f"{FINE} {GRID} {APART} {DARKEST} {BLACK} {PAINT} {CONTRAST}"


@dataclass(frozen=True)
class Sketch:
    """A picture in blocks of ``step`` pixels (about 400 a side at most), in cells of ``cell`` blocks (about 128).

    Per block: ``samples``, its first pixel, ``levels``, its brightest, and ``lit``, whether any of its pixels
    differs from the background.
    Per cell: ``filled``, the share of lit pixels, ``flat``, the share of pixels that equal those 1/256 of
    the picture to their left and right (both 0..1), ``peaks``, the brightest level,
    and ``ranges``, the brightest less the darkest level.
    """

    width: int
    height: int
    step: int
    cell: int
    samples: Pixels
    levels: Pixels
    lit: Mask
    filled: Shares
    flat: Shares
    peaks: Pixels
    ranges: Pixels

    @property
    def cell_pixels(self) -> int:
        """The side of a cell in pixels of the picture."""
        return self.step * self.cell


def sketch(grey: Pixels) -> Sketch:
    """Reduce a grey picture (height, width)."""
    height, width = grey.shape
    longest = max(height, width)
    step = -(-longest // FINE)
    cell = max(2, round(longest / step / GRID))
    grey = _whole_cells(grey, step * cell)
    flat = _flat(grey[::step], max(1, round(longest / APART)))
    counts = _sums(_lit(grey, flat, step).astype(np.uint16), step)
    levels = _pooled(grey, step, np.maximum)
    peaks = _pooled(levels, cell, np.maximum)
    return Sketch(
        width=width,
        height=height,
        step=step,
        cell=cell,
        samples=grey[::step, ::step],
        levels=levels,
        lit=counts > 0,
        filled=_share(_sums(counts, cell), (step * cell) ** 2),
        flat=_share(_sums(_columns(flat, step), cell), step * cell**2),
        peaks=peaks,
        ranges=peaks - _pooled(grey, step * cell, np.minimum),
    )


def _whole_cells(grey: Pixels, side: int) -> Pixels:
    """The picture, with its last row and column repeated until it holds whole cells of ``side`` pixels."""
    height, width = grey.shape
    if height % side == 0 and width % side == 0:
        return grey
    return np.pad(grey, ((0, -height % side), (0, -width % side)), mode="edge")


def _flat(rows: Pixels, apart: int) -> Mask:
    """Pixels that equal both pixels ``apart`` columns away in their row."""
    same = rows[:, apart:] == rows[:, :-apart]
    flat = np.zeros(rows.shape, bool)
    flat[:, apart:-apart] = same[:, apart:] & same[:, :-apart]
    return flat


def _lit(grey: Pixels, flat: Mask, step: int) -> Mask:
    """Pixels that differ from the background: the black around a scan and the flat paint of a screen."""
    shares = np.bincount(grey[::step][flat], minlength=256) / flat.size
    black = _black(shares)
    lit = grey > black + CONTRAST
    paint = np.flatnonzero(shares > PAINT)
    paint = paint[paint > max(DARKEST, black + CONTRAST)]
    return lit & ~_painted(grey, paint) if paint.size else lit


def _painted(grey: Pixels, paint: NDArray[np.intp]) -> Mask:
    """Pixels in a run of three or more along a row that have a paint's level, give or take one."""
    table = np.zeros(256, bool)
    table[np.clip(paint[:, None] + (-1, 0, 1), 0, 255)] = True
    alike = table[grey]
    middle = alike[:, 2:] & alike[:, 1:-1] & alike[:, :-2]
    painted = np.zeros_like(alike)
    for first in range(3):
        painted[:, first : first + middle.shape[1]] |= middle
    return painted


def _black(shares: NDArray[np.float64]) -> int:
    """The level of the black: the lowest peak among the levels of flat areas, 0 where there is none."""
    levels = np.flatnonzero(shares[:DARKEST] > BLACK)
    if not levels.size:
        return 0
    level = int(levels[0])
    while shares[level + 1] > shares[level]:
        level += 1
    return level


def _columns(flat: Mask, step: int) -> NDArray[np.uint16]:
    """Per ``step`` neighbouring pixels of a row, how many are flat."""
    counts = flat.astype(np.uint16)
    return reduce(np.add, (counts[:, column::step] for column in range(step)))


def _share(sums: NDArray[np.uint16], whole: int) -> Shares:
    """Sums as shares of a whole, 0..1."""
    return sums.astype(np.float32) / np.float32(whole)


def _sums(counts: NDArray[np.uint16], side: int) -> NDArray[np.uint16]:
    """Sums over square blocks of ``side``."""
    rows = reduce(np.add, (counts[row::side] for row in range(side)))
    return reduce(np.add, (rows[:, column::side] for column in range(side)))


def _pooled(grey: Pixels, side: int, extreme: np.ufunc) -> Pixels:
    """The maximum or minimum of square blocks of ``side``."""
    rows = reduce(extreme, (grey[row::side] for row in range(side)))
    return reduce(extreme, (rows[:, column::side] for column in range(side)))
