import numpy as np
import pytest

from app.metrics.precision import bootstrap_interval, precision_at_k


def line(*positions: float) -> np.ndarray:
    return np.array([[position, 0.0] for position in positions], np.float32)


def test_counts_the_matches_among_the_nearest_of_other_patients():
    vectors = line(0, 1, 2, 3, 10)
    figure = precision_at_k(vectors, ["a", "a", "b", "a", "b"], ["p", "q", "q", "r", "s"], k=2)
    # p: q's a and b. q's a: p's a, r's a. q's b: r's a, p's a. r's a: q's b and a. s's b: r's a, q's b.
    assert figure.matches.tolist() == [1, 2, 0, 1, 1]
    assert figure.mean == pytest.approx(1.0)


def test_chance_is_the_share_of_the_label_among_those_that_may_be_seen():
    figure = precision_at_k(line(0, 1, 2, 3), ["a", "a", "b", "a"], ["p", "p", "q", "r"], k=2)
    # p sees b and a; q sees three a; r sees a, a, b.
    assert figure.expected.tolist() == pytest.approx([1.0, 1.0, 0.0, 4 / 3])
    assert figure.chance == pytest.approx((1 + 1 + 0 + 4 / 3) / 4)


def test_a_patients_own_pictures_never_count():
    figure = precision_at_k(line(0, 0, 0, 5), ["a", "a", "a", "b"], ["p", "p", "p", "q"], k=3)
    assert figure.matches.tolist() == [0, 0, 0, 0]


def test_fewer_than_k_candidates_are_all_taken():
    figure = precision_at_k(line(0, 1, 2), ["a", "a", "a"], ["p", "q", "r"], k=10)
    assert figure.matches.tolist() == [2, 2, 2]
    assert figure.chance == pytest.approx(2)


def test_a_query_without_candidates_has_no_match():
    figure = precision_at_k(line(0, 1), ["a", "a"], ["p", "p"])
    assert (figure.mean, figure.chance) == (0, 0)


def test_ties_fall_to_the_earlier_row():
    figure = precision_at_k(line(0, 1, -1), ["a", "a", "b"], ["p", "q", "r"], k=1)
    assert figure.matches[0] == 1


def test_the_interval_draws_whole_patients():
    values = np.array([0.0] * 50 + [10.0] * 50)
    by_picture = bootstrap_interval(values, [str(number) for number in range(100)])
    by_patient = bootstrap_interval(values, ["p"] * 50 + ["q"] * 50)
    assert by_patient == (0.0, 10.0)
    assert 3.5 < by_picture[0] < 4.5 < 5.5 < by_picture[1] < 6.5


def test_the_interval_repeats_with_its_seed_and_holds_the_mean():
    figure = precision_at_k(
        np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32),
        ["a", "b", "c"] * 20,
        [str(number // 2) for number in range(60)],
    )
    low, high = figure.interval(seed=3)
    assert (low, high) == figure.interval(seed=3)
    assert (low, high) != figure.interval(seed=4)
    assert low < figure.mean < high


def test_random_vectors_match_by_chance():
    generator = np.random.default_rng(1)
    labels = generator.choice(["a", "b", "c", "d"], 600).tolist()
    figure = precision_at_k(generator.normal(size=(600, 8)).astype(np.float32), labels, [str(n) for n in range(600)])
    assert figure.mean == pytest.approx(figure.chance, abs=0.25)
    assert figure.chance == pytest.approx(2.5, abs=0.1)
