"""Whether two encoders differ: sign flips of whole patients, and Holm's correction for several tests. Pure NumPy."""

from __future__ import annotations

import numpy as np

from app.metrics.precision import Numbers

FLIPS = 10_000
_NUMBERS = 1 << 22  # signs held at once: 32 MB


def sign_flip_p(differences: Numbers, *, flips: int = FLIPS, seed: int = 0) -> Numbers:
    """Two-sided p (m,) that the sums of differences (patients, m) are 0 (Fisher 1935; Phipson and Smyth 2010).

    Under the hypothesis that two encoders do alike, a patient's difference could as well have had the other sign. Of
    ``flips`` random choices of all signs, b give a sum at least as far from 0 as the real one: p = (1 + b) / (1 + B).
    Patients are exchanged whole, so images of one patient need not be independent.
    """
    real = np.abs(differences.sum(axis=0))
    tolerance = 1e-9 * np.maximum(1e-300, np.abs(differences).sum(axis=0))  # equal sums in another order
    generator = np.random.default_rng(seed)
    at_once = max(1, _NUMBERS // max(1, len(differences)))
    beyond = np.zeros(differences.shape[1], dtype=np.int64)
    for start in range(0, flips, at_once):
        shape = (min(at_once, flips - start), len(differences))
        signs = generator.integers(0, 2, size=shape, dtype=np.int8) * 2.0 - 1.0
        beyond += (np.abs(signs @ differences) >= real - tolerance).sum(axis=0)
    p: Numbers = (1 + beyond) / (1 + flips)
    return p


def holm(p: Numbers) -> Numbers:
    """Adjusted p (m,) that keep the chance of any false alarm among m tests at its level (Holm 1979)."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, stepped)
    return adjusted
