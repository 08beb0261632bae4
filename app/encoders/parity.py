"""How near two sets of embeddings of the same pictures are, and whether that counts as the same encoder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain import Vectors

RTOL, ATOL = 1e-4, 1e-5
CENTRED = 0.99999


@dataclass(frozen=True, slots=True)
class Parity:
    """The judgement over n pictures: cosines are the lowest of all pictures, ``difference`` the largest of all numbers.

    Embeddings of any two pictures may agree to .99, and a plain cosine then hides mistakes; ``centred`` is the
    cosine after the mean over the pictures was taken off, and shows them. ``close`` is numpy's ``allclose`` of
    the unit vectors with the tolerances above.
    """

    pictures: int
    cosine: float
    centred: float
    difference: float
    close: bool

    @property
    def holds(self) -> bool:
        """Whether both are the same encoder."""
        return self.close and self.centred >= CENTRED


def compare(ours: Vectors, theirs: Vectors) -> Parity:
    """Two sets of unit vectors (n, dim) of the same n pictures, n > 1."""
    if ours.shape != theirs.shape or len(ours) < 2:
        raise ValueError(f"embeddings of {ours.shape} and {theirs.shape} cannot be compared")
    wide, other = ours.astype(np.float64), theirs.astype(np.float64)
    return Parity(
        pictures=len(ours),
        cosine=_lowest_cosine(wide, other),
        centred=_lowest_cosine(wide - wide.mean(axis=0), other - other.mean(axis=0)),
        difference=float(np.abs(wide - other).max()),
        close=bool(np.allclose(ours, theirs, rtol=RTOL, atol=ATOL)),
    )


def _lowest_cosine(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float(((ours * theirs).sum(axis=1) / lengths).min())
