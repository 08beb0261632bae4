"""The second look: bounds from more components for the rows that the first bounds left."""

import numpy as np
from numpy.typing import NDArray

from app.domain import Vectors
from app.indexes.bound import PrincipalBound
from app.indexes.measure import kth_square

Rows = NDArray[np.int64]


class Sieve:
    """Bounds of chosen rows only, from so many components that few rows pass that are not among the nearest."""

    def __init__(self, bound: PrincipalBound, vectors: Vectors, projected: Vectors) -> None:
        self._bound = bound
        self._vectors = vectors
        self._coefficients = bound.coefficients(projected)

    def pass_on(self, query: Vectors, candidates: Rows, k: int) -> Rows:
        """Those of more than 4 k candidates that can be among their k nearest."""
        asked = self._bound.ask(query)
        lows = self._coefficients.take(candidates, axis=0) @ asked.factors
        lowest = candidates[np.argpartition(lows, 2 * k)[: 2 * k]]
        passed: Rows = candidates[lows <= asked.limit(kth_square(query, self._vectors, lowest, k))]
        return passed
