"""What a query may see, and the nearest of it."""

import numpy as np
import pytest
from shelf_maker import angles, make_snapshot

from app.errors import BadInput
from app.indexes.registry import ENGINES
from app.search.answer import Wish, parse_condition
from app.search.ranking import rank

QUERY = angles(0)[0]


@pytest.fixture(params=list(ENGINES))
def snapshot(request):
    return make_snapshot(
        angles(1, 2, 3, 4, 5, 6, 7, 8),
        ["femur", "femur", "spine", "femur", "spine", "thorax", "femur", "spine"],
        ["a", "a", "a", "b", "b", "c", None, None],
        devices=["E6", "E8", "E6", "E8", "E6", "E8", "E6", "E8"],
        engine=request.param,
    )


def rows(snapshot, **wish):
    extra = {name: wish.pop(name) for name in ("self_id", "patient_keys", "without_own_patient") if name in wish}
    return rank(snapshot, QUERY, Wish(**wish), **extra).hits.rows.tolist()


def test_nearest_first(snapshot):
    ranking = rank(snapshot, QUERY, Wish(k=3))
    assert ranking.hits.rows.tolist() == [0, 1, 2]
    np.testing.assert_allclose(ranking.hits.distances, 2 * np.sin(np.radians([1, 2, 3]) / 2), atol=1e-6)


def test_the_query_itself_is_left_out_unless_it_is_wanted(snapshot):
    assert rows(snapshot, k=2, self_id="id-0") == [1, 2]
    assert rows(snapshot, k=2, self_id="id-0", include_self=True) == [0, 1]


def test_a_patient_is_left_out_but_not_the_query_that_is_wanted(snapshot):
    assert rows(snapshot, k=3, patient_keys=["a"]) == [3, 4, 5]
    assert rows(snapshot, k=3, patient_keys=["nobody"]) == [0, 1, 2]
    assert rows(snapshot, k=3, patient_keys=["a", "b"]) == [5, 6, 7]
    assert rows(snapshot, k=3, patient_keys=["a"], self_id="id-2", include_self=True) == [2, 3, 4]


def test_a_references_own_patient_is_left_out(snapshot):
    assert rows(snapshot, k=3, self_id="id-1", without_own_patient=True) == [3, 4, 5]


def test_same_kind_means_or_different_kinds_mean_and(snapshot):
    assert rows(snapshot, where=(("organ", "spine"),)) == [2, 4, 7]
    assert rows(snapshot, where=(("organ", "spine"), ("organ", "thorax"))) == [2, 4, 5, 7]
    assert rows(snapshot, where=(("organ", "spine"), ("device", "E8"))) == [7]
    assert rows(snapshot, where=(("organ", "liver"),)) == []
    assert rows(snapshot, where=(("site", "north"),)) == []  # an attribute that nobody has here


def test_an_unknown_kind_is_refused(snapshot):
    with pytest.raises(BadInput) as caught:
        rows(snapshot, where=(("colour", "red"),))
    assert caught.value.code == "unknown_filter"


def test_at_most_n_of_a_patient_and_never_fewer_than_k_while_k_exist(snapshot):
    assert rows(snapshot, k=5, max_per_patient=1) == [0, 3, 5, 6, 7]
    assert rows(snapshot, k=8, max_per_patient=2) == [0, 1, 3, 4, 5, 6, 7]
    assert rows(snapshot, k=2, max_per_patient=1, where=(("organ", "spine"),)) == [2, 4]


def test_near_duplicates_without_a_patient_count_as_one(snapshot):
    twins = make_snapshot(angles(1, 2, 3), ["femur"] * 3, [None] * 3, fingerprints=["0" * 16, "0" * 15 + "7", "f" * 16])
    assert rank(twins, QUERY, Wish(k=3, max_per_patient=1)).hits.rows.tolist() == [0, 2]


def test_a_filter_splits_at_the_first_colon():
    assert parse_condition("site:ward:3") == ("site", "ward:3")
    for text in ("organ", ":femur", "organ:"):
        with pytest.raises(BadInput):
            parse_condition(text)


@pytest.mark.parametrize("wish", [{"k": 0}, {"k": 1001}, {"k": 10**9}, {"max_per_patient": 0}])
def test_numbers_out_of_range_are_refused(wish):
    with pytest.raises(BadInput):
        Wish(**wish)
