import numpy as np
import pytest
from scipy.stats import bootstrap

from app.metrics.intervals import DRAWS, Ratio, estimate


def patients_with(images, hits):
    return Ratio(np.asarray(hits, float)[:, None], np.asarray(images, float)[:, None])


def random_ratio(patients=60, seed=0):
    generator = np.random.default_rng(seed)
    images = generator.integers(1, 6, patients)
    return patients_with(images, generator.binomial(images, 0.8))


def macro_of(groups):
    """Patients of one class each, some (images, hits) per class, as a macro figure."""
    rows = [(label, *one) for label, group in enumerate(groups) for one in group]
    above, below = np.zeros((len(rows), len(groups))), np.zeros((len(rows), len(groups)))
    for row, (label, images, hits) in enumerate(rows):
        above[row, label], below[row, label] = hits, images
    return Ratio(above, below)


def test_a_figure_is_the_mean_of_the_classes_ratios():
    # Class 0: (1 + 3) of (2 + 4) images; class 1: 1 of 2. Mean of 2/3 and 1/2.
    ratio = macro_of([[(2, 1), (4, 3)], [(2, 1)]])
    assert ratio.value == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_the_interval_is_scipys_bca_over_patients():
    ratio = random_ratio()
    ours = estimate([ratio], draws=20_000)[0]
    theirs = bootstrap(
        (ratio.numerators[:, 0], ratio.denominators[:, 0]),
        lambda hits, images, axis: hits.sum(axis=axis) / images.sum(axis=axis),
        paired=True,
        n_resamples=20_000,
        method="BCa",
        rng=np.random.default_rng(9),
    ).confidence_interval
    assert ours.method == "bca"
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.003)


def test_the_acceleration_leaves_out_one_patient_at_a_time():
    # A few patients with many images: BCa is off the percentile interval, and as scipy has it for the same figure.
    images, hits = [1] * 20 + [30, 40], [1] * 20 + [3, 10]
    ratio = patients_with(images, hits)
    ours = estimate([ratio], draws=50_000)[0]
    theirs = [
        bootstrap(
            (np.asarray(hits, float), np.asarray(images, float)),
            lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
            paired=True,
            n_resamples=50_000,
            method=method,
            rng=np.random.default_rng(9),
        ).confidence_interval
        for method in ("BCa", "percentile")
    ]
    assert (ours.low, ours.high) == pytest.approx((theirs[0].low, theirs[0].high), abs=0.005)
    assert abs(ours.low - theirs[1].low) > 0.02


def test_several_figures_share_their_resamples_and_come_out_as_each_alone():
    ratios = [random_ratio(seed=1), random_ratio(seed=2)]
    assert estimate(ratios) == [estimate([one])[0] for one in ratios]
    assert estimate(ratios, seed=1) != estimate(ratios)


def test_images_of_one_patient_do_not_count_as_independent():
    generator = np.random.default_rng(3)
    right = generator.random(40) < 0.5
    by_patient = patients_with([10] * 40, 10 * right)
    by_image = patients_with([1] * 400, np.repeat(right, 10))
    wide, narrow = estimate([by_patient])[0], estimate([by_image])[0]
    assert wide.value == narrow.value
    assert wide.high - wide.low > 2.5 * (narrow.high - narrow.low)  # sqrt(10) = 3.2


def test_the_interval_holds_the_truth_as_often_as_it_says():
    generator, held = np.random.default_rng(4), 0
    for _ in range(200):
        images = generator.integers(1, 5, 60)
        of_patient = generator.beta(6, 3, 60)  # mean 2/3; images of a patient are alike
        one = estimate([patients_with(images, generator.binomial(images, of_patient))], draws=400)[0]
        held += one.low <= 2 / 3 <= one.high
    assert 0.90 <= held / 200 <= 0.99


def test_resamples_that_lack_a_class_are_drawn_anew_and_counted():
    # 2 of 10 patients carry class 1: a resample lacks them with probability 0.8^10 = 0.107. So for 2,000 complete ones
    # about 2,000 x 0.107 / 0.893 = 240 are thrown away, with a standard deviation of 16.
    ratio = macro_of([[(2, 1), (3, 2), (1, 1), (2, 2), (4, 1), (2, 0), (3, 3), (1, 0)], [(5, 2), (4, 3)]])
    one = estimate([ratio])[0]
    assert 180 < one.redrawn < 300
    assert 0 <= one.low < one.value < one.high <= 1
    micro = Ratio(ratio.numerators.sum(axis=1, keepdims=True), ratio.denominators.sum(axis=1, keepdims=True))
    assert estimate([micro])[0].redrawn == 0


def test_a_class_of_one_patient_makes_bca_degenerate_for_all_and_has_no_interval_itself():
    groups = [[(2, 1), (3, 2), (1, 1), (2, 2)], [(5, 2)]]
    macro, own = macro_of(groups), macro_of(groups)
    both = estimate([macro, Ratio(own.numerators[:, 1:], own.denominators[:, 1:])])
    # Without its only patient the class is gone: the acceleration is undefined, the percentile interval is not.
    assert both[0].method == "percentile"
    assert both[0].low < both[0].value < both[0].high
    assert (both[1].value, both[1].low, both[1].high, both[1].method) == (0.4, None, None, "none")


def test_where_all_resamples_agree_the_percentile_interval_stands_and_says_so():
    one = estimate([patients_with([2, 3, 1, 4], [2, 3, 1, 4])])[0]
    assert (one.value, one.low, one.high, one.method) == (1.0, 1.0, 1.0, "percentile")


def test_what_is_not_defined_is_none():
    nothing = Ratio(np.zeros((5, 0)), np.zeros((5, 0)))
    empty = patients_with([0, 0, 0], [0, 0, 0])
    assert estimate([nothing])[0].value is None
    assert estimate([empty])[0] == estimate([empty], draws=0)[0]
    assert estimate([]) == []
    assert estimate([random_ratio()], draws=0)[0].low is None


def test_the_usual_number_of_resamples():
    assert DRAWS == 2000
