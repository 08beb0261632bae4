"""How many principal components are scanned and sieved: what should cost least, tried on a sample of the library."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from app.domain import Vectors
from app.indexes.bound import Floats, PrincipalBound

_PROBES = 32  # rows of the library that are asked for
_SAMPLE = 4096  # rows on which their candidates are counted
_NEIGHBOURS = 10
_CHUNK = 8192
_SCANNED = (4, 6, 8, 12, 16, 24, 32, 48)
_SIEVED = (24, 32, 48, 64, 96, 128, 192)

# Costs in what reading one number of a table takes, about 0.15 ns where it comes from memory.
_STEPS = 200_000  # what a bound does besides, whatever the number of rows
_PASSES = 4  # over all bounds: lowest of groups, comparison
_FETCHED = 60  # a row for a second look
_GATHERED = 6  # a number of such a row
_PLAIN = 1.5  # a number of a whole vector that is scanned


class Components(NamedTuple):
    """The numbers of components that bound every row, and the few that these leave."""

    scanned: int
    sieved: int


def choose_components(vectors: Vectors, bound: PrincipalBound) -> Components | None:
    """The cheapest numbers for vectors (n, dim) and a bound of all components; None: a plain scan is cheaper."""
    count, dim = vectors.shape
    rng = np.random.default_rng(0)
    probes = vectors[rng.choice(count, min(_PROBES, count), replace=False)]
    sample = vectors[rng.choice(count, min(_SAMPLE, count), replace=False)]
    # Each probe is its own nearest. Centred, since lengths of one would drown small differences in float32.
    farthest = _kth_squares(vectors, bound.centre, probes, min(_NEIGHBOURS + 1, count))
    choices = sorted({Components(m, min(n, dim)) for m in _SCANNED for n in _SIEVED if m < min(n, dim)})
    widest = bound.first(min(max(_SIEVED), dim))
    rows, asked = widest.project(sample), widest.project(probes)
    left = {
        number: count * _share(bound.first(number), rows, asked, farthest)
        for number in {number for choice in choices for number in choice}
    }

    def cost(choice: Components) -> float:
        scan = _STEPS + count * (choice.scanned + 2 + _PASSES)
        looks = ((left[choice.scanned], choice.sieved + 2), (left[choice.sieved], dim))
        return float(scan + sum(rows * (_FETCHED + _GATHERED * numbers) for rows, numbers in looks))

    best = min(choices, key=cost, default=None)
    return best if best and cost(best) < _PLAIN * count * dim else None


def _share(bound: PrincipalBound, rows: Vectors, asked: Vectors, farthest: Floats) -> float:
    """How many of all pairs of projected rows a bound leaves as candidates."""
    return float((_squares(bound.fold(rows), bound.fold(asked)) <= farthest).mean())


def _kth_squares(vectors: Vectors, centre: Vectors, probes: Vectors, k: int) -> Floats:
    """The squared distance of each probe to its k-th nearest vector."""
    asked = probes - centre
    best = np.full((0, len(probes)), np.inf)
    for start in range(0, len(vectors), _CHUNK):
        squares = np.concatenate([best, _squares(vectors[start : start + _CHUNK] - centre, asked)])
        best = np.partition(squares, min(k, len(squares)) - 1, axis=0)[:k]
    farthest: Floats = best.max(axis=0)
    return farthest


def _squares(rows: Vectors, others: Vectors) -> Floats:
    """Squared distances of all pairs (rows, others), rounded: good enough to choose by."""
    products = (rows @ others.T).astype(np.float64)
    lengths = [np.einsum("ij,ij->i", part, part, dtype=np.float64) for part in (rows, others)]
    squares: Floats = np.maximum(lengths[0][:, None] + lengths[1] - 2 * products, 0.0)
    return squares
