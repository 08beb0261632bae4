"""Ways to search that can be measured: our engines, and what others offer, as their libraries give it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Collection
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from app.domain import Vectors
from app.errors import Misconfigured
from app.indexes.registry import open_index

Search = Callable[[Vectors, int], NDArray[np.int64]]
"""A query (dim,) and k to the rows of its neighbours."""


def open_rival(name: str, vectors: Vectors) -> Search:
    """Build the named way to search vectors (n, dim); raises Misconfigured where its library is not installed."""
    return RIVALS[name](vectors)


def require(names: Collection[str]) -> None:
    """Raise Misconfigured where the library of one of them is not installed."""
    if any(name.startswith("faiss") for name in names):
        _faiss()


def _engine(name: str) -> Callable[[Vectors], Search]:
    def build(vectors: Vectors) -> Search:
        index = open_index(name, vectors)
        return lambda query, k: index.search(query, k).rows

    return build


def _raw_kdtree(vectors: Vectors) -> Search:
    from scipy.spatial import KDTree

    tree = KDTree(vectors)
    return lambda query, k: np.atleast_1d(tree.query(query, k)[1])


def _scan(vectors: Vectors) -> Search:
    """Products in float32 and the largest of them; nothing is verified."""

    def search(query: Vectors, k: int) -> NDArray[np.int64]:
        products = vectors @ query
        best = np.argpartition(products, len(products) - k)[-k:]
        rows: NDArray[np.int64] = best[np.argsort(-products[best])]
        return rows

    return search


def _qdrant_memory(vectors: Vectors) -> Search:
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    size = models.VectorParams(size=vectors.shape[1], distance=models.Distance.EUCLID)
    client.create_collection("bench", vectors_config=size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that this mode is slow is what the rows show
        client.upload_collection("bench", vectors, ids=range(len(vectors)), batch_size=1024)

    def search(query: Vectors, k: int) -> NDArray[np.int64]:
        found = client.query_points("bench", query, limit=k, with_payload=False)
        return np.array([int(point.id) for point in found.points])

    return search


def _faiss_flat(vectors: Vectors) -> Search:
    faiss = _faiss()
    return _faiss_search(faiss.IndexFlatL2(vectors.shape[1]), vectors)


def _faiss_hnsw(vectors: Vectors) -> Search:
    """A graph with 32 links a row, searched with a list of 64; all else as FAISS sets it."""
    index = _faiss().IndexHNSWFlat(vectors.shape[1], 32)
    index.hnsw.efSearch = 64
    return _faiss_search(index, vectors)


def _faiss_search(index: object, vectors: Vectors) -> Search:
    index.add(vectors)  # type: ignore[attr-defined]

    def search(query: Vectors, k: int) -> NDArray[np.int64]:
        rows: NDArray[np.int64] = index.search(query[None], k)[1][0]  # type: ignore[attr-defined]
        return rows

    return search


def _faiss() -> ModuleType:
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # tells which build it takes
    try:
        import faiss
    except ModuleNotFoundError:
        raise Misconfigured(
            "extra_missing",
            "faiss is not installed",
            hint="pip install 'sonoseek[bench]', or leave faiss-flat and faiss-hnsw out of --engines",
        ) from None
    faiss.omp_set_num_threads(1)
    module: ModuleType = faiss
    return module


RIVALS: dict[str, Callable[[Vectors], Search]] = {
    "kdtree-raw": _raw_kdtree,
    "kdtree": _engine("kdtree"),
    "balltree": _engine("balltree"),
    "exact": _engine("exact"),
    "scan": _scan,
    "qdrant-memory": _qdrant_memory,
    "faiss-flat": _faiss_flat,
    "faiss-hnsw": _faiss_hnsw,
}

LARGE = 500_000
"""Rows above which only these are measured: the others would keep float64 or Python's copies of all of them."""

FIT_FOR_LARGE = ("kdtree", "exact", "scan", "faiss-flat")
