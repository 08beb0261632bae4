"""Trials: a query and a label, what was found and what chance would give."""

import numpy as np
import pytest
from judged_ground import angles, far_apart, hand_ranked, judged_ground, random_ground

from app.domain import Labels
from app.evaluation.protocol import Protocol, rank_all
from app.evaluation.trials import trials_of, visible_block


def test_chance_leaves_out_the_query_itself():
    # 4 of 12 images carry a, 8 carry b. A query of a sees 11 others, 3 of them a: 10 x 3/11; one of b: 10 x 7/11.
    ground, contestant = judged_ground(["a"] * 4 + ["b"] * 8, angles(*range(12)))
    trials = trials_of(ground, rank_all(ground, contestant, "organ", Protocol.PAPER))
    assert trials.expected.tolist() == pytest.approx([10 * 3 / 11] * 4 + [10 * 7 / 11] * 8)
    assert trials.labels == ("a", "b")
    assert trials.sizes.tolist() == [4, 8]


def test_chance_leaves_out_the_patient_and_its_near_duplicates():
    # Query 0 (a) of patient p may not see 1 (a, same patient) nor 4 (b, its near-duplicate): of the 10 that are left,
    # 2 and 3 carry a, so 10 x 2/10.
    hashes = far_apart(13)
    hashes[4] = hashes[0]
    patients = ["p", "p", *[f"q{row}" for row in range(11)]]
    ground, contestant = judged_ground(["a"] * 4 + ["b"] * 9, patients=patients, fingerprints=hashes)
    trials = trials_of(ground, rank_all(ground, contestant, "organ", Protocol.PATIENT))
    assert (trials.visible[0], trials.alike[0], trials.expected[0]) == (10, 2, pytest.approx(2.0))


@pytest.mark.parametrize("protocol", list(Protocol))
def test_counts_agree_with_masks(protocol):
    generator = np.random.default_rng(0)
    names = ["u", "v", "w", "x"]
    labels = [
        Labels(findings=tuple(generator.choice(names, generator.integers(0, 4), replace=False))) for _ in range(80)
    ]
    hashes = far_apart(80)
    for row in range(0, 80, 4):
        hashes[row + 1] = hashes[row]  # near-duplicates across and within patients
    patients = [f"p{one}" for one in generator.integers(0, 25, 80)]
    ground, contestant = judged_ground(labels, patients=patients, fingerprints=hashes)
    ranked = rank_all(ground, contestant, "findings", protocol)
    trials = trials_of(ground, ranked)
    columns = np.flatnonzero(ranked.gallery)
    for trial in range(len(trials)):
        seen = columns[visible_block(ground, ranked, trials.rows[[trial]], columns)[0]]
        label = trials.labels[trials.classes[trial]]
        assert trials.visible[trial] == len(seen)
        assert trials.alike[trial] == sum(label in ground.references[row].labels.findings for row in seen)
        found = [row for row in ranked.neighbours[trials.places[trial]] if row >= 0]
        assert trials.found[trial] == sum(label in ground.references[row].labels.findings for row in found)
    assert len(trials) == sum(len(found.labels.findings) for found in ground.references)


def test_an_image_with_five_diagnoses_is_five_trials():
    five = ("a", "b", "c", "d", "e")
    labels = [Labels(diagnoses=five)] + [Labels(diagnoses=("a",))] * 11
    ground, _ = judged_ground(labels)
    ranked = hand_ranked(
        ground, "diagnoses", {row: [other for other in range(11) if other != row][:10] for row in range(12)}
    )
    trials = trials_of(ground, ranked)
    own = trials.rows == 0
    assert [trials.labels[label] for label in trials.classes[own]] == list(five)
    # All ten neighbours carry a, none of them another diagnosis of the query, which is alone with them.
    assert trials.found[own].tolist() == [10, 0, 0, 0, 0]
    assert trials.alike[own].tolist() == [11, 0, 0, 0, 0]
    assert trials.first_of_queries().tolist() == [0, *range(5, 16)]


def test_a_query_that_sees_nothing_has_no_trial():
    patients = ["p"] * 12
    ground, contestant = judged_ground(["a"] * 12, patients=patients)
    trials = trials_of(ground, rank_all(ground, contestant, "organ", Protocol.PATIENT))
    assert len(trials) == 0
    assert trials.blind == 12


def test_sums_by_patient_give_the_means():
    ground, contestant = random_ground(n=120, pull=1.0)
    trials = trials_of(ground, rank_all(ground, contestant, "organ", Protocol.PATIENT))
    assert trials.ratio(trials.found).value == pytest.approx(trials.found.mean())
    means = [trials.found[trials.classes == label].mean() for label in range(4)]
    assert trials.class_ratio(trials.found, np.arange(4)).value == pytest.approx(np.mean(means))
    assert trials.class_ratio(trials.found, np.array([2])).value == pytest.approx(means[2])
    assert trials.ratio(trials.found).numerators.shape == (trials.groups, 1)
    assert trials.groups == len(set(ground.patients.tolist()))
