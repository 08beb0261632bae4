"""The VectorIndex protocol: from a query vector to its nearest rows."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain import Vectors

Mask = NDArray[np.bool_]


class Hits(NamedTuple):
    """Rows in order of distance (ties by row number) and their Euclidean distances in float64."""

    rows: NDArray[np.int64]
    distances: NDArray[np.float64]


class VectorIndex(Protocol):
    """An engine over a fixed set of unit-length vectors, built once and then only read.

    Implementations are safe to call from several threads. ``search`` returns the ``k`` nearest rows
    among those that ``allowed`` lets through, fewer only where fewer are allowed. Example::

        index = open_index("kdtree", vectors)          # vectors: float32 (n, dim)
        hits = index.search(query, k=10, allowed=mask)  # query: float32 (dim,)
    """

    engine: str
    exact: bool

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def search(self, query: Vectors, k: int, allowed: Mask | None = None) -> Hits:
        """The nearest allowed rows of one query vector (dim,)."""
        ...


Where = tuple[tuple[str, tuple[str, ...]], ...]
"""Label kinds or attributes with the values of which one must be carried."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a query may see, said twice: as rows for an index in memory, in words for a server that has no rows.

    ``where`` names for each label kind or attribute the values of which a reference must carry one; ``without`` are
    the ids of references that are left out: the query itself and those of patients.
    """

    rows: Mask
    where: Where = ()
    without: frozenset[str] = frozenset()


class SearchIndex(Protocol):
    """What a snapshot of a library asks: its rows, seen through filters. Safe to call from several threads."""

    engine: str
    exact: bool

    def search(self, query: Vectors, k: int, sight: Sight) -> Hits:
        """The nearest rows in sight of one query vector (dim,), ties by reference id; fewer only where fewer are."""
        ...


def squared_distances(query: Vectors, vectors: Vectors, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Squared Euclidean distances of some rows to a query (dim,), in float64 differences."""
    differences = vectors[rows].astype(np.float64) - query.astype(np.float64)
    squares: NDArray[np.float64] = np.einsum("ij,ij->i", differences, differences)
    return squares


def nearest_first(query: Vectors, vectors: Vectors, candidates: NDArray[np.int64], k: int) -> Hits:
    """Measure candidate rows in float64 differences and keep the k nearest, ties by row number."""
    distances = np.sqrt(squared_distances(query, vectors, candidates))
    order = np.lexsort((candidates, distances))[:k]
    return Hits(candidates[order], distances[order])
