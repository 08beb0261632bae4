"""Which cells of a sketch belong to the scan: the largest textured piece and those that go with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from app.images.hull import hull_area, hull_of
from app.images.sketch import Mask, Sketch

DENSE = 0.7
FAINT = 0.4
RIM = 0.2
DIM = 50
SMALL = 0.004
PAINTED = 0.25
VERY_PAINTED = 0.75
HARSH = 90
LETTERS = 0.3
FULL = 0.9
SOLID = 0.6
LEAST = 0.02
LARGE = 0.3
NEAR = 4.0
FAR = 15.0
FILLS = 0.55

TISSUE_RECIPE = (
    f"{DENSE} {FAINT} {RIM} {DIM} {SMALL} {PAINTED} {VERY_PAINTED} {HARSH} {LETTERS} {FULL} {SOLID} {LEAST} "
    f"{LARGE} {NEAR} {FAR} {FILLS}"
)
SQUARE = np.ones((3, 3), bool)


def find_tissue(sketch: Sketch) -> Mask | None:
    """The cells of the scan; None where no textured piece covers 2 % of the picture."""
    labels, count = ndimage.label(_lumps(sketch), SQUARE)
    pieces = [labels == label for label in _by_size(labels, count)]
    textured = [piece for piece in pieces if _textured(sketch, piece)]
    if not textured or textured[0].mean() < LEAST:
        return None
    return _join(textured[0], textured[1:])


def _lumps(sketch: Sketch) -> Mask:
    """Blocks of dense cells, the faint speckle that hangs together with them, and their rims."""
    dense = sketch.filled >= DENSE
    blocks = ndimage.binary_opening(dense, SQUARE)
    faint = dense | ((sketch.filled >= FAINT) & (sketch.peaks < DIM))
    grown = _touching(ndimage.binary_opening(faint, SQUARE), blocks)
    grown = ndimage.binary_dilation(grown, SQUARE, iterations=2, mask=grown | dense)
    lumps: Mask = ndimage.binary_dilation(grown, SQUARE, mask=grown | (sketch.filled >= RIM))
    return lumps


def _touching(cells: Mask, seeds: Mask) -> Mask:
    """Those pieces of some cells that hold a seed."""
    labels, count = ndimage.label(cells, SQUARE)
    held = np.bincount(labels[seeds], minlength=count + 1) > 0
    held[0] = False
    touching: Mask = held[labels]
    return touching


def _by_size(labels: NDArray[np.int32], count: int) -> list[int]:
    """The labels of pieces from the largest to 1/250 of it, at most eight."""
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    order = np.argsort(-sizes, kind="stable")[:8]
    return [int(label) + 1 for label in order if sizes[label] >= SMALL * sizes.max()]


def _textured(sketch: Sketch, piece: Mask) -> bool:
    """Whether a piece looks like tissue: not flat paint, not as harsh as letters, and without gaps between."""
    dense = piece & (sketch.filled >= DENSE)
    flat = sketch.flat[dense].mean()
    harsh = (sketch.ranges[dense] >= HARSH).mean()
    solid = (sketch.filled[dense] >= FULL).mean()
    painted = PAINTED if piece.mean() < LEAST else VERY_PAINTED
    return bool(flat <= painted and harsh <= LETTERS and solid >= SOLID)


def _join(scan: Mask, pieces: list[Mask]) -> Mask:
    """The scan with every piece that is large or completes its outline rather than reaching out of it."""
    for piece in pieces:
        area, joined = hull_area(hull_of(scan)), scan | piece
        reach = FAR if area >= FILLS * scan.size or _inside(piece, scan) else NEAR
        growth = hull_area(hull_of(joined)) - area
        if piece.sum() >= LARGE * scan.sum() or growth <= reach * piece.sum():
            scan = joined
    return scan


def _inside(piece: Mask, scan: Mask) -> bool:
    """Whether a piece lies between the scan's first and last row and column."""
    return _spans(piece, scan, 0) and _spans(piece, scan, 1)


def _spans(piece: Mask, scan: Mask, axis: int) -> bool:
    """Whether the scan begins before a piece and ends after it along the other axis."""
    part, whole = np.flatnonzero(piece.any(axis=axis)), np.flatnonzero(scan.any(axis=axis))
    return bool(whole[0] <= part[0] and part[-1] <= whole[-1])
