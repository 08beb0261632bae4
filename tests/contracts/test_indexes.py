"""Every engine against float64 brute force: distances must agree, ids where no ties are."""

import numpy as np
import pytest

from app.errors import Misconfigured
from app.indexes.registry import ENGINES, open_index

SEED = np.random.SeedSequence(20261124)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def spread(rng, n, dim):
    return unit(rng.normal(size=(n, dim)))


def collinear(rng, n, dim):
    """As of an untrained network: all vectors nearly the same."""
    return unit(rng.normal(size=dim) + 1e-3 * rng.normal(size=(n, dim)))


def duplicated(rng, n, dim):
    return np.repeat(spread(rng, n // 5 + 1, dim), 5, axis=0)[:n]


def outlier(rng, n, dim):
    rows = collinear(rng, n, dim)
    rows[n // 2] = -rows[n // 2]
    return rows


@pytest.fixture(params=list(ENGINES))
def engine(request):
    return request.param


@pytest.fixture(params=[spread, collinear, duplicated, outlier])
def vectors(request):
    return request.param(np.random.default_rng(SEED), 300, 64)


def brute_force(vectors, query, k, allowed):
    rows = np.flatnonzero(allowed)
    distances = np.linalg.norm(vectors[rows].astype(np.float64) - query.astype(np.float64), axis=1)
    order = np.lexsort((rows, distances))[:k]
    return rows[order], distances[order]


@pytest.mark.parametrize("k", [1, 10, 299])
@pytest.mark.parametrize("share", [1.0, 0.1, 0.01])
def test_agrees_with_brute_force(engine, vectors, k, share):
    rng = np.random.default_rng(k)
    index = open_index(engine, vectors)
    for query in [*vectors[:3], *unit(rng.normal(size=(3, 64)))]:
        allowed = rng.random(len(vectors)) < share
        rows, distances = brute_force(vectors, query, k, allowed)
        hits = index.search(query, k, allowed)
        np.testing.assert_allclose(hits.distances, distances, atol=1e-6, rtol=0)
        assert hits.rows.tolist() == rows.tolist()


def test_without_a_filter_everything_is_allowed(engine, vectors):
    index = open_index(engine, vectors)
    everything = np.ones(len(vectors), dtype=bool)
    assert index.search(vectors[7], 10).rows.tolist() == index.search(vectors[7], 10, everything).rows.tolist()


def test_many_queries_each_with_its_filter_find_what_they_find_alone(engine, vectors):
    index = open_index(engine, vectors)
    rng = np.random.default_rng(3)
    masks = [None, rng.random(300) < 0.5, np.zeros(300, dtype=bool), rng.random(300) < 0.05]
    together = index.search_many(vectors[:4], 10, masks)
    for query, mask, hits in zip(vectors[:4], masks, together, strict=True):
        alone = index.search(query, 10, mask)
        assert (hits.rows.tolist(), hits.distances.tolist()) == (alone.rows.tolist(), alone.distances.tolist())
    assert [hits.rows[0] for hits in index.search_many(vectors[:4], 1)] == [
        index.search(query, 1).rows[0] for query in vectors[:4]
    ]


def test_ties_are_in_order_of_rows_even_at_the_end_of_the_list(engine):
    vectors = unit(np.repeat(np.eye(8), 40, axis=0))
    hits = open_index(engine, vectors).search(vectors[200], 7)
    assert hits.rows.tolist() == list(range(200, 207))


def test_a_filter_never_gives_fewer_than_there_are(engine, vectors):
    allowed = np.zeros(len(vectors), dtype=bool)
    allowed[[3, 250]] = True
    assert sorted(open_index(engine, vectors).search(vectors[9], 10, allowed).rows.tolist()) == [3, 250]


def test_an_empty_library_and_an_empty_filter_give_nothing(engine, vectors):
    assert len(open_index(engine, np.empty((0, 0), np.float32)).search(vectors[0], 10).rows) == 0
    nothing = np.zeros(len(vectors), dtype=bool)
    assert len(open_index(engine, vectors).search(vectors[0], 10, nothing).rows) == 0


def test_length_and_names(engine, vectors):
    index = open_index(engine, vectors)
    assert (len(index), index.engine, index.exact) == (300, engine, True)


def test_an_unknown_engine_is_refused_with_the_known_ones():
    with pytest.raises(Misconfigured) as caught:
        open_index("hnsw", np.empty((0, 0), np.float32))
    assert "kdtree" in caught.value.hint
