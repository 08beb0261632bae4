"""How far apart pictures are that share a label, and pictures that do not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain import Vectors
from app.evaluation.ground import Contestant, Ground
from app.evaluation.protocol import Ranked
from app.evaluation.trials import blocks, carried, visible_block

MOST_QUERIES = 300
"""Queries whose pairs are counted, drawn by the seed."""

EDGES: NDArray[np.float64] = np.linspace(0.0, 2.0, 101)
"""Bins of the Euclidean distance of unit vectors."""

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PairDistances:
    """Pairs (100,) by distance: with a label in common, with none, of a query with its ten nearest, with photographs.

    ``queries`` were asked. ``wrong`` is the share of (same, other) pairs that stand in the wrong order, those of one
    bin as half: 1 - U / (n m) of Mann and Whitney, as exact as the bins are fine.
    """

    contestant: str
    queries: int
    same: Counts
    other: Counts
    nearest: Counts
    natural: Counts

    @property
    def wrong(self) -> float:
        """Nan where there are no pairs of one sort."""
        total = float(self.same.sum()) * float(self.other.sum())
        nearer = np.cumsum(self.other) - self.other / 2.0
        return float((self.same * nearer).sum()) / total if total else float("nan")

    @property
    def limits(self) -> tuple[float, float]:
        """From the first bin with a pair to the last."""
        there = np.flatnonzero(self.same + self.other + self.nearest + self.natural)
        return (float(EDGES[there[0]]), float(EDGES[there[-1] + 1])) if len(there) else (0.0, 2.0)


def pair_distances(
    ground: Ground, contestant: Contestant, ranked: Ranked, natural: Vectors | None = None, *, seed: int = 0
) -> PairDistances:
    """Over what some queries may see under the protocol of a ranking; ``natural`` are photographs' vectors (n, dim)."""
    chosen = _some(len(ranked.queries), seed)
    rows, columns = ranked.queries[chosen], np.flatnonzero(ranked.gallery)
    member = carried(len(ground), list(ground.carriers(ranked.kind).values())).astype(np.float32)
    vectors = contestant.snapshot.vectors
    shown = vectors[columns].astype(np.float64)
    same, other = (np.zeros(len(EDGES) - 1, dtype=np.int64) for _ in range(2))
    for part in blocks(len(rows), len(columns)):
        apart = _distances(vectors[rows[part]], shown)
        seen = visible_block(ground, ranked, rows[part], columns)
        alike = member[rows[part]] @ member[columns].T > 0
        same += _counted(apart[seen & alike])
        other += _counted(apart[seen & ~alike])
    near = ranked.distances[chosen]
    far = np.empty(0) if natural is None else _distances(vectors[rows], natural.astype(np.float64)).ravel()
    return PairDistances(ranked.contestant, len(rows), same, other, _counted(near[np.isfinite(near)]), _counted(far))


def _distances(some: Vectors, others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances (n, m) of unit vectors: |a - b|² = 2 - 2 a·b."""
    return np.sqrt(np.clip(2.0 - 2.0 * (some.astype(np.float64) @ others.T), 0.0, 4.0))


def _some(count: int, seed: int) -> Counts:
    if count <= MOST_QUERIES:
        return np.arange(count, dtype=np.int64)
    drawn = np.random.default_rng(seed).choice(count, MOST_QUERIES, replace=False)
    chosen: Counts = np.sort(drawn).astype(np.int64)
    return chosen


def _counted(distances: NDArray[np.float64]) -> Counts:
    return np.histogram(np.clip(distances, 0.0, 2.0), EDGES)[0].astype(np.int64)
