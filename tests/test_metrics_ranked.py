import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, ndcg_score

from app.metrics.classification import confusion, exactly_right, f1, majority_vote, vote_per_label
from app.metrics.ranked_lists import (
    average_precision_at_r,
    expected_precision,
    graded_gain,
    precision_at,
    recall_at,
)


def test_precision_is_of_what_could_be_seen():
    relevant = np.array([[1, 0, 1, 0], [1, 1, 0, 0]], bool)
    # The second list could hold two rows only, and both are right.
    assert precision_at(relevant, np.array([9, 2]), 4).tolist() == [0.5, 1.0]
    assert precision_at(relevant, np.array([9, 2]), 1).tolist() == [1.0, 1.0]
    assert np.isnan(precision_at(relevant[:1], np.array([0]), 4)).all()


def test_recall_is_undefined_where_there_is_nothing_to_find():
    relevant = np.array([[1, 0, 1], [0, 0, 0]], bool)
    found = recall_at(relevant, np.array([8, 0]), 3)
    assert found[0] == 0.25
    assert np.isnan(found[1])


def test_chance_is_the_share_of_what_may_be_seen():
    assert expected_precision(np.array([3, 0]), np.array([12, 4])).tolist() == [0.25, 0.0]


def test_average_precision_at_r_by_hand():
    # Three to find, at ranks 1, 3 and 5. Of the first R = 3, ranks 1 and 3 count: (1/1 + 2/3) / 3 = 5/9.
    assert average_precision_at_r(np.array([1, 3, 5]), 3) == pytest.approx(5 / 9)
    assert average_precision_at_r(np.array([1, 2, 3]), 3) == 1.0
    assert average_precision_at_r(np.array([4, 5, 6]), 3) == 0.0
    assert np.isnan(average_precision_at_r(np.array([], dtype=int), 0))


def test_graded_gain_by_hand():
    # Gains 1, 0, 2 of ranks 1 to 3: 1/log2(2) + 2/log2(4) = 2. Best with one 2 and two 1s in sight:
    # 2/log2(2) + 1/log2(3) + 1/log2(4) = 2.5 + 0.63093.
    found = graded_gain(np.array([[1.0, 0.0, 2.0]]), {2.0: np.array([1]), 1.0: np.array([2])})
    assert found[0] == pytest.approx(2 / (2.5 + 1 / np.log2(3)))
    assert np.isnan(graded_gain(np.zeros((1, 3)), {2.0: np.array([0]), 1.0: np.array([0])})).all()


def test_graded_gain_agrees_with_scikit_learn():
    generator = np.random.default_rng(0)
    gains = generator.choice([0.0, 0.0, 1.0, 2.0], size=(50, 30))
    nearness = generator.random((50, 30))
    ranked = np.take_along_axis(gains, np.argsort(-nearness, axis=1), axis=1)[:, :10]
    ours = graded_gain(ranked, {gain: (gains == gain).sum(axis=1) for gain in (1.0, 2.0)})
    theirs = [ndcg_score([row], [score], k=10) for row, score in zip(gains, nearness, strict=True)]
    assert ours == pytest.approx(theirs)


def test_a_tie_of_votes_falls_to_the_nearest_of_those_that_tie():
    # 2 2 7 7 5: a tie of 2 and 7, and a 2 is nearer. 5 7 7 2 2: 7 is nearer than 2, though 5 is the nearest of all.
    votes = np.array([[2, 2, 7, 7, 5], [5, 7, 7, 2, 2], [4, 3, -1, -1, -1], [-1] * 5])
    assert majority_vote(votes).tolist() == [2, 7, 4, -1]


def test_labels_are_given_by_more_than_half_of_the_voters():
    carried = np.array([[[1, 1], [1, 0], [1, 1], [0, 0], [0, 0]], [[1, 1], [1, 0], [0, 0], [0, 0], [0, 0]]], bool)
    # The second query has but two voters: both carry the first label, one of two the other.
    assert vote_per_label(carried, np.array([5, 2])).tolist() == [[True, False], [True, False]]


def test_f1_agrees_with_scikit_learn():
    generator = np.random.default_rng(1)
    truth = generator.random((80, 6)) < 0.3
    given = np.where(generator.random((80, 1)) < 0.4, truth, generator.random((80, 6)) < 0.3)
    assert 0.2 < exactly_right(truth, given).mean() < 0.8
    counts = [one.sum(axis=0).astype(float) for one in confusion(truth, given)]
    assert f1(*counts) == pytest.approx(f1_score(truth, given, average=None))
    assert exactly_right(truth, given).mean() == pytest.approx(accuracy_score(truth, given))
