"""What of the paper's figures is the query's own patient."""

import numpy as np
import pytest
from judged_ground import angles, far_apart, hand_ranked, judged_ground, unit

from app.errors import BadInput
from app.evaluation.leakage import leakage_of
from app.evaluation.protocol import Protocol, rank_all
from app.evaluation.trials import trials_of


def both(ground, contestant):
    return [trials_of(ground, rank_all(ground, contestant, "organ", protocol)) for protocol in Protocol]


def test_leakage_by_hand():
    # Rows 0, 1, 2 are one patient; 3 looks like 0 but is another's. Labels: a a b a, then a and b in turn.
    labels = ["a", "a", "b", "a", *["a", "b"] * 5]
    hashes = far_apart(14)
    hashes[3] = hashes[0]
    ground, _ = judged_ground(labels, patients=["p", "p", "p", *"qrstuvwxyzA"], fingerprints=hashes)
    found = {row: [one for one in range(14) if one != row][:10] for row in range(14)}
    paper = trials_of(ground, hand_ranked(ground, "organ", found))
    hidden = {
        0: list(range(4, 14)),
        1: list(range(3, 13)),
        2: list(range(3, 13)),
        3: [one for one in range(1, 11) if one != 3],
    }
    patient = trials_of(
        ground,
        hand_ranked(ground, "organ", {**found, **hidden}, Protocol.PATIENT, visible=[10, 11, 11, 12, *[13] * 10]),
    )
    leak = leakage_of(ground, paper, patient, draws=200)
    # Own with the label: query 0 finds 1 (own, a) and 3 (near-duplicate, a): 2, query 1 finds 0: 1, query 2 none
    # (0 and 1 carry a), query 3 finds 0: 1, the others none: 4 of 14 queries. Any label: 0 finds 1, 2, 3; 1 finds
    # 0, 2; 2 finds 0, 1; 3 finds 0: 8 of 14.
    assert leak.own_same.value == pytest.approx(4 / 14)
    assert leak.own_any.value == pytest.approx(8 / 14)
    assert leak.duplicates_same.value == pytest.approx(2 / 14)
    assert leak.queries_with.value == pytest.approx(3 / 14)
    assert leak.share_of_found == pytest.approx(4 / paper.found.sum())
    assert leak.paper == pytest.approx((paper.found / paper.shown).mean())
    assert leak.difference.value == pytest.approx(leak.paper - leak.patient)


def test_an_encoder_that_knows_the_patient_leaks_all_it_finds():
    # Forty patients of three images, all of one label each, the images of a patient in one place, patients at random.
    generator = np.random.default_rng(0)
    patient = np.repeat(np.arange(40), 3)
    organs = [f"organ-{one}" for one in generator.integers(0, 4, 40)[patient]]
    vectors = unit(generator.normal(size=(40, 6))[patient] + 0.01 * generator.normal(size=(120, 6)))
    ground, contestant = judged_ground(organs, vectors, patients=[f"p{one}" for one in patient])
    paper, without = both(ground, contestant)
    leak = leakage_of(ground, paper, without)
    assert leak.own_same.value == 2.0
    assert leak.own_same.method == "percentile"  # every resample says the same
    # The difference alone hides part of it: others of the class fill the freed places.
    assert 0 < leak.difference.value < 0.2
    assert leak.difference.low > 0


def test_without_several_images_a_patient_nothing_leaks():
    ground, contestant = judged_ground(["a", "b"] * 10, angles(*range(20)))
    leak = leakage_of(ground, *both(ground, contestant), draws=100)
    assert (leak.own_same.value, leak.own_any.value, leak.difference.value) == (0.0, 0.0, 0.0)


def test_a_query_that_sees_only_its_patient_is_left_out_of_the_difference():
    ground, contestant = judged_ground(["a", "b"] * 10, angles(*range(20)), patients=["p"] * 20)
    leak = leakage_of(ground, *both(ground, contestant), draws=100)
    assert leak.patient is None
    assert leak.difference.value is None
    assert leak.own_any.value == 10


def test_both_protocols_of_one_contestant_are_needed():
    ground, contestant = judged_ground(["a", "b"] * 10, angles(*range(20)))
    paper, patient = both(ground, contestant)
    with pytest.raises(BadInput):
        leakage_of(ground, patient, paper)
