"""Figures by device, and whether neighbours share the device."""

import numpy as np
import pytest
from judged_ground import hand_ranked, judged_ground, random_ground, unit

from app.domain import Labels
from app.evaluation.ground import with_vectors
from app.evaluation.protocol import Protocol, rank_all
from app.evaluation.subgroups import NOT_GIVEN, attribute_leakage, attributes_of, subgroup_figures
from app.evaluation.trials import trials_of


def test_attribute_leakage_by_hand():
    # Six images of device x (rows 0-5), six of y; label a on 0-2 and 6-8, b on the others. Everybody finds the ten
    # others of lowest rows.
    organs = ["a"] * 3 + ["b"] * 3 + ["a"] * 3 + ["b"] * 3
    ground, _ = judged_ground(organs, devices=["x"] * 6 + ["y"] * 6)
    found = {row: [one for one in range(12) if one != row][:10] for row in range(12)}
    trials = trials_of(ground, hand_ranked(ground, "organ", found))
    leak = attribute_leakage(ground, trials, "device", draws=100)
    # x finds 5 others of x. y, rows 6 to 9, finds 6 to 10 without itself: 4; rows 10 and 11 find 6 to 9: 4.
    assert leak.found_in_10 == pytest.approx((6 * 5 + 6 * 4) / 12)
    # Five of the 11 others share the device: 50/11 of ten.
    assert leak.expected_in_10 == pytest.approx(50 / 11)
    assert leak.lift.value == pytest.approx((54 / 12) / (50 / 11))
    # Of one's label and device there are 2 others, 5 of the label. a (rows 0-2, 6-8) finds all 5 of a, 2 of its device:
    # expected 5 x 2/5 = 2. b of x (3-5): finds 3-5 without itself, 9, 10: 4 of b, 2 of x: expected 4 x 2/5.
    # b of y: row 9 finds 3-5 and 10: 4 of b, 1 of y; row 10: 3-5, 9: the same; row 11: 3-5, 9: the same.
    assert leak.same_label_found == pytest.approx((6 * 2 + 3 * 2 + 3 * 1) / 12)
    assert leak.same_label_expected == pytest.approx((6 * 2 + 6 * 8 / 5) / 12)
    assert (leak.values, leak.queries) == (2, 12)


def test_random_neighbours_do_not_share_the_device_beyond_chance():
    ground, contestant = random_ground(n=500, patients=170, pull=1.0, seed=1)
    trials = trials_of(ground, rank_all(ground, contestant, "organ", Protocol.PATIENT))
    leak = attribute_leakage(ground, trials, "device")
    assert leak.lift.low < 1 < leak.lift.high
    assert leak.same_label_lift.low < 1 < leak.same_label_lift.high


def test_an_encoder_that_sees_the_device_is_found_out_even_within_the_label():
    ground, contestant = random_ground(n=300, seed=2)
    device = np.array([int(found.attributes["device"][-1]) for found in ground.references])
    organ = np.array([int(found.labels.organ[-1]) for found in ground.references])
    noise = np.random.default_rng(0).normal(size=(300, 8))
    sees = with_vectors(
        contestant.snapshot, "sees", "sha256:y", unit(noise + 3 * np.eye(8)[device] + 3 * np.eye(8)[4 + organ])
    )
    trials = trials_of(ground, rank_all(ground, sees, "organ", Protocol.PATIENT))
    leak = attribute_leakage(ground, trials, "device")
    assert leak.lift.low > 1.2
    assert leak.same_label_lift.low > 1.2


def test_a_device_that_only_goes_with_the_label_is_explained_by_it():
    # Device = organ: neighbours share the device as they share the organ, and within the organ all do anyway.
    ground, contestant = random_ground(n=200, pull=2.0, seed=3)
    labels = [found.labels for found in ground.references]
    ground, contestant = judged_ground(
        labels, contestant.snapshot.vectors, devices=[f"only-{one.organ}" for one in labels]
    )
    trials = trials_of(ground, rank_all(ground, contestant, "organ", Protocol.PATIENT))
    leak = attribute_leakage(ground, trials, "device", draws=200)
    assert leak.lift.value > 1.5
    assert leak.same_label_lift.value == pytest.approx(1.0)


def test_subgroups_split_the_queries_and_keep_the_gallery():
    ground, contestant = random_ground(n=300, pull=1.0)
    trials = trials_of(ground, rank_all(ground, contestant, "organ", Protocol.PATIENT))
    groups = subgroup_figures(ground, trials, "device", draws=200)
    assert [one.value for one in groups] == ["device-0", "device-1", "device-2"]
    assert sum(one.trials for one in groups) == len(trials)
    whole = sum(one.trials * one.p_at_10.value for one in groups) / len(trials)
    assert whole == pytest.approx((trials.found / trials.shown).mean())
    for one in groups:
        assert one.p_at_10.low < one.p_at_10.value < one.p_at_10.high
        own = one.p_at_10.value, one.chance
        assert one.chance_corrected.value == pytest.approx((own[0] - own[1]) / (1 - own[1]))


def test_small_subgroups_have_no_interval_and_those_without_the_attribute_are_named():
    ground, contestant = judged_ground(["a", "b"] * 20, devices=["E6"] * 5 + [None] * 35)
    trials = trials_of(ground, rank_all(ground, contestant, "organ", Protocol.PATIENT))
    few, rest = subgroup_figures(ground, trials, "device", draws=100)
    assert (few.value, few.trials, few.p_at_10.low, few.p_at_10.method) == ("E6", 5, None, "none")
    assert (rest.value, rest.trials) == (NOT_GIVEN, 35)
    assert rest.p_at_10.low is not None


def test_only_attributes_with_several_values_count():
    ground, _ = judged_ground([Labels(organ="a")] * 12, devices=["E6"] * 12)
    assert attributes_of(ground) == []
    ground, contestant = judged_ground([Labels(organ="a")] * 12)
    trials = trials_of(ground, rank_all(ground, contestant, "organ", Protocol.PAPER))
    assert attribute_leakage(ground, trials, "device") is None
    assert attributes_of(random_ground(n=40)[0]) == ["device"]
