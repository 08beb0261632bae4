"""The index-size curve and hubness."""

import numpy as np
import pytest
from judged_ground import angles, hand_ranked, judged_ground, random_ground, unit

from app.domain import Labels
from app.evaluation import index_size
from app.evaluation.hubness import hubness_of
from app.evaluation.index_size import REPEATS, SHARES, index_size_curve
from app.evaluation.protocol import Protocol, rank_all
from app.evaluation.trials import trials_of


def curve_of(ground, contestant, protocol=Protocol.PATIENT, **options):
    trials = trials_of(ground, rank_all(ground, contestant, "organ", protocol))
    return trials, index_size_curve(ground, contestant, trials, **options)


@pytest.mark.parametrize("protocol", list(Protocol))
def test_the_whole_gallery_gives_the_figure_itself(protocol):
    ground, contestant = random_ground(n=200, patients=60, pull=1.0)
    trials, curve = curve_of(ground, contestant, protocol)
    whole = curve.points[-1]
    assert whole.p_at_10 == pytest.approx((trials.found / trials.shown).mean())
    assert whole.chance == pytest.approx((trials.expected / trials.shown).mean())
    assert (whole.share, whole.images, whole.repeats, whole.spread) == (1.0, 200, 1, None)


def test_more_references_help_and_chance_stays():
    ground, contestant = random_ground(n=400, patients=130, pull=1.0)
    _, curve = curve_of(ground, contestant)
    assert [point.share for point in curve.points] == list(SHARES)
    assert [point.repeats for point in curve.points] == [REPEATS] * 4 + [1]
    precision = [point.p_at_10 for point in curve.points]
    assert precision[-1] > precision[0] + 0.05
    assert all(abs(point.chance - curve.points[-1].chance) < 0.03 for point in curve.points)
    images = [point.images for point in curve.points]
    assert images == sorted(images)
    assert images[0] == pytest.approx(400 / 16, rel=0.5)


def test_whole_patients_are_kept():
    # Two patients of ten images each and a share of 1/16: one patient is kept, and never shown to itself.
    ground, contestant = judged_ground(["a"] * 20, angles(*range(20)), patients=["p"] * 10 + ["q"] * 10)
    _, curve = curve_of(ground, contestant)
    assert curve.points[0].images == 10
    assert curve.points[0].p_at_10 == 1.0


def test_many_queries_are_drawn_from(monkeypatch):
    monkeypatch.setattr(index_size, "QUERIES", 50)
    ground, contestant = random_ground(n=200, pull=1.0)
    trials, curve = curve_of(ground, contestant)
    assert curve.queries == 50
    assert curve.points[-1].p_at_10 == pytest.approx((trials.found / trials.shown).mean(), abs=0.1)
    assert curve == curve_of(ground, contestant)[1]
    assert curve != curve_of(ground, contestant, seed=1)[1]


def test_hubness_by_hand():
    # Everybody finds the ten others of lowest rows: rows 0 to 9 are found by all 11 others, row 10 by rows 0 to 9,
    # row 11 by nobody.
    ground, _ = judged_ground(["a"] * 12)
    found = hubness_of(
        hand_ranked(ground, "organ", {row: [one for one in range(12) if one != row][:10] for row in range(12)})
    )
    times = np.array([11] * 10 + [10, 0])
    assert (found.images, found.mean, found.largest) == (12, 10.0, 11)
    assert found.never == pytest.approx(1 / 12)
    assert found.top_share == pytest.approx(11 / 120)  # at least one image is the top 1 %
    assert found.skew == pytest.approx(((times - 10) ** 3).mean() / times.std() ** 3)


def test_an_even_ring_has_no_hubs():
    ground, contestant = judged_ground(["a"] * 36, angles(*range(0, 360, 10)))
    found = hubness_of(rank_all(ground, contestant, "organ", Protocol.PAPER))
    assert (found.mean, found.largest, found.never) == (10.0, 10, 0.0)
    assert found.skew is None


def test_an_image_that_is_near_to_all_is_a_hub():
    # 100 images around one direction, and the direction itself: its cosine to each is about that of the cone, that of
    # two images about the square of it.
    around = unit(np.random.default_rng(0).normal(size=(100, 30)) + 1.5)
    hub = unit(around.mean(axis=0, keepdims=True))
    without, with_hub = (
        hubness_of(rank_all(*judged_ground(["a"] * len(vectors), vectors), "organ", Protocol.PAPER))
        for vectors in (around, np.concatenate([around, hub]))
    )
    assert with_hub.largest == 100
    assert without.largest < 60
    assert with_hub.top_share == pytest.approx(100 / (10 * 101))
    assert with_hub.skew > without.skew


def test_only_the_gallery_counts():
    labels = [Labels(organ="a", findings=("x",) if row % 2 else ()) for row in range(40)]
    ground, contestant = judged_ground(labels)
    found = hubness_of(rank_all(ground, contestant, "findings", Protocol.PATIENT))
    assert (found.images, found.mean) == (20, 10.0)
