"""Recall of Qdrant's graph, by its own engine in process.

PYTHONPATH=.:tests/indexes python benchmarks/qdrant_recall.py
"""

import tempfile
import uuid
from pathlib import Path

import numpy as np
from qdrant_client.http import models
from qdrant_engine import Engine, optimise
from qdrant_library import unit

VECTORS, DIM, QUERIES, K, FETCHED = 20_000, 256, 200, 10, 42
SHARES = {"all": 1.0, "10 %": 0.1, "1 %": 0.01}
EF = (64, 256)


def clusters(rng, n):
    """Vectors (n, dim) around 200 centres, the variance of direction i falling as 1/i."""
    scale = np.arange(1, DIM + 1) ** -0.5
    centres = np.random.default_rng(1).normal(size=(200, DIM))
    return unit((centres[rng.integers(0, 200, n)] + 0.5 * rng.normal(size=(n, DIM))) * scale)


def structureless(rng, n):
    """Vectors (n, dim) in all directions alike."""
    return unit(rng.normal(size=(n, DIM)))


def main():
    print("| data | filter | quantisation |", " | ".join(f"ef {ef}" for ef in EF), "|")
    print("| --- | --- | --- |", " | ".join("---" for _ in EF), "|")
    for data in (clusters, structureless):
        rng = np.random.default_rng(20261125)
        vectors, queries = data(rng, VECTORS), data(rng, QUERIES)
        masks = {name: rng.random(VECTORS) < share for name, share in SHARES.items()}
        for int8 in (False, True):
            collection = filled(vectors, masks, int8)
            for name, mask in masks.items():
                recalls = [recall(collection, vectors, queries, name, mask, ef, int8) for ef in EF]
                kind = "int8" if int8 else "none"
                print(
                    f"| {data.__name__} | {name} | {kind} |", " | ".join(f"{r:.3f}" for r in recalls), "|", flush=True
                )


def filled(vectors, masks, int8):
    scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
    engine = Engine(Path(tempfile.mkdtemp()))
    engine.create(
        "c",
        models.CreateCollection(
            vectors=models.VectorParams(size=DIM, distance=models.Distance.EUCLID),
            hnsw_config=models.HnswConfigDiff(m=16, ef_construct=200),
            quantization_config=models.ScalarQuantization(scalar=scalar) if int8 else None,
        ),
    )
    collection = engine["c"]
    collection.index("labels", models.PayloadSchemaType.KEYWORD)
    for start in range(0, len(vectors), 1000):
        rows = range(start, start + 1000)
        collection.upsert([point(row, vectors[row], masks) for row in rows], None)
    optimise(collection)
    assert collection.info().indexed_vectors_count == len(vectors)
    return collection


def point(row, vector, masks):
    labels = [name for name, mask in masks.items() if mask[row]]
    return models.PointStruct(id=key(row), vector=vector.tolist(), payload={"labels": labels})


def key(row):
    return str(uuid.UUID(int=row + 1))


def recall(collection, vectors, queries, name, mask, ef, int8):
    rows = np.flatnonzero(mask)
    asked = models.Filter(must=[models.FieldCondition(key="labels", match=models.MatchAny(any=[name]))])
    rescored = models.QuantizationSearchParams(ignore=False, rescore=True, oversampling=2.0)
    params = models.SearchParams(hnsw_ef=ef, exact=False, quantization=rescored if int8 else None)
    right = 0
    for query in queries:
        nearest = rows[np.argsort(np.square(vectors[rows] - query).sum(axis=1))[:K]]
        body = models.QueryRequest(
            query=query.tolist(), limit=FETCHED, filter=None if name == "all" else asked, params=params
        )
        right += len({key(row) for row in nearest} & {found.id for found in collection.query(body).points[:K]})
    return right / (K * len(queries))


if __name__ == "__main__":
    main()
