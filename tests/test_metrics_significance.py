import numpy as np
import pytest
from scipy.stats import permutation_test

from app.metrics.significance import holm, sign_flip_p


def test_p_of_three_patients_by_hand():
    # All three differences are 1: of the 8 choices of signs only +++ and --- reach |3|, so p = 1/4.
    assert sign_flip_p(np.ones((3, 1)))[0] == pytest.approx(0.25, abs=0.02)


def test_p_never_is_0_and_is_1_without_a_difference():
    p = sign_flip_p(np.stack([np.ones(40), np.zeros(40)], axis=1))
    assert p.tolist() == [1 / 10_001, 1.0]


def test_p_agrees_with_scipys_exact_one():
    differences = np.random.default_rng(0).normal(0.4, 1.0, size=9)
    exact = permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    ).pvalue
    assert 0.02 < exact < 0.9
    assert sign_flip_p(differences[:, None])[0] == pytest.approx(exact, abs=0.02)


def test_without_a_difference_p_is_below_5_percent_in_5_percent():
    differences = np.random.default_rng(1).normal(size=(50, 2000))
    p = sign_flip_p(differences, flips=1000)
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.02)


def test_patients_are_flipped_whole():
    # One patient with a hundred images that all differ says no more than one patient: its sign is + or -.
    assert sign_flip_p(np.array([[100.0]]))[0] == 1.0


def test_the_seed_decides():
    differences = np.random.default_rng(2).normal(0.3, 1, size=(30, 1))
    assert sign_flip_p(differences, seed=1) == sign_flip_p(differences, seed=1)
    assert sign_flip_p(differences, seed=1) != sign_flip_p(differences, seed=2)


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04 times 4 3 2 1: .02 .03 .06 .04, and no p below the one before it: .02 .03 .06 .06.
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.7, 0.9])).tolist() == [1.0, 1.0]
    assert holm(np.array([0.02])).tolist() == [0.02]
