"""Bounds from principal components: never above the true distance, and the engines that lean on them."""

import numpy as np
import pytest

from app.indexes.bound import PrincipalBound
from app.indexes.components import Components, choose_components
from app.indexes.exact import ExactIndex
from app.indexes.sieve import Sieve
from app.indexes.tables import PlainTable, PrincipalTable
from app.indexes.trees import BallTreeIndex, KDTreeIndex, RawKDTreeIndex

ROWS, DIM = 6_000, 48  # enough rows that the scan looks at blocks first


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
    bound = PrincipalBound.fit(vectors, components)
    table = bound.project(vectors)
    lengths = np.square(table.astype(np.float64)).sum(axis=1)
    for query in queries(vectors):
        point = bound.project(query[None])[0]
        squares = np.square(table - point).sum(axis=1)  # in float32, as engines do
        allowance = bound.error * (lengths + np.square(point.astype(np.float64)).sum())
        assert (squares - allowance <= true_squares(query, vectors)).all()


def principal(components, more=0):
    """A table of some components, out of a projection to more."""

    def make(rows):
        bound = PrincipalBound.fit(rows, components)
        return PrincipalTable(bound, bound.fold(PrincipalBound.fit(rows, components + more).project(rows)))

    return make


TABLES = {
    "one component": principal(1),
    "one component of many": principal(1, 40),
    "eight components": principal(8),
    "eight components of many": principal(8, 20),
    "all components": principal(DIM),
    "plain": PlainTable,
}


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_tables_never_rule_out_a_row_at_its_own_distance(vectors, make):
    table = make(vectors)
    for query in queries(vectors):
        asked, lows = table.ask(query), table.lows(table.ask(query).factors).astype(np.float64)
        limits = np.array([asked.limit(square) for square in true_squares(query, vectors)])
        assert (lows <= limits).all()


@pytest.mark.parametrize("make", [TABLES["all components"], PlainTable])
def test_tables_of_whole_vectors_rule_out_what_is_farther(vectors, make):
    """Rounding is carried, not paid with: at the distance of the tenth nearest only few of its like are left."""
    table = make(vectors)
    for query in queries(vectors)[:7]:
        squares = np.sort(true_squares(query, vectors))
        asked = table.ask(query)
        left = (table.lows(asked.factors) <= asked.limit(squares[9])).sum()
        assert left <= (squares <= squares[9] * 1.2 + 1e-9).sum()


def test_the_second_look_keeps_all_that_belong_to_the_nearest(vectors):
    bound = PrincipalBound.fit(vectors, 24)
    sieve = Sieve(bound, vectors, bound.project(vectors))
    rng = np.random.default_rng(8)
    for query in queries(vectors):
        candidates = np.sort(rng.choice(ROWS, 400, replace=False))
        squares = true_squares(query, vectors)[candidates]
        belong = candidates[squares <= np.partition(squares, 9)[9]]
        assert np.isin(belong, sieve.pass_on(query, candidates, 10)).all()


def test_chosen_components_leave_few_candidates_where_the_spectrum_falls():
    vectors = falling(np.random.default_rng(5), 8_000, 128)
    scanned, sieved = choose_components(vectors, PrincipalBound.fit(vectors))
    assert scanned < sieved < 128
    for components, most in ((scanned, 0.1), (sieved, 0.01)):
        table = principal(components)(vectors)
        shares = []
        for query in vectors[:10]:
            asked, tenth = table.ask(query), np.partition(true_squares(query, vectors), 9)[9]
            shares.append((table.lows(asked.factors) <= asked.limit(tenth)).mean())
        assert np.median(shares) < most


def test_vectors_that_point_everywhere_are_scanned_whole():
    rows = unit(np.random.default_rng(5).normal(size=(8_000, 128)))
    assert choose_components(rows, PrincipalBound.fit(rows)) is None
    rows = unit(rows[:1] + 1e-5 * rows)  # however near they lie to each other
    assert choose_components(rows, PrincipalBound.fit(rows)) is None


def falling(rng, rows, dim):
    """Clusters with a power-law spectrum, as embeddings have it."""
    spectrum = np.arange(1, dim + 1) ** -0.7
    centres = rng.normal(size=(40, dim)) * spectrum
    return unit(centres[rng.integers(0, 40, rows)] + 0.3 * spectrum * rng.normal(size=(rows, dim)))


ENGINES = {
    "scan": ExactIndex,
    "scan over few components": lambda rows: ExactIndex(rows, Components(2, 6)),
    "scan over all components": lambda rows: ExactIndex(rows, Components(24, DIM)),
    "kd-tree": KDTreeIndex,
    "raw kd-tree": RawKDTreeIndex,
    "ball tree": BallTreeIndex,
}


@pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("share", [1.0, 0.5, 0.004])
def test_engines_find_the_nearest_of_many_rows(vectors, make, share):
    index = make(vectors)
    allowed = np.random.default_rng(7).random(len(vectors)) < share
    for query in queries(vectors)[::2]:
        squares = np.where(allowed, true_squares(query, vectors), np.inf)
        order = np.lexsort((np.arange(len(vectors)), np.sqrt(squares)))[:10]
        hits = index.search(query, 10, allowed)
        np.testing.assert_allclose(hits.distances, np.sqrt(squares[order]), atol=1e-6, rtol=0)
        assert hits.rows.tolist() == order.tolist()


@pytest.mark.parametrize("components", [None, Components(4, 12)])
def test_queries_in_a_batch_find_what_they_find_alone(vectors, components, monkeypatch):
    monkeypatch.setattr("app.indexes.exact._NUMBERS", 4 * ROWS)  # four queries at once
    index = ExactIndex(vectors, components)
    rng = np.random.default_rng(9)
    asked = np.stack(queries(vectors))
    masks = [None if i % 3 else rng.random(ROWS) < (0, 0.001, 0.5)[i % 9 // 3] for i in range(len(asked))]
    for query, mask, hits in zip(asked, masks, index.search_many(asked, 10, masks), strict=True):
        alone = index.search(query, 10, mask)
        assert hits.rows.tolist() == alone.rows.tolist()
        assert hits.distances.tolist() == alone.distances.tolist()


def test_a_library_of_equal_vectors_gives_its_first_rows():
    vectors = np.repeat(unit(np.ones((1, DIM))), 3_000, axis=0)
    for make in ENGINES.values():
        assert make(vectors).search(vectors[0], 5).rows.tolist() == [0, 1, 2, 3, 4]
