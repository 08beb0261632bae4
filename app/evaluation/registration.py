"""Whether two canvases show the same picture: points of one are found in the other, and it is laid over it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain import Pixels
from app.errors import Misconfigured

MOST_POINTS = 250
LEAST_CONTRAST = 0.02
"""Half of SIFT's usual contrast: smooth lung has few points otherwise."""

LOWE_RATIO = 0.8
"""A point is found if its nearest descriptor is nearer than this share of the second nearest (Lowe 2004)."""

TOLERANCE = 3.0
"""Pixels of the canvas by which a point may miss its place."""

LEAST_POINTS = 8
LEAST_SHARE = 0.3
"""Share of the canvas that the pictures must have in common."""

SAME_PICTURE = 0.9
"""Correlation of the laid-over canvases from which two are the same picture.

Chosen on early, hc18 and lung: copies that were resized or cut by up to 12 % a side reach .979 and more on at least 12
points, pictures of different women at most .68; frames of two videos of one lung lie between, at .93 to .96.
"""

_MOST_STRETCH = 3.3
_SOFT = 1.5  # blur, in pixels: speckle that was resampled differs in its finest grain


@dataclass(frozen=True, slots=True)
class Points:
    """Places (n, 2) in a canvas with their SIFT descriptors (n, 128)."""

    places: NDArray[np.float32]
    descriptors: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.places)


@dataclass(frozen=True, slots=True)
class Placing:
    """How one canvas comes to lie on another: an affine matrix (2, 3), and on how many points it rests."""

    matrix: NDArray[np.float64]
    points: int


def find_points(canvas: Pixels) -> Points:
    """The points of a canvas (256, 256) by SIFT (Lowe 2004); raises Misconfigured ``extra_missing``."""
    places, descriptors = _sift().detectAndCompute(canvas, None)
    if descriptors is None:
        return Points(np.empty((0, 2), np.float32), np.empty((0, 128), np.uint8))
    return Points(np.asarray([place.pt for place in places], np.float32), descriptors.astype(np.uint8))


def place_on(first: Points, second: Points) -> Placing | None:
    """The affine map from one canvas to another that most common points agree with (RANSAC), None without one.

    The canvas has lost the picture's proportions, so width and height may be stretched differently.
    """
    pairs = _common(first, second)
    if len(pairs) < LEAST_POINTS:
        return None
    source, target = first.places[[a for a, _ in pairs]], second.places[[b for _, b in pairs]]
    cv2 = open_cv()
    matrix, agree = cv2.estimateAffine2D(source, target, method=cv2.RANSAC, ransacReprojThreshold=TOLERANCE)
    if matrix is None or int(agree.sum()) < LEAST_POINTS:
        return None
    stretch = float(np.linalg.det(matrix[:, :2]))
    return Placing(matrix, int(agree.sum())) if 1 / _MOST_STRETCH < stretch < _MOST_STRETCH else None


def correlation_on(placing: Placing, first: Pixels, second: Pixels) -> float:
    """Pearson's correlation of what two canvases share, the first laid on the second: -1..1, 0 if too little."""
    cv2 = open_cv()
    size = (second.shape[1], second.shape[0])
    common = cv2.warpAffine(np.ones_like(first), placing.matrix, size) > 0
    if common.mean() < LEAST_SHARE:
        return 0.0
    laid = cv2.GaussianBlur(cv2.warpAffine(first, placing.matrix, size), (0, 0), _SOFT)[common].astype(np.float64)
    below = cv2.GaussianBlur(second, (0, 0), _SOFT)[common].astype(np.float64)
    laid, below = laid - laid.mean(), below - below.mean()
    norm = float(np.sqrt((laid @ laid) * (below @ below)))
    return float(laid @ below) / norm if norm > 0 else 0.0


def open_cv() -> Any:  # noqa: ANN401 - OpenCV has no types that hold
    """OpenCV, on the one thread that called; raises Misconfigured ``extra_missing`` where it is not installed."""
    try:
        import cv2
    except ModuleNotFoundError:
        raise Misconfigured(
            "extra_missing",
            "comparing pictures point by point needs OpenCV, which is not installed",
            hint="pip install 'sonoseek[evaluation]'",
        ) from None
    return cv2


@cache
def _sift() -> Any:  # noqa: ANN401
    return open_cv().SIFT_create(nfeatures=MOST_POINTS, contrastThreshold=LEAST_CONTRAST)


def _common(first: Points, second: Points) -> list[tuple[int, int]]:
    """Numbers of points that match by Lowe's ratio test."""
    if min(len(first), len(second)) < LEAST_POINTS:
        return []
    cv2 = open_cv()
    found = cv2.BFMatcher(cv2.NORM_L2).knnMatch(
        first.descriptors.astype(np.float32), second.descriptors.astype(np.float32), k=2
    )
    return [(near.queryIdx, near.trainIdx) for near, next_ in found if near.distance < LOWE_RATIO * next_.distance]
