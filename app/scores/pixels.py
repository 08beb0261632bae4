"""Scores that compare the pixels of two canvases: histogram intersection and mean squared error."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.domain import Pixels

SIDE = 256
Histogram = NDArray[np.int64]


def make_canvas(pixels: Pixels) -> Pixels:
    """The scan region as 8-bit luma (ITU-R 601), 256 x 256 by area averaging."""
    grey = Image.fromarray(pixels).convert("L")
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX))


def make_histogram(canvas: Pixels) -> Histogram:
    """How many of a canvas's pixels have each of the 256 grey levels."""
    return np.bincount(canvas.ravel(), minlength=256)


def histogram_intersection(a: Histogram, b: Histogram) -> float:
    """Sum of min(h_a, h_b) over relative histograms (Swain and Ballard 1991): 0..1, 1 = same distribution."""
    return float(np.minimum(a / a.sum(), b / b.sum()).sum())


def mean_squared_error(a: Pixels, b: Pixels) -> float:
    """Mean of (a - b)² over two canvases: 0..65025, 0 = same."""
    difference = np.subtract(a, b, dtype=np.int16).astype(np.float32)
    # A row of 256 squares stays below 2**24, so its float32 sum is exact: half the time of whole numbers.
    rows = np.einsum("ij,ij->i", difference, difference)
    return float(rows.sum(dtype=np.float64)) / difference.size
