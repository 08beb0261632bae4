"""Which cells of a sketch belong to the scan: the largest textured piece and those that go with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from app.images.hull import hull_area, hull_of
from app.images.sketch import Mask, Sketch

DENSE = 0.7  # share of a cell that is lit: less between letters
FAINT = 0.4  # the same in speckle near the noise floor,
RIM = 0.2  # and in cells on the edge of the scan
DIM = 50  # brightest level of such speckle: letters are brighter
SMALL = 0.004  # pieces below this share of the largest are ignored
PAINTED = 0.25  # share of flat pixels in a small piece: bars and logos have more
VERY_PAINTED = 0.75  # and in a large one: smooth lung reaches 0.57
HARSH = 90  # levels from ink to paper within a cell
LETTERS = 0.3  # share of harsh cells: text has 0.47 and more, real scans 0.09 and less
NOISE = 4  # levels that JPEG moves paper up or down
PAPER = 0.15  # share of the commonest level: text has 0.19 and more, harsh speckle 0.10 and less
FULL = 0.9  # lit share of a cell without gaps
SOLID = 0.6  # share of such cells
LEAST = 0.02  # share of the picture that a scan covers at least
LARGE = 0.3  # a piece of this share of the scan belongs to it wherever it is
NEAR = 4.0  # cells that the outline may grow per cell of a piece,
FAR = 15.0  # and where the scan already fills the picture
FILLS = 0.55  # share of the picture from which it does

TISSUE_RECIPE = (
    f"{DENSE} {FAINT} {RIM} {DIM} {SMALL} {PAINTED} {VERY_PAINTED} {HARSH} {LETTERS} {NOISE} {PAPER} "
    f"{FULL} {SOLID} {LEAST} {LARGE} {NEAR} {FAR} {FILLS}"
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
    """Whether a piece looks like tissue: neither flat paint nor text, and without gaps."""
    dense = piece & (sketch.filled >= DENSE)
    flat = sketch.flat[dense].mean()
    solid = (sketch.filled[dense] >= FULL).mean()
    painted = PAINTED if piece.mean() < LEAST else VERY_PAINTED
    return bool(flat <= painted and solid >= SOLID and not _written(sketch, dense))


def _written(sketch: Sketch, dense: Mask) -> bool:
    """Whether many cells go from ink to paper, and the paper's level is common: speckle has no common level."""
    if (sketch.ranges[dense] >= HARSH).mean() < LETTERS:
        return False
    blocks = dense.repeat(sketch.cell, axis=1).repeat(sketch.cell, axis=0)
    counts = np.bincount(sketch.samples[blocks], minlength=256)
    around = np.convolve(counts, np.ones(2 * NOISE + 1), mode="same")
    return bool(around.max() >= PAPER * counts.sum())


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
