"""Every metric on two canvases that the paper tried, by name, each with its direction and its source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.domain import Pixels
from app.errors import Misconfigured
from app.scores.dreamsim import dreamsim_score
from app.scores.pixels import Histogram, histogram_intersection, mean_squared_error
from app.scores.registry import ScoreInput

LEVELS = 255
LOWE_RATIO = 0.75
"""A SIFT match counts if it is nearer than this share of the second nearest's distance."""


@dataclass(frozen=True, slots=True)
class PixelMetric:
    """A number from two canvases. ``larger_is_nearer`` says how to read it, ``formula`` how it comes about."""

    name: str
    measure: Callable[[ScoreInput, ScoreInput], float | None]
    larger_is_nearer: bool
    formula: str


def measure_all(reference: ScoreInput, other: ScoreInput) -> dict[str, float | None]:
    """Metric -> value of a picture against the reference; None where one lacks its DreamSim vector or it is undefined.

    Raises Misconfigured ``extra_missing``.
    """
    check_extra()
    values = {metric.name: metric.measure(reference, other) for metric in METRICS}
    return {name: None if value is None or np.isnan(value) else float(value) for name, value in values.items()}


def check_extra() -> None:
    """Raise Misconfigured ``extra_missing`` where a library of the extra is not installed."""
    try:
        import cv2  # noqa: F401
        import sewar  # noqa: F401
        import skimage.metrics  # noqa: F401
    except ModuleNotFoundError as missing:
        raise Misconfigured(
            "extra_missing",
            f"the pixel metrics need {missing.name}, which is not installed",
            hint="pip install 'sonoseek[evaluation]'",
        ) from None


def histogram_correlation(a: Histogram, b: Histogram) -> float:
    """Pearson's correlation of the 256 counts: -1..1, 1 = same distribution; nan where all counts are equal."""
    first, second = a - a.mean(), b - b.mean()
    norm = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / norm) if norm > 0 else float("nan")


def bhattacharyya(a: Histogram, b: Histogram) -> float:
    """Bhattacharyya's coefficient, sum of sqrt(h_a h_b) over relative histograms (1943): 0..1, 1 = same."""
    return float(np.sqrt(a * b).sum() / np.sqrt(float(a.sum()) * float(b.sum())))


def sift_matches(a: Pixels, b: Pixels) -> int:
    """Keypoints of a whose SIFT descriptor has a clear match in b (Lowe 2004, ratio test): 0.., more is nearer."""
    import cv2

    sift = cv2.SIFT_create()
    _, first = sift.detectAndCompute(a, None)
    _, second = sift.detectAndCompute(b, None)
    if first is None or second is None or len(second) < 2:
        return 0
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(first, second, k=2)
    return sum(best.distance < LOWE_RATIO * next_best.distance for best, next_best in pairs)


def _histogram(a: ScoreInput, b: ScoreInput) -> float:
    return histogram_intersection(a.histogram, b.histogram)


def _correlation(a: ScoreInput, b: ScoreInput) -> float:
    return histogram_correlation(a.histogram, b.histogram)


def _bhattacharyya(a: ScoreInput, b: ScoreInput) -> float:
    return bhattacharyya(a.histogram, b.histogram)


def _mse(a: ScoreInput, b: ScoreInput) -> float:
    return mean_squared_error(a.canvas, b.canvas)


def _rmse(a: ScoreInput, b: ScoreInput) -> float:
    return float(np.sqrt(_mse(a, b)))


def _psnr(a: ScoreInput, b: ScoreInput) -> float:
    error = _mse(a, b)
    return float(10 * np.log10(LEVELS**2 / error)) if error > 0 else float("inf")


def _dreamsim(a: ScoreInput, b: ScoreInput) -> float | None:
    return None if a.dreamsim is None or b.dreamsim is None else dreamsim_score(a.dreamsim, b.dreamsim)["distance"]


def _ssim(a: ScoreInput, b: ScoreInput) -> float:
    from skimage.metrics import structural_similarity

    settings: dict[str, Any] = {"data_range": LEVELS, "gaussian_weights": True, "sigma": 1.5}
    return float(structural_similarity(a.canvas, b.canvas, use_sample_covariance=False, **settings))


def _sift(a: ScoreInput, b: ScoreInput) -> float:
    return float(sift_matches(a.canvas, b.canvas))


def _sewar(name: str) -> Callable[[ScoreInput, ScoreInput], float]:
    """One of sewar's functions of two canvases."""

    def measure(a: ScoreInput, b: ScoreInput) -> float:
        import sewar

        with np.errstate(divide="ignore", invalid="ignore"):  # a flat or black picture has no value: nan
            return float(getattr(sewar, name)(a.canvas, b.canvas))

    return measure


def _sam(a: ScoreInput, b: ScoreInput) -> float:
    """The angle between two canvases as vectors of all their pixels.

    Per pixel, a grey picture has a spectrum of one band, and every angle is 0: sewar of the paper's time took the
    bands as vectors instead. So each canvas is handed over as one pixel with 65,536 bands.
    """
    import sewar

    return float(sewar.sam(a.canvas.reshape(1, 1, -1), b.canvas.reshape(1, 1, -1)))


METRICS: tuple[PixelMetric, ...] = (
    PixelMetric("histogram", _histogram, True, "intersection, sum of min(h_a, h_b), relative histograms of 256 bins"),
    PixelMetric("histogram correlation", _correlation, True, "Pearson's correlation of the two histograms"),
    PixelMetric("histogram Bhattacharyya", _bhattacharyya, True, "coefficient, sum of sqrt(h_a h_b)"),
    PixelMetric("MSE", _mse, False, "mean of (a - b)² over 256 x 256 pixels of 0..255"),
    PixelMetric("DreamSim distance", _dreamsim, False, "1 - cosine of the two DreamSim vectors (Fu et al. 2023)"),
    PixelMetric("SSIM", _ssim, True, "Wang et al. 2004, Gaussian window of sigma 1.5 (scikit-image)"),
    PixelMetric("SIFT matches", _sift, True, f"keypoints that pass Lowe's ratio test at {LOWE_RATIO} (OpenCV)"),
    PixelMetric("RMSE", _rmse, False, "square root of MSE"),
    PixelMetric("PSNR", _psnr, True, "10 log10(255² / MSE) dB"),
    PixelMetric(
        "UQI",
        _sewar("uqi"),
        True,
        "Wang and Bovik 2002 in windows of 8 as sewar computes it, which takes window means for window sums",
    ),
    PixelMetric("MS-SSIM", _sewar("msssim"), True, "Wang et al. 2003, five scales (sewar)"),
    PixelMetric("ERGAS", _sewar("ergas"), False, "100 r RMSE / mean(a) with r = 1/4, Wald 2000 (sewar)"),
    PixelMetric("SCC", _sewar("scc"), True, "mean correlation of Laplacian-filtered windows of 8, Zhou 1998 (sewar)"),
    PixelMetric("SAM", _sam, False, "angle in radians between the canvases as vectors, Kruse et al. 1993 (sewar)"),
    PixelMetric("VIF", _sewar("vifp"), True, "in the pixel domain, Sheikh and Bovik 2006 (sewar)"),
)
"""The metrics of Tables 6 to 8 in their order; all but VIF, ERGAS and SIFT matches are symmetric."""
