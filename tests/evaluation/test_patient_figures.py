"""The figures of a ranking, on cases whose answers are worked out."""

import numpy as np
import pytest
from judged_ground import angles, hand_ranked, judged_ground, random_ground, unit
from sklearn.metrics import accuracy_score, f1_score
from sklearn.neighbors import KNeighborsClassifier

from app.domain import Labels
from app.evaluation.ground import with_vectors
from app.evaluation.patient_figures import corrected_precision, figures_of
from app.evaluation.protocol import Protocol, rank_all

TWELVE = angles(*range(12))


def by_label(figures):
    return {one.label: one for one in figures.classes}


def hand_case():
    """4 images of a, 8 of b. Each a finds the 3 other a and 7 b; each b finds 6 b and 4 a."""
    ground, contestant = judged_ground(["a"] * 4 + ["b"] * 8, TWELVE)
    others = {row: [one for one in range(12) if one != row] for row in range(12)}
    found = {
        row: others[row][:10] if row < 4 else [*range(4), *[one for one in others[row] if one >= 4][:6]]
        for row in others
    }
    return ground, contestant, hand_ranked(ground, "organ", found)


def test_micro_and_macro_by_hand():
    ground, contestant, ranked = hand_case()
    figures = figures_of(ground, contestant, ranked, min_images=5, draws=100)
    # Micro: (4 x 3 + 8 x 6) / 12 = 5 found in ten, so P@10 = .5. Macro over classes of at least 5: b only, .6.
    assert figures.found_in_10 == pytest.approx(5.0)
    assert figures.p_at_10.micro == pytest.approx(0.5)
    assert figures.p_at_10.macro == pytest.approx(0.6)
    # Expected, the query left out: a 10 x 3/11, b 10 x 7/11; mean (4 x 30 + 8 x 70) / 11 / 12 = 680/132.
    assert figures.expected_in_10 == pytest.approx(680 / 132)
    assert figures.lift == pytest.approx(5 / (680 / 132))
    # (P - E) / (1 - E) with P = .5, E = 68/132.
    assert figures.chance_corrected.micro == pytest.approx((0.5 - 68 / 132) / (1 - 68 / 132))
    assert figures.chance_corrected.macro == pytest.approx((0.6 - 7 / 11) / (1 - 7 / 11))
    assert figures.chance.macro == pytest.approx(7 / 11)
    # Recall@10: a finds 3 of 3, b finds 6 of 7.
    assert figures.recall_at_10.micro == pytest.approx((4 * 1 + 8 * 6 / 7) / 12)


def test_classes_by_hand():
    ground, contestant, ranked = hand_case()
    found = by_label(figures_of(ground, contestant, ranked, min_images=5, draws=100))
    a, b = found["a"], found["b"]
    assert (a.images, a.patients, a.in_macro, b.in_macro) == (4, 4, False, True)
    assert (a.found_in_10, b.found_in_10) == (3.0, 6.0)
    assert a.p_at_10.value == pytest.approx(0.3)
    assert a.expected_in_10 == pytest.approx(30 / 11)
    assert a.lift == pytest.approx(3 / (30 / 11))
    assert a.chance_corrected == pytest.approx((0.3 - 3 / 11) / (1 - 3 / 11))
    assert (a.recall_at_10, b.recall_at_10) == (1.0, pytest.approx(6 / 7))


def test_the_vote_of_five_by_hand():
    ground, contestant, ranked = hand_case()
    figures = figures_of(ground, contestant, ranked, min_images=4, draws=100)
    # The five nearest of an a are the 3 other a and 2 b: a. Those of a b are 4 a and 1 b: a. So 4 of 12 are right;
    # F1 of a: TP 4, FP 8, FN 0: 8/16; of b: 0.
    assert figures.accuracy_of_5.value == pytest.approx(4 / 12)
    assert figures.macro_f1_of_5.value == pytest.approx((0.5 + 0.0) / 2)
    assert by_label(figures)["a"].f1_of_5 == 0.5


def test_coverage_counts_what_the_figures_are_about():
    labels = [Labels(organ="a" if row < 20 else "b") for row in range(25)] + [Labels(), Labels(organ="alone")]
    ground, contestant = judged_ground(labels, unit(np.random.default_rng(0).normal(size=(27, 4))))
    figures = figures_of(ground, contestant, rank_all(ground, contestant, "organ", Protocol.PATIENT), draws=100)
    cover = figures.coverage
    assert (cover.images, cover.annotated, cover.patients, cover.trials) == (27, 26, 26, 26)
    assert (cover.classes, cover.macro_classes, cover.macro_trials) == (3, 1, 20)
    assert (cover.blind, cover.lone) == (0, 1)
    alone = by_label(figures)["alone"]
    # A class of one image finds nothing and expects nothing.
    assert (alone.found_in_10, alone.expected_in_10, alone.lift, alone.recall_at_10) == (0.0, 0.0, None, None)
    assert (alone.p_at_10.value, alone.p_at_10.method) == (0.0, "none")


def test_random_embeddings_find_what_chance_gives():
    ground, contestant = random_ground(n=800, classes=5, patients=800, seed=3)
    for protocol in Protocol:
        figures = figures_of(ground, contestant, rank_all(ground, contestant, "organ", protocol), draws=500)
        for one in figures.classes:
            expected = 10 * (one.images - 1) / (800 - 1)
            # Patients here have about one image each, but some two: those of the query are hidden.
            assert one.expected_in_10 == pytest.approx(expected, rel=0 if protocol is Protocol.PAPER else 0.02)
            # A query's ten are about binomial: standard error sqrt(10 p (1 - p) / n), a little more as queries share
            # neighbours.
            share = expected / 10
            assert abs(one.found_in_10 - expected) < 5 * np.sqrt(10 * share * (1 - share) / one.images)
        assert (
            figures.chance_corrected.low < 0 < figures.chance_corrected.high
            or abs(figures.chance_corrected.micro) < 0.02
        )
        assert figures.lift == pytest.approx(1, abs=0.1)


def test_identical_embeddings_do_no_better_than_chance():
    # All at one point: everybody's ten are the lowest ids (ties by id), whatever the labels.
    ground, contestant = judged_ground(["a", "b"] * 30, np.repeat(angles(10), 60, axis=0))
    ranked = rank_all(ground, contestant, "organ", Protocol.PAPER)
    figures = figures_of(ground, contestant, ranked, draws=200)
    assert ranked.neighbours[59].tolist() == list(range(10))
    assert figures.found_in_10 == pytest.approx(5.0, abs=0.2)
    assert figures.chance_corrected.micro == pytest.approx(0.0, abs=0.02)


def test_one_class_only_has_no_chance_corrected_figure():
    ground, contestant = judged_ground(["a"] * 25)
    figures = figures_of(ground, contestant, rank_all(ground, contestant, "organ", Protocol.PAPER), draws=100)
    assert (figures.p_at_10.micro, figures.expected_in_10, figures.lift) == (1.0, 10.0, 1.0)
    assert figures.chance_corrected.micro is None
    assert figures.classes[0].chance_corrected is None
    assert np.isnan(corrected_precision(1.0, 1.0))


def test_no_class_is_large_enough_for_a_macro_figure():
    ground, contestant, ranked = hand_case()
    figures = figures_of(ground, contestant, ranked, draws=100)
    assert (figures.p_at_10.macro, figures.p_at_10.macro_low, figures.p_at_10.macro_method) == (None, None, "none")
    assert figures.macro_f1_of_5.value is None
    assert figures.p_at_10.low is not None


def test_everybody_blind_says_nothing():
    ground, contestant = judged_ground(["a"] * 12, TWELVE, patients=["p"] * 12)
    figures = figures_of(ground, contestant, rank_all(ground, contestant, "organ", Protocol.PATIENT), draws=100)
    assert (figures.p_at_10.micro, figures.found_in_10, figures.lift) == (None, None, None)
    assert figures.coverage.blind == 12


def test_the_vote_agrees_with_scikit_learn():
    # Two classes and five voters: no ties, which scikit-learn decides otherwise.
    ground, contestant = random_ground(n=200, classes=2, patients=200, pull=1.0, seed=5)
    figures = figures_of(ground, contestant, rank_all(ground, contestant, "organ", Protocol.PAPER), draws=100)
    vectors, organs = contestant.snapshot.vectors, np.array([one.labels.organ for one in ground.references])
    others = [np.arange(200) != row for row in range(200)]
    voted = [
        KNeighborsClassifier(5, algorithm="brute").fit(vectors[rest], organs[rest]).predict(vectors[[row]])[0]
        for row, rest in enumerate(others)
    ]
    assert 0.5 < accuracy_score(organs, voted) < 1
    assert figures.accuracy_of_5.value == pytest.approx(accuracy_score(organs, voted))
    assert figures.macro_f1_of_5.value == pytest.approx(f1_score(organs, voted, average="macro"))


def test_the_macro_cut_leaves_the_gallery_whole():
    labels = ["a"] * 25 + ["b"] * 25 + ["rare"] * 5
    ground, contestant = judged_ground(labels, unit(np.random.default_rng(1).normal(size=(55, 4))))
    figures = figures_of(ground, contestant, rank_all(ground, contestant, "organ", Protocol.PAPER), draws=200)
    assert [one.label for one in figures.classes if one.in_macro] == ["a", "b"]
    # Chance of a among all 54 others, the rare ones too.
    assert by_label(figures)["a"].expected_in_10 == pytest.approx(10 * 24 / 54)


def test_a_better_encoder_scores_better_in_every_figure():
    ground, blind = random_ground(n=300, classes=4, patients=100, pull=0.0)
    organs = np.array([int(one.labels.organ[-1]) for one in ground.references])
    near = unit(np.random.default_rng(2).normal(size=(300, 6)) + 2 * np.eye(6)[organs])
    good = with_vectors(blind.snapshot, "good", "sha256:y", near)
    one, other = (
        figures_of(ground, contestant, rank_all(ground, contestant, "organ", Protocol.PATIENT), draws=200)
        for contestant in (good, blind)
    )
    for name in ("p_at_1", "p_at_5", "p_at_10", "recall_at_10", "map_at_r", "ndcg_at_10", "chance_corrected"):
        assert getattr(one, name).micro > getattr(other, name).micro
        assert getattr(one, name).macro > getattr(other, name).macro
        assert getattr(one, name).low < getattr(one, name).micro < getattr(one, name).high
    assert one.accuracy_of_5.value > other.accuracy_of_5.value
    assert one.p_at_10.low > other.p_at_10.high
    assert one.chance.micro == other.chance.micro


def test_several_labels_an_image_are_voted_on_one_by_one():
    # u is carried by 0..8, v by 0..5. Every image's five nearest are 0..4 (or 0..5 without itself): all u and v.
    labels = [Labels(findings=("u", "v") if row < 6 else ("u",) if row < 9 else ("w",)) for row in range(12)]
    ground, contestant = judged_ground(labels, TWELVE)
    found = {row: [one for one in range(12) if one != row][:10] for row in range(12)}
    figures = figures_of(ground, contestant, hand_ranked(ground, "findings", found), min_images=3, draws=100)
    # Given are u and v to all: right for 0..5 only. F1: u TP 9, FP 3: 18/21; v TP 6, FP 6: 12/18; w 0.
    assert figures.accuracy_of_5.value == pytest.approx(6 / 12)
    assert figures.macro_f1_of_5.value == pytest.approx((18 / 21 + 12 / 18 + 0) / 3)
    assert figures.coverage.trials == 6 * 2 + 3 + 3
