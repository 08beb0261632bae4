"""Paired differences of contestants."""

import numpy as np
import pytest
from judged_ground import hand_ranked, judged_ground, random_ground, unit

from app.errors import BadInput
from app.evaluation.ground import with_vectors
from app.evaluation.protocol import Protocol, rank_all
from app.evaluation.significance import paired_differences
from app.evaluation.trials import trials_of


def contestants(seed=0, patients=100):
    """A ground with a contestant that knows nothing, one that knows the organ a little, and one that knows it well."""
    ground, blind = random_ground(n=300, classes=4, patients=patients, seed=seed)
    organs = np.array([int(one.labels.organ[-1]) for one in ground.references])
    noise = np.random.default_rng(seed + 50).normal(size=(300, 6))
    knowing = [
        with_vectors(blind.snapshot, name, f"sha256:{name}", unit(noise + pull * np.eye(6)[organs]))
        for name, pull in (("little", 0.8), ("well", 2.5))
    ]
    return ground, [blind, *knowing]


def judged(ground, several, kind="organ"):
    return [trials_of(ground, rank_all(ground, one, kind, Protocol.PATIENT)) for one in several]


def test_all_pairs_are_compared_in_families():
    ground, several = contestants()
    found = paired_differences(judged(ground, several), draws=500, flips=2000)
    assert [(one.average, one.first, one.second) for one in found[:3]] == [
        ("micro", "encoder", "little"),
        ("micro", "encoder", "well"),
        ("micro", "little", "well"),
    ]
    assert [one.average for one in found[3:]] == ["macro"] * 3
    assert all(one.tests == 3 for one in found)
    for one in found:
        assert one.low <= one.difference <= one.high < 0  # the second is better
        assert one.p <= one.p_holm <= 3 * one.p
    # The largest difference: no choice of signs reaches it, and Holm multiplies the smallest p by three.
    assert found[1].p == 1 / 2001
    assert found[1].p_holm == 3 / 2001


def test_the_difference_is_that_of_the_figures():
    ground, several = contestants()
    trials = judged(ground, several[:2])
    micro, macro = paired_differences(trials, draws=100, flips=100)
    a, b = ((one.found / one.shown) for one in trials)
    assert micro.difference == pytest.approx(a.mean() - b.mean())
    classes = trials[0].classes
    assert macro.difference == pytest.approx(np.mean([(a - b)[classes == label].mean() for label in range(4)]))


def test_an_encoder_is_no_better_than_itself():
    ground, several = contestants()
    trials = judged(ground, [several[1], several[1]])
    for one in paired_differences(trials, draws=100, flips=500):
        assert (one.difference, one.low, one.high, one.p, one.p_holm) == (0.0, 0.0, 0.0, 1.0, 1.0)
        assert one.method == "percentile"


def test_independent_queries_differ_by_chance_as_often_as_p_says():
    # Neighbours drawn at random for each query by itself: nothing to find, and no query depends on another.
    ground, _ = random_ground(n=200, patients=70)
    generator = np.random.default_rng(0)

    def at_random():
        found = {
            row: generator.choice(np.delete(np.arange(200), row), 10, replace=False).tolist() for row in range(200)
        }
        return trials_of(ground, hand_ranked(ground, "organ", found))

    small = sum(paired_differences([at_random(), at_random()], draws=0, flips=300)[0].p < 0.1 for _ in range(60))
    assert 1 <= small <= 13  # 6 expected, standard deviation 2.3


def test_few_patients_cannot_show_a_difference():
    # Three patients: of 8 choices of signs at least 2 reach the sum, so p is 1/4 or more, however many images.
    ground, several = contestants(patients=3)
    assert paired_differences(judged(ground, [several[0], several[2]]), draws=100)[0].p > 0.2


def test_chosen_pairs_are_a_smaller_family():
    ground, several = contestants()
    found = paired_differences(judged(ground, several), pairs=[(2, 0)], draws=100, flips=500)
    assert [(one.first, one.second, one.tests) for one in found] == [("well", "encoder", 1)] * 2
    assert found[0].p_holm == found[0].p
    assert paired_differences(judged(ground, several[:1])) == []


def test_other_queries_are_refused():
    ground, several = contestants()
    one, other = judged(ground, several[:1])[0], judged(ground, several[:1], "organ_group")[0]
    with pytest.raises(BadInput) as caught:
        paired_differences([one, other])
    assert caught.value.code == "other_queries"
    smaller, contestant = judged_ground(["a", "b"] * 20)
    with pytest.raises(BadInput):
        paired_differences([one, *judged(smaller, [contestant])])
