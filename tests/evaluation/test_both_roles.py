"""Figures without each patient, as query and in the gallery."""

import numpy as np
import pytest
from judged_ground import judged_ground, random_ground, unit

from app.evaluation.both_roles import leave_out_patients
from app.evaluation.ground import with_vectors
from app.evaluation.patient_figures import figures_of
from app.evaluation.protocol import Protocol, rank_all
from app.evaluation.significance import paired_differences
from app.evaluation.trials import trials_of
from app.evaluation.whole_ranking import whole_lists
from app.metrics.jackknife import jackknife


def left_out_of(ground, contestant, protocol=Protocol.PATIENT, min_images=20):
    trials = trials_of(ground, rank_all(ground, contestant, "organ", protocol))
    first = whole_lists(ground, contestant, trials).first
    return leave_out_patients(ground, trials, first, trials.large(min_images))


@pytest.mark.parametrize("protocol", list(Protocol))
@pytest.mark.parametrize(("images", "patients"), [(150, 25), (600, 12)])
def test_it_agrees_with_libraries_that_lack_the_patient(protocol, images, patients):
    ground, contestant = random_ground(n=images, classes=3, patients=patients, pull=0.7)
    found = left_out_of(ground, contestant, protocol)
    patients = np.unique(ground.patients)
    assert len(found.without_micro) == len(patients)
    for number in range(0, len(patients), 5):
        rest = np.flatnonzero(ground.patients != patients[number])
        smaller, same = judged_ground(
            [ground.references[row].labels for row in rest],
            contestant.snapshot.vectors[rest],
            patients=[ground.references[row].patient_key for row in rest],
        )
        figures = figures_of(smaller, same, rank_all(smaller, same, "organ", protocol), draws=0)
        assert found.without_micro[number] == pytest.approx(figures.p_at_10.micro)
        assert found.without_macro[number] == pytest.approx(figures.p_at_10.macro)


def test_with_all_patients_it_is_the_figure():
    ground, contestant = random_ground(n=120, patients=40, pull=1.0)
    figures = figures_of(ground, contestant, rank_all(ground, contestant, "organ", Protocol.PATIENT), draws=200)
    assert figures.both_roles.value == pytest.approx(figures.p_at_10.micro)
    assert figures.macro_both_roles.value == pytest.approx(figures.p_at_10.macro)
    assert figures.both_roles.high - figures.both_roles.low > figures.p_at_10.high - figures.p_at_10.low


def test_equal_encoders_seldom_differ_where_sign_flips_say_so_too_often():
    # Two encoders that know nothing, on 40 libraries: queries that are near each other count for each other, so sign
    # flips, which take them for independent, cry wolf in more than 5 %.
    flips = both = 0
    for seed in range(40):
        ground, one = random_ground(n=200, patients=70, seed=seed)
        vectors = unit(np.random.default_rng(seed + 900).normal(size=(200, 6)))
        other = with_vectors(one.snapshot, "other", "sha256:o", vectors)
        trials = [trials_of(ground, rank_all(ground, c, "organ", Protocol.PATIENT)) for c in (one, other)]
        lists = [whole_lists(ground, c, t).first for c, t in zip((one, other), trials, strict=True)]
        left_out = [leave_out_patients(ground, t, f, t.large(20)) for t, f in zip(trials, lists, strict=True)]
        found = paired_differences(trials, left_out, draws=0, flips=200)[0]
        flips += found.p < 0.05
        both += found.both_roles.p < 0.05
        assert found.both_roles_holm == found.both_roles.p
    assert both <= 2
    assert both < flips


def test_a_clear_difference_is_seen():
    ground, blind = random_ground(n=200, patients=70)
    organs = np.array([int(one.labels.organ[-1]) for one in ground.references])
    vectors = unit(np.random.default_rng(1).normal(size=(200, 6)) + 2.5 * np.eye(6)[organs])
    several = [blind, with_vectors(blind.snapshot, "good", "sha256:g", vectors)]
    trials = [trials_of(ground, rank_all(ground, one, "organ", Protocol.PATIENT)) for one in several]
    left_out = [left_out_of(ground, one) for one in several]
    for found in paired_differences(trials, left_out, draws=0, flips=200):
        assert found.both_roles.value == pytest.approx(found.difference)
        assert found.both_roles.high < 0
        assert found.both_roles.p < 1e-6


def test_the_jackknife_of_a_mean_is_its_standard_error():
    # Without x_i the mean of n is (n m - x_i) / (n - 1); the jackknife gives s / sqrt(n), t of n - 1 degrees the usual
    # interval: for n = 10 it reaches 2.262 standard errors.
    values = np.random.default_rng(0).normal(1.0, 2.0, 10)
    found = jackknife(values.mean(), (values.sum() - values) / 9)
    error = values.std(ddof=1) / np.sqrt(10)
    assert found.standard_error == pytest.approx(error)
    assert (found.low, found.high) == pytest.approx(
        (values.mean() - 2.2622 * error, values.mean() + 2.2622 * error), abs=1e-3
    )


def test_a_few_patients_that_agree_prove_little():
    assert jackknife(1.0, np.ones(3)).p == 0.25  # of eight ways to flip three signs, two are as extreme
    assert jackknife(0.0, np.zeros(3)).p == 1


def test_the_interval_ends_where_the_figure_must():
    left_out = np.array([0.99, 0.985, 1.0, 0.97])
    assert jackknife(0.99, left_out).high > 1
    assert jackknife(0.99, left_out, bounds=(0.0, 1.0)).high == 1.0


def test_what_the_jackknife_cannot_say_is_none():
    assert jackknife(0.5, np.array([0.5])).low is None
    assert jackknife(0.5, np.array([0.4, np.nan, 0.6])).p is None
    assert jackknife(float("nan"), np.array([0.4, 0.6])).value is None
    same = jackknife(0.0, np.zeros(5))
    assert (same.standard_error, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
