"""Rankings beyond the first ten."""

import numpy as np
import pytest
import torch
from judged_ground import angles, judged_ground, random_ground, unit
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from sklearn.metrics import ndcg_score

from app.domain import Labels
from app.evaluation.ground import with_vectors
from app.evaluation.patient_figures import figures_of
from app.evaluation.protocol import K, Protocol, rank_all
from app.evaluation.trials import trials_of
from app.evaluation.whole_ranking import Similarities, graded_gains, nearest_columns, whole_lists


def judged(ground, contestant, kind="organ", protocol=Protocol.PAPER):
    return trials_of(ground, rank_all(ground, contestant, kind, protocol))


def test_precision_and_map_agree_with_pytorch_metric_learning():
    ground, contestant = random_ground(n=200, classes=5, pull=0.7)
    figures = figures_of(ground, contestant, rank_all(ground, contestant, "organ", Protocol.PAPER), draws=0)
    calculator = AccuracyCalculator(
        include=("precision_at_1", "mean_average_precision_at_r"),
        k="max_bin_count",
        device=torch.device("cpu"),
        knn_func=CustomKNN(LpDistance(normalize_embeddings=False)),
    )
    labels = np.array([int(found.labels.organ[-1]) for found in ground.references])
    theirs = calculator.get_accuracy(contestant.snapshot.vectors, labels)
    assert figures.p_at_1.micro == pytest.approx(theirs["precision_at_1"])
    assert figures.map_at_r.micro == pytest.approx(theirs["mean_average_precision_at_r"], abs=1e-6)


def test_map_at_r_by_hand():
    # Row 0 at 0 degrees, a at 1, b at 2, a at 3, then b: two others carry a, of the first R = 2 only rank 1 does:
    # (1/2) x 1/1. Row 1 at 1 degree has 0 and 2 at the same distance, 0 first by id: (1/2) x 1/1 as well.
    # Row 3 at 3 degrees: 2 and 4 (b) are nearer than 1 (a), so nothing of the first two: 0.
    ground, contestant = judged_ground(["a", "a", "b", "a", *"b" * 8], angles(*range(12)))
    assert whole_lists(ground, contestant, judged(ground, contestant)).average_precisions[[0, 1, 3]].tolist() == [
        0.5,
        0.5,
        0.0,
    ]


def test_a_class_of_one_image_has_no_average_precision():
    ground, contestant = judged_ground(["alone", *"b" * 11], angles(*range(12)))
    found = whole_lists(ground, contestant, judged(ground, contestant)).average_precisions
    assert np.isnan(found[0])
    assert np.isfinite(found[1:]).all()


@pytest.mark.parametrize("protocol", list(Protocol))
@pytest.mark.parametrize("equal", [False, True])
def test_its_first_ten_are_those_of_the_ranking(protocol, equal):
    ground, contestant = random_ground(n=150, patients=40)
    if equal:  # every vector five times: ties everywhere
        vectors = np.repeat(contestant.snapshot.vectors[:30], 5, axis=0)
        contestant = with_vectors(contestant.snapshot, "equal", "sha256:y", vectors)
    trials = judged(ground, contestant, protocol=protocol)
    similarities = Similarities(ground, contestant, trials)
    for part, near in similarities.blocks(trials.rows):
        for place, row in zip(range(part.start, part.stop), near, strict=True):
            first = similarities.columns[nearest_columns(row, K)]
            assert first.tolist() == trials.ranked.neighbours[place].tolist()


def test_nearest_columns_keep_ties_in_order():
    near = np.array([1.0, 3.0, 1.0, Similarities.HIDDEN, 1.0])
    assert nearest_columns(near, 3).tolist() == [1, 0, 2]
    assert nearest_columns(near, 9).tolist() == [1, 0, 2, 4]
    assert nearest_columns(near[3:4], 2).tolist() == []


def test_graded_gain_agrees_with_scikit_learn():
    ground, contestant = random_ground(n=100, classes=6, pull=0.5)
    trials = judged(ground, contestant)
    ours = graded_gains(ground, trials)
    vectors = contestant.snapshot.vectors.astype(np.float64)
    organs = np.array([found.labels.organ for found in ground.references])
    groups = np.array([found.labels.organ_group for found in ground.references])
    for row in range(100):
        others = np.arange(100) != row
        gains = np.where(organs == organs[row], 2, np.where(groups == groups[row], 1, 0))[others]
        nearness = -np.linalg.norm(vectors - vectors[row], axis=1)[others]
        assert ours[row] == pytest.approx(ndcg_score([gains], [nearness], k=10))


def test_graded_gain_of_several_labels_takes_the_best_that_is_shared():
    # The query has diagnoses u and v of group g. All others share nothing but 1 (u and its group) and 2 (only g):
    # gains 2 at rank 1 and 1 at rank 2 is the best order; under another kind without groups the 1 is gone.
    labels = [
        Labels(diagnoses=("u", "v"), diagnosis_groups=("g",)),
        Labels(diagnoses=("u",), diagnosis_groups=("g",)),
        Labels(diagnoses=("w",), diagnosis_groups=("g",)),
        *[Labels(diagnoses=("x",), diagnosis_groups=("h",))] * 9,
    ]
    ground, contestant = judged_ground(labels, angles(*range(12)))
    gains = graded_gains(ground, judged(ground, contestant, "diagnoses"))
    assert gains[:2].tolist() == pytest.approx([1.0, 1.0])  # once for each of the query's labels
    swapped = with_vectors(contestant.snapshot, "swapped", "sha256:y", angles(0, 2, 1, *range(3, 12)))
    # 1 at rank 1, 2 at rank 2: (1 + 2/log2(3)) / (2 + 1/log2(3)).
    worse = graded_gains(ground, judged(ground, swapped, "diagnoses"))
    assert worse[0] == pytest.approx((1 + 2 / np.log2(3)) / (2 + 1 / np.log2(3)))


def test_it_works_in_blocks(monkeypatch):
    ground, contestant = random_ground(n=80, pull=0.5)
    trials = judged(ground, contestant, protocol=Protocol.PATIENT)
    whole = whole_lists(ground, contestant, trials).average_precisions, graded_gains(ground, trials)
    monkeypatch.setattr("app.evaluation.trials.blocks.__kwdefaults__", {"numbers": 80 * 7})
    assert whole_lists(ground, contestant, trials).average_precisions.tolist() == whole[0].tolist()
    assert graded_gains(ground, trials).tolist() == whole[1].tolist()


def test_lengths_that_are_not_quite_one_do_not_change_the_order():
    vectors = (
        unit(np.random.default_rng(3).normal(size=(40, 3))) * np.linspace(0.97, 1.03, 40, dtype=np.float32)[:, None]
    )
    ground, contestant = judged_ground(["a"] * 40, vectors)
    trials = judged(ground, contestant)
    similarities = Similarities(ground, contestant, trials)
    for part, near in similarities.blocks(trials.rows):
        for place, row in zip(range(part.start, part.stop), near, strict=True):
            assert similarities.columns[nearest_columns(row, K)].tolist() == trials.ranked.neighbours[place].tolist()
