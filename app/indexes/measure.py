"""Whole distances of candidate rows: in float32 differences first, in float64 for those that may be among the k."""

import numpy as np
from numpy.typing import NDArray

from app.domain import Vectors
from app.indexes.base import Hits, nearest_first

_UNIT = 2.0**-24  # the relative rounding error of float32
_NUMBERS = 65_536  # taken at once: a quarter of a megabyte stays in the cache
_IN_FLOAT64 = 1024  # rows that are measured at once: where all vectors are equal, none can be left out
_TINY = 1e-30  # squares that vanish in float32 add up to less

Rows = NDArray[np.int64]


def nearest(query: Vectors, vectors: Vectors, candidates: Rows, k: int) -> Hits:
    """The k nearest of some rows, measured in float64 differences, ties by row number."""
    candidates = in_reach(query, vectors, candidates, k)
    hits = nearest_first(query, vectors, candidates[:_IN_FLOAT64], k)
    for start in range(_IN_FLOAT64, len(candidates), _IN_FLOAT64):
        more = candidates[start : start + _IN_FLOAT64]
        hits = nearest_first(query, vectors, np.append(hits.rows, more), k)
    return hits


def in_reach(query: Vectors, vectors: Vectors, candidates: Rows, k: int) -> Rows:
    """Those of some rows that can be among their k nearest, all that tie for the last place with them."""
    if len(candidates) <= k:
        return candidates
    squares = _squares(query, vectors, candidates)
    farthest = float(np.partition(squares, k - 1)[k - 1])
    # True squares lie within (1 ± e) of these: twice e parts what is certain from what is not.
    rows: Rows = candidates[squares <= farthest * (1 + 4 * _relative_error(query)) + _TINY]
    return rows


def kth_square(query: Vectors, vectors: Vectors, rows: Rows, k: int) -> float:
    """A squared distance that the k nearest of all cannot exceed, from at least k rows."""
    squares = _squares(query, vectors, rows)
    return float(np.partition(squares, k - 1)[k - 1]) * (1 + 2 * _relative_error(query)) + _TINY


def _relative_error(query: Vectors) -> float:
    """Differences are rounded once, squares once, their sum at most dim times (Higham 2002, section 3.1)."""
    return (len(query) + 4) * _UNIT


def _squares(query: Vectors, vectors: Vectors, rows: Rows) -> Vectors:
    """Squared distances in float32."""
    at_once = max(1, _NUMBERS // len(query))
    if len(rows) <= at_once:
        return _squares_at_once(query, vectors, rows)
    parts = [_squares_at_once(query, vectors, rows[i : i + at_once]) for i in range(0, len(rows), at_once)]
    return np.concatenate(parts)


def _squares_at_once(query: Vectors, vectors: Vectors, rows: Rows) -> Vectors:
    differences = vectors.take(rows, axis=0)
    differences -= query
    squares: Vectors = np.einsum("ij,ij->i", differences, differences)
    return squares
