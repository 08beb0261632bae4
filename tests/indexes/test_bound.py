"""Bounds from principal components: never above the true distance, and the engines that lean on them."""

import numpy as np
import pytest

from app.indexes.bound import PrincipalBound
from app.indexes.exact import ExactIndex
from app.indexes.trees import BallTreeIndex, KDTreeIndex, RawKDTreeIndex

ROWS, DIM = 9_000, 48  # enough rows that the scan looks at blocks first


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clustered(rng):
    centres = rng.normal(size=(40, DIM)) * np.arange(1, DIM + 1) ** -0.7
    return unit(centres[rng.integers(0, 40, ROWS)] + 0.3 * rng.normal(size=(ROWS, DIM)))


def spread(rng):
    return unit(rng.normal(size=(ROWS, DIM)))


def collinear(rng):
    return unit(rng.normal(size=DIM) + 1e-4 * rng.normal(size=(ROWS, DIM)))


def duplicated(rng):
    return np.repeat(spread(rng)[: ROWS // 30], 30, axis=0)


def outlier(rng):
    rows = collinear(rng)
    rows[ROWS // 2] = -rows[ROWS // 2]
    return rows


@pytest.fixture(params=[clustered, spread, collinear, duplicated, outlier])
def vectors(request):
    return request.param(np.random.default_rng(5))


def queries(vectors):
    rng = np.random.default_rng(6)
    near = unit(vectors[rng.integers(0, len(vectors), 4)] + 1e-3 * rng.normal(size=(4, DIM)))
    return [*vectors[:3], *near, *unit(rng.normal(size=(2, DIM)))]


def true_squares(query, vectors):
    return np.square(vectors.astype(np.float64) - query.astype(np.float64)).sum(axis=1)


@pytest.mark.parametrize("components", [1, 8, DIM])
def test_a_bound_lowered_by_its_error_never_exceeds_the_distance(vectors, components):
    bound = PrincipalBound.build(vectors, components)
    lengths = np.square(bound.table.astype(np.float64)).sum(axis=1)
    for query in queries(vectors):
        point = bound.project(query[None])[0]
        squares = np.square(bound.table - point).sum(axis=1)  # in float32, as engines do
        allowance = bound.error * (lengths + np.square(point.astype(np.float64)).sum())
        assert (squares - allowance <= true_squares(query, vectors)).all()


def test_a_bound_leaves_few_candidates_where_the_spectrum_falls():
    vectors = clustered(np.random.default_rng(5))
    bound = PrincipalBound.build(vectors)
    assert bound.components < DIM
    shares = []
    for query in queries(vectors)[:7]:
        squares = np.square(bound.table - bound.project(query[None])[0]).sum(axis=1)
        shares.append((squares <= np.partition(true_squares(query, vectors), 9)[9]).mean())
    assert np.median(shares) < 0.2


ENGINES = {
    "scan": ExactIndex,
    "scan over two components": lambda rows: ExactIndex(rows, 2),
    "kd-tree": KDTreeIndex,
    "raw kd-tree": RawKDTreeIndex,
    "ball tree": BallTreeIndex,
}


@pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("share", [1.0, 0.5, 0.002])
def test_engines_find_the_nearest_of_many_rows(vectors, make, share):
    index = make(vectors)
    allowed = np.random.default_rng(7).random(len(vectors)) < share
    for query in queries(vectors)[::2]:
        squares = np.where(allowed, true_squares(query, vectors), np.inf)
        order = np.lexsort((np.arange(len(vectors)), np.sqrt(squares)))[:10]
        hits = index.search(query, 10, allowed)
        np.testing.assert_allclose(hits.distances, np.sqrt(squares[order]), atol=1e-6, rtol=0)
        assert hits.rows.tolist() == order.tolist()
