"""The convex hull of cells on a grid: the outline of every linear, trapezoid or sector scan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Mask = NDArray[np.bool_]
Points = list[tuple[int, int]]


def hull_of(cells: Mask) -> Points:
    """Corners (x, y) of the convex hull of some cells, in cell units (Andrew's monotone chain, 1979)."""
    corners = _outermost(cells)
    return _chain(corners) + _chain(corners[::-1])


def hull_area(hull: Points) -> float:
    """Area in cells (the shoelace formula)."""
    following = hull[1:] + hull[:1]
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(hull, following, strict=True))) / 2


def fill_hull(hull: Points, cell: int, width: int, height: int) -> Mask:
    """The hull as a mask (height, width) of a picture whose cells measure ``cell`` pixels."""
    image = Image.new("1", (width, height))
    ImageDraw.Draw(image).polygon([(x * cell, y * cell) for x, y in hull], fill=1)
    return np.asarray(image)


def _outermost(cells: Mask) -> Points:
    """The outer corners of each row's first and last cell, sorted."""
    rows = np.flatnonzero(cells.any(axis=1))
    first = cells[rows].argmax(axis=1)
    after = cells.shape[1] - cells[rows, ::-1].argmax(axis=1)
    xs = np.concatenate([first, after, first, after]).tolist()
    ys = np.concatenate([rows, rows, rows + 1, rows + 1]).tolist()
    return sorted(set(zip(xs, ys, strict=True)))


def _chain(points: Points) -> Points:
    """One side of the hull of sorted points, without its last point."""
    chain: Points = []
    for point in points:
        while len(chain) > 1 and _turn(chain[-2], chain[-1], point) <= 0:
            chain.pop()
        chain.append(point)
    return chain[:-1]


def _turn(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> int:
    """Positive where the way from a over b to c turns to the left of the x axis."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
