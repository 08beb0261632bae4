"""How fast and how right ways to search are, each in a process of its own with one thread."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.bench.search_data import make_vectors
from app.bench.search_rivals import FIT_FOR_LARGE, LARGE, open_rival, require
from app.domain import Vectors
from app.errors import SonoSeekError, Unavailable

QUERIES = 100
_WARM = 3
_FEW = 64
_SECONDS = 1.0
"""How long the queries are asked again and again."""

_PATIENCE_S, _LEAST = 30.0, 20
"""After so long a slow way to search has answered enough queries, if it was so many."""

_CHUNK = 8192
_SPARE = 64  # rows beyond k that are measured in differences for the truth
_SAME = 1e-9  # distances that differ by less are ties
_MB = 1e6
_READS = 7
_STATM = Path("/proc/self/statm")

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Row:
    """One way to search in one set of vectors. ``recall``: neighbours as near as those of float64 brute force.

    ``memory_mb`` is what building added to a process that holds the vectors already.
    """

    engine: str
    data: str
    n: int
    dim: int
    k: int
    build_s: float
    p50_ms: float
    p99_ms: float
    recall: float
    memory_mb: float
    queries: int


@dataclass(frozen=True, slots=True)
class Floor:
    """The least time in which this machine was seen to read all vectors once: no full scan is faster."""

    data: str
    n: int
    dim: int
    ms: float
    gb_per_s: float


@dataclass(frozen=True, slots=True)
class Order:
    """What a measuring process is asked for; ``folder`` holds the vectors, the queries and the true distances."""

    engine: str
    data: str
    ks: tuple[int, ...]
    folder: Path


def sets_of(
    kinds: Sequence[str], sizes: Sequence[int], lengths: Sequence[int], real: Vectors | None
) -> list[tuple[str, int, int]]:
    """All (data, n, dim) of some kinds of data; the real ones are as long as the embeddings that they repeat."""
    lengths_of = {kind: lengths if kind == "synthetic" or real is None else [real.shape[1]] for kind in kinds}
    return [(kind, size, length) for kind in kinds for length in lengths_of[kind] for size in sizes]


def measure_search(
    sets: Sequence[tuple[str, int, int]],
    engines: Sequence[str],
    ks: Sequence[int],
    *,
    real: Vectors | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[Floor, list[Row]]]:
    """For each set (data, n, dim) the floor and a row per engine and k, as soon as they are known.

    Raises Misconfigured where the library of an engine is not installed, Unavailable where a process dies.
    """
    require(engines)
    for data, n, dim in sets:
        with tempfile.TemporaryDirectory() as folder:
            progress(f"{data} {n} x {dim}")
            floor = _prepare(Path(folder), data, n, dim, max(ks), real)
            rows: list[Row] = []
            for engine in engines:
                if n > LARGE and engine not in FIT_FOR_LARGE:
                    progress(f"  {engine} is left out above {LARGE} rows")
                    continue
                progress(f"  {engine}")
                rows += _in_own_process(Order(engine, data, tuple(ks), Path(folder)))
            yield floor, rows


def _prepare(folder: Path, data: str, n: int, dim: int, most: int, real: Vectors | None) -> Floor:
    """Write vectors, queries and true distances, and see how fast the vectors can be read."""
    from threadpoolctl import threadpool_limits

    drawn = make_vectors(data, n + QUERIES, dim, real, seed=0)
    vectors, queries = drawn[:n], drawn[n:]
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "queries.npy", queries)
    np.save(folder / "truth.npy", true_distances(vectors, queries, most))
    with threadpool_limits(1):
        ms = 1000 * _reading_s(vectors, queries[0])
    return Floor(data, n, dim, round(ms, 4), round(vectors.nbytes / ms / 1e6, 1))


def _reading_s(vectors: Vectors, query: Vectors) -> float:
    """The fastest of three operations that read all vectors once."""
    flat = vectors.reshape(-1)
    reads: tuple[Callable[[], object], ...] = (lambda: flat @ flat, flat.max, lambda: vectors @ query)
    times = [_seconds(read) for _ in range(_READS) for read in reads]
    return min(times)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def true_distances(vectors: Vectors, queries: Vectors, k: int) -> NDArray[np.float64]:
    """Brute force in float64: the distances (q, k) of each query's nearest vectors, nearest first."""
    k = min(k, len(vectors))
    kept = min(k + _SPARE, len(vectors))
    best, rows = np.empty((len(queries), 0)), np.empty((len(queries), 0), np.int64)
    wide = queries.astype(np.float64)
    for start in range(0, len(vectors), _CHUNK):
        chunk = vectors[start : start + _CHUNK].astype(np.float64)
        squares = np.einsum("ij,ij->i", chunk, chunk) - 2 * (wide @ chunk.T)
        best = np.hstack([best, squares])
        rows = np.hstack([rows, np.broadcast_to(np.arange(start, start + len(chunk)), squares.shape)])
        nearest = np.argpartition(best, min(kept, best.shape[1]) - 1, axis=1)[:, :kept]
        best, rows = np.take_along_axis(best, nearest, 1), np.take_along_axis(rows, nearest, 1)
    measured = (distances_of(vectors, query, found) for query, found in zip(queries, rows, strict=True))
    return np.stack([np.sort(distances)[:k] for distances in measured])


def distances_of(vectors: Vectors, query: Vectors, rows: Rows) -> NDArray[np.float64]:
    """Distances of some rows in float64 differences."""
    distances: NDArray[np.float64] = np.linalg.norm(vectors[rows].astype(np.float64) - query.astype(np.float64), axis=1)
    return distances


def _in_own_process(order: Order) -> list[Row]:
    """What an engine holds in memory can only be told of a fresh process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(order, theirs))
    process.start()
    theirs.close()
    try:
        answer = ours.recv()
    except EOFError:
        raise Unavailable(
            "measurement_died",
            f"the process that measured {order.engine} was ended from outside",
            hint="most likely the memory was full: take a smaller --n or leave the engine out of --engines",
        ) from None
    finally:
        process.join()
    if isinstance(answer, BaseException):
        raise answer
    return answer  # type: ignore[no-any-return]


def _measure(order: Order, answer: Connection) -> None:
    try:
        answer.send(_rows(order))
    except SonoSeekError as error:
        answer.send(error)


def _rows(order: Order) -> list[Row]:
    from threadpoolctl import threadpool_limits

    vectors, queries, truth = (np.load(order.folder / f"{name}.npy") for name in ("vectors", "queries", "truth"))
    open_rival(order.engine, vectors[:_FEW])(queries[0], 1)  # imports what it needs
    with threadpool_limits(1):
        before, start = _resident_mb(), time.perf_counter()
        search = open_rival(order.engine, vectors)
        build_s, memory = time.perf_counter() - start, _resident_mb() - before
        rows = []
        for k in order.ks:
            times, found = _ask(lambda query, k=k: search(query, k), queries)  # type: ignore[misc]
            rows.append(
                Row(
                    engine=order.engine,
                    data=order.data,
                    n=len(vectors),
                    dim=vectors.shape[1],
                    k=k,
                    build_s=round(build_s, 3),
                    p50_ms=round(1000 * float(np.percentile(times, 50)), 4),
                    p99_ms=round(1000 * float(np.percentile(times, 99)), 4),
                    recall=round(_recall(vectors, queries, found, truth[:, :k]), 4),
                    memory_mb=round(max(memory, 0.0), 1),
                    queries=len(times),
                )
            )
    return rows


def _ask(search: Callable[[Vectors], Rows], queries: Vectors) -> tuple[list[float], list[Rows]]:
    """Seconds of all answers, and the first answer to each query that was asked."""
    for query in queries[:_WARM]:
        search(query)
    times: list[float] = []
    found: list[Rows] = []
    begin = time.perf_counter()
    while not found or time.perf_counter() - begin < _SECONDS:
        for query in queries:
            start = time.perf_counter()
            rows = search(query)
            times.append(time.perf_counter() - start)
            if len(times) <= len(queries):
                found.append(rows)
            if len(times) >= _LEAST and time.perf_counter() - begin > _PATIENCE_S:
                return times, found
    return times, found


def _recall(vectors: Vectors, queries: Vectors, found: Sequence[Rows], truth: NDArray[np.float64]) -> float:
    """The mean share of true neighbours among the found; a tie with the k-th is as good as the k-th."""
    right = [
        np.count_nonzero(distances_of(vectors, query, np.unique(rows)) <= true[-1] + _SAME)
        for query, rows, true in zip(queries, found, truth, strict=False)
    ]
    return float(np.mean(right) / truth.shape[1])


def _resident_mb() -> float:
    """What the process holds; where the system does not tell, the most that it ever held."""
    if not _STATM.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MB
    with contextlib.suppress(AttributeError, OSError):  # not every C library can
        ctypes.CDLL(None).malloc_trim(0)  # what was freed while building is not held
    return float(int(_STATM.read_text(encoding="ascii").split()[1]) * resource.getpagesize() / _MB)
