"""Pictures that stand in a library twice: candidates by perceptual hash and by embedding, judged by their pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from app.domain import Pixels, Vectors
from app.evaluation.registration import SAME_PICTURE, Points, correlation_on, find_points, place_on
from app.search.groups import NEAR_DUPLICATE_BITS

CANDIDATE_BITS = 12
"""Hashes that differ in at most so many of 64 bits are looked at: of copies that were cut, a third lie within."""

CANDIDATE_NEIGHBOURS = 10
"""So many nearest references by each encoder are looked at: copies that were cut are mostly the first."""

_MOST_BY_HASH = 50
"""Of one picture, so many are looked at: pictures that are all but empty share one hash."""

_BLOCK = 1024

Pair = tuple[int, int]
"""Two rows, the smaller first."""

ReadCanvases = Callable[[Sequence[int]], Sequence[Pixels]]
"""Rows -> their canvases (256, 256), in the same order."""


class Verdict(StrEnum):
    """What a pair is: the same picture, or one that the hash takes for it and the pixels do not confirm."""

    SAME = "same picture"
    ALIKE = "alike by hash only"


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """Two rows that show the same picture, or whose hashes say so.

    ``bits`` of 64 in which the hashes differ; ``distances`` by encoder, Euclidean; ``points`` on which the one lies on
    the other (0: it does not) and the ``correlation`` of what both show.
    """

    first: int
    second: int
    verdict: Verdict
    bits: int
    distances: Mapping[str, float]
    points: int
    correlation: float


def find_near_duplicates(
    hashes: NDArray[np.uint64],
    vectors: Mapping[str, Vectors],
    canvases: ReadCanvases,
    progress: Callable[[str, int, int], None] = lambda _stage, _done, _of: None,
) -> list[NearDuplicate]:
    """All near-duplicates among the rows of a library, in order of rows.

    ``hashes`` (n,) are perceptual hashes, ``vectors`` (n, dim) unit-length ones by encoder. Candidates are pairs whose
    hashes differ in at most 12 bits and the ten nearest by every encoder; a candidate is the same picture if one canvas
    can be laid on the other and correlates. Raises Misconfigured ``extra_missing``.
    """
    pairs = candidates(hashes, vectors)
    points = _all_points(len(hashes), canvases, progress)
    found = []
    for place, (first, second) in enumerate(pairs):
        bits = int(np.bitwise_count(hashes[first] ^ hashes[second]))
        number, correlation = _compare(points, canvases, first, second)
        same = correlation >= SAME_PICTURE
        if same or bits <= NEAR_DUPLICATE_BITS:
            found.append(
                NearDuplicate(
                    first,
                    second,
                    Verdict.SAME if same else Verdict.ALIKE,
                    bits,
                    {name: float(np.linalg.norm(rows[first] - rows[second])) for name, rows in vectors.items()},
                    number,
                    correlation,
                )
            )
        progress("comparing pairs", place + 1, len(pairs))
    return found


def candidates(hashes: NDArray[np.uint64], vectors: Mapping[str, Vectors]) -> list[Pair]:
    """The pairs worth a look, in order: near by hash, or among each other's nearest by one of the encoders."""
    pairs = set(near_by_hash(hashes))
    for rows in vectors.values():
        pairs.update(near_by_vector(rows))
    return sorted(pairs)


def near_by_hash(hashes: NDArray[np.uint64], bits: int = CANDIDATE_BITS) -> Iterator[Pair]:
    """Pairs of hashes (n,) that differ in at most so many bits: of each row the 50 nearest behind it."""
    for start in range(0, len(hashes), _BLOCK):
        block = hashes[start : start + _BLOCK]
        differing = np.bitwise_count(block[:, None] ^ hashes[None, start:])
        for place, row in enumerate(differing):
            near = np.flatnonzero(row[place + 1 :] <= bits) + place + 1
            nearest = near[np.argsort(row[near], kind="stable")][:_MOST_BY_HASH]
            yield from ((start + place, start + int(other)) for other in nearest)


def near_by_vector(vectors: Vectors, k: int = CANDIDATE_NEIGHBOURS) -> Iterator[Pair]:
    """Each row of unit-length vectors (n, dim) with its k nearest others; ties by row."""
    for start in range(0, len(vectors), _BLOCK):
        similarity = vectors[start : start + _BLOCK] @ vectors.T
        for place, row in enumerate(similarity):
            own = start + place
            row[own] = -np.inf
            among = np.flatnonzero(row >= np.partition(row, -k)[-k]) if len(row) > k else np.arange(len(row))
            among = among[among != own]
            nearest = among[np.argsort(-row[among], kind="stable")][:k]
            yield from ((min(own, int(other)), max(own, int(other))) for other in nearest)


def duplicate_groups(pairs: Sequence[Pair]) -> list[list[int]]:
    """Rows that hang together by pairs, each group and their order ascending."""
    group_of: dict[int, list[int]] = {}
    for first, second in pairs:
        one, other = group_of.get(first, [first]), group_of.get(second, [second])
        if one is not other:
            joined = sorted({*one, *other})
            group_of.update(dict.fromkeys(joined, joined))
    return sorted({id(group): group for group in group_of.values()}.values())


def _all_points(number: int, canvases: ReadCanvases, progress: Callable[[str, int, int], None]) -> list[Points]:
    points: list[Points] = []
    for start in range(0, number, _BLOCK):
        for canvas in canvases(range(start, min(start + _BLOCK, number))):
            points.append(find_points(canvas))
            progress("finding points", len(points), number)
    return points


def _compare(points: Sequence[Points], canvases: ReadCanvases, first: int, second: int) -> tuple[int, float]:
    """On how many points the first lies on the second, and how well they agree; most pairs end at the points."""
    placing = place_on(points[first], points[second])
    if placing is None:
        return 0, 0.0
    return placing.points, correlation_on(placing, *canvases((first, second)))
