"""Tables that give a lower bound of every row's squared distance out of one matrix-vector product."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from app.domain import Vectors
from app.indexes.bound import Asked, Floats, PrincipalBound

_UNIT = 2.0**-24  # the relative rounding error of float32
_CHUNK = 8192  # rows that are taken to float64 at once
_TINY = 1e-14  # more than float64 loses where lengths of about one cancel


class Table(Protocol):
    """Bounds of all rows. ``lows`` and the Asked of the same query go together."""

    def ask(self, query: Vectors) -> Asked:
        """One query (dim,) as the table is multiplied with it."""
        ...

    def lows(self, factors: Vectors) -> Vectors:
        """For each row what Asked.limit speaks of: (n,) of factors (m,), (q, n) of factors (q, m)."""
        ...


class PrincipalTable:
    """The bounds of a few principal components: small, so that little is read."""

    def __init__(self, bound: PrincipalBound, projected: Vectors) -> None:
        self._bound = bound
        # A component of all rows lies together: products with few and long rows are the fast ones.
        self._columns = np.ascontiguousarray(bound.coefficients(projected).T)

    def ask(self, query: Vectors) -> Asked:
        """One query (dim,) as the table is multiplied with it."""
        return self._bound.ask(query)

    def lows(self, factors: Vectors) -> Vectors:
        """Products of factors with every row."""
        products: Vectors = factors @ self._columns
        return products


class PlainTable:
    """The distances themselves, up to rounding: the vectors as they are, and their lengths about the centre c.

    |x - q|² = |x - c|² - 2 x.(q - c) + |q|² - |c|². With |q - c| in the place of |q|, rounding stays small where all
    vectors are nearly the same.
    """

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors
        self._centre = vectors.mean(axis=0, dtype=np.float64)
        self._square = float(self._centre @ self._centre)
        self._lengths = ((1 - 4 * _UNIT) * _squares_about(self._centre, vectors)).astype(np.float32)
        self._longest = float(np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64).max()))

    def ask(self, query: Vectors) -> Asked:
        """One query (dim,) as the table is multiplied with it."""
        wide = query.astype(np.float64)
        centred = wide - self._centre
        # dim products and additions (Higham 2002, section 3.1), the factors' own rounding and the last subtraction.
        error = 2 * (len(query) + 8) * _UNIT * self._longest * float(np.sqrt(centred @ centred))
        return Asked((-2 * centred).astype(np.float32), float(wide @ wide) - self._square - error - _TINY)

    def lows(self, factors: Vectors) -> Vectors:
        """Products of factors with every row."""
        products: Vectors = self._vectors @ factors if factors.ndim == 1 else factors @ self._vectors.T
        products += self._lengths
        return products


def _squares_about(centre: Floats, vectors: Vectors) -> Floats:
    squares = np.empty(len(vectors))
    for start in range(0, len(vectors), _CHUNK):
        centred = vectors[start : start + _CHUNK] - centre
        squares[start : start + _CHUNK] = np.einsum("ij,ij->i", centred, centred)
    return squares


def lows_of(queries: Vectors, table: Table) -> tuple[list[Asked], Vectors]:
    """Bounds of every row for several queries (q, dim) out of one matrix product: (q, n)."""
    asked = [table.ask(query) for query in queries]
    return asked, table.lows(np.stack([one.factors for one in asked]))
