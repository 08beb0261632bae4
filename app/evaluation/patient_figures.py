"""The figures of one contestant, label kind and protocol: precision and its kin, against chance, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.evaluation.both_roles import leave_out_patients
from app.evaluation.ground import Contestant, Ground
from app.evaluation.protocol import K, Protocol, Ranked
from app.evaluation.trials import Rows, Trials, trials_of
from app.evaluation.voting import Vote, vote_of_five
from app.evaluation.whole_ranking import WholeLists, graded_gains, whole_lists
from app.metrics.intervals import DRAWS, Estimate, Ratio, estimate, number
from app.metrics.jackknife import Jackknife, jackknife
from app.metrics.precision import Numbers
from app.metrics.ranked_lists import precision_at, recall_at

MIN_IMAGES = 20
"""Images that a class must have to count in a macro figure: the paper's cut."""


@dataclass(frozen=True, slots=True)
class Averages:
    """A figure over all trials (micro) and as the mean of its classes of at least ``MIN_IMAGES`` (macro).

    Each with its 95 % interval over patients, how that was computed, and how many resamples were drawn anew.
    """

    micro: float | None
    low: float | None
    high: float | None
    method: str
    redrawn: int
    macro: float | None
    macro_low: float | None
    macro_high: float | None
    macro_method: str
    macro_redrawn: int

    @classmethod
    def of(cls, micro: Estimate, macro: Estimate) -> Averages:
        """From two estimates."""
        return cls(
            *(micro.value, micro.low, micro.high, micro.method, micro.redrawn),
            *(macro.value, macro.low, macro.high, macro.method, macro.redrawn),
        )


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One label: its images and their patients, and its figures over the queries that carry it."""

    label: str
    images: int
    patients: int
    in_macro: bool
    p_at_10: Estimate
    expected_in_10: float | None
    found_in_10: float | None
    lift: float | None
    chance_corrected: float | None
    recall_at_10: float | None
    f1_of_5: float | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the figures are about: images with a label of the kind of all images, classes and queries of the macro.

    ``blind`` queries may see nothing and are left out; ``lone`` trials may see nobody with their label: they count in
    precision (found 0, expected 0), not in recall and MAP@R. ``trials`` are queries times their labels.
    """

    images: int
    annotated: int
    patients: int
    trials: int
    classes: int
    macro_classes: int
    macro_trials: int
    blind: int
    lone: int


@dataclass(frozen=True, slots=True)
class KindFigures:
    """All figures of one contestant for one label kind under one protocol; None where nothing can be said.

    ``chance`` is the precision of random neighbours. ``draws`` and ``seed`` are those of the intervals, which are
    conditional on the gallery. ``both_roles`` and ``macro_both_roles`` are P@10 with an interval that is not: every
    patient is left out in turn, as query and in the gallery.
    """

    contestant: str
    protocol: Protocol
    kind: str
    min_images: int
    draws: int
    seed: int
    coverage: Coverage
    p_at_1: Averages
    p_at_5: Averages
    p_at_10: Averages
    both_roles: Jackknife
    macro_both_roles: Jackknife
    chance: Averages
    chance_corrected: Averages
    recall_at_10: Averages
    map_at_r: Averages
    ndcg_at_10: Averages
    expected_in_10: float | None
    found_in_10: float | None
    lift: float | None
    lift_low: float | None
    lift_high: float | None
    accuracy_of_5: Estimate
    macro_f1_of_5: Estimate
    classes: tuple[ClassFigures, ...]


def figures_of(
    ground: Ground,
    contestant: Contestant,
    ranked: Ranked,
    *,
    min_images: int = MIN_IMAGES,
    draws: int = DRAWS,
    seed: int = 0,
) -> KindFigures:
    """Judge a ranking; its intervals are over patients."""
    trials = trials_of(ground, ranked)
    large = trials.large(min_images)
    vote = vote_of_five(ground, trials)
    lists = whole_lists(ground, contestant, trials)
    left_out = leave_out_patients(ground, trials, lists.first, large)
    values = _values(ground, trials, lists)
    averaged = {name: (trials.ratio(value), trials.class_ratio(value, large)) for name, value in values.items()}
    averaged["chance_corrected"] = (_corrected(trials, None), _corrected(trials, large))
    lift = Ratio(trials.ratio(trials.found).numerators, trials.ratio(trials.expected).numerators)
    singles = [lift, vote.accuracy(trials), vote.macro_f1(trials, large)]
    of_classes = [trials.class_ratio(values["p_at_10"], np.asarray([label])) for label in range(len(trials.labels))]
    estimates = estimate(
        [*(ratio for pair in averaged.values() for ratio in pair), *singles, *of_classes], draws=draws, seed=seed
    )
    pairs = estimates[: 2 * len(averaged)]
    lifted, accuracy, macro_f1 = estimates[len(pairs) : len(pairs) + len(singles)]
    averages = dict(zip(averaged, map(Averages.of, pairs[::2], pairs[1::2]), strict=True))
    return KindFigures(
        contestant=contestant.name,
        protocol=ranked.protocol,
        kind=ranked.kind,
        min_images=min_images,
        draws=draws,
        seed=seed,
        coverage=_coverage(ground, trials, large),
        both_roles=jackknife(left_out.micro, left_out.without_micro, bounds=(0.0, 1.0)),
        macro_both_roles=jackknife(left_out.macro, left_out.without_macro, bounds=(0.0, 1.0)),
        expected_in_10=_mean(trials.expected),
        found_in_10=_mean(trials.found),
        lift=lifted.value,
        lift_low=lifted.low,
        lift_high=lifted.high,
        accuracy_of_5=accuracy,
        macro_f1_of_5=macro_f1,
        classes=_classes(trials, vote, estimates[len(pairs) + len(singles) :], large),
        **averages,
    )


def _values(ground: Ground, trials: Trials, lists: WholeLists) -> dict[str, Numbers]:
    """The figures (t,) of single trials, by the name of their average."""
    relevant, visible, alike = trials.relevant, trials.visible, trials.alike
    return {
        "p_at_1": precision_at(relevant, visible, 1),
        "p_at_5": precision_at(relevant, visible, 5),
        "p_at_10": precision_at(relevant, visible, K),
        "chance": trials.expected / trials.shown,
        "recall_at_10": recall_at(relevant, alike, K),
        "map_at_r": lists.average_precisions,
        "ndcg_at_10": graded_gains(ground, trials),
    }


def _corrected(trials: Trials, classes: Rows | None) -> Ratio:
    """(P - E) / (1 - E) of mean precision P and mean chance E: 0 at random, 1 where all ten match."""
    precision, chance = trials.found / trials.shown, trials.expected / trials.shown
    over, under = (
        trials.ratio(value) if classes is None else trials.class_ratio(value, classes)
        for value in (precision - chance, 1.0 - chance)
    )
    return Ratio(over.numerators, under.numerators)


def _coverage(ground: Ground, trials: Trials, large: Rows) -> Coverage:
    return Coverage(
        images=len(ground),
        annotated=int(np.count_nonzero(trials.ranked.gallery)),
        patients=trials.groups,
        trials=len(trials),
        classes=len(trials.labels),
        macro_classes=len(large),
        macro_trials=int(np.isin(trials.classes, large).sum()),
        blind=trials.blind,
        lone=int(np.count_nonzero(trials.alike == 0)),
    )


def _classes(trials: Trials, vote: Vote, precisions: list[Estimate], large: Rows) -> tuple[ClassFigures, ...]:
    recall, f1 = recall_at(trials.relevant, trials.alike, K), vote.f1()
    figures = []
    for place, label in enumerate(trials.labels):
        own = trials.classes == place
        found, expected = _mean(trials.found[own]), _mean(trials.expected[own])
        figures.append(
            ClassFigures(
                label=label,
                images=int(trials.sizes[place]),
                patients=len(np.unique(trials.patients[own])),
                in_macro=place in large,
                p_at_10=precisions[place],
                expected_in_10=expected,
                found_in_10=found,
                lift=found / expected if found is not None and expected else None,
                chance_corrected=number(
                    corrected_precision(
                        _mean(trials.found / trials.shown, own), _mean(trials.expected / trials.shown, own)
                    )
                ),
                recall_at_10=_mean(recall, own),
                f1_of_5=number(f1[place]),
            )
        )
    return tuple(figures)


def corrected_precision(precision: float | None, chance: float | None) -> float:
    """(P - E) / (1 - E); nan where chance cannot miss."""
    if precision is None or chance is None or chance > 1 - 1e-9:
        return float("nan")
    return (precision - chance) / (1 - chance)


def _mean(values: Numbers, chosen: np.ndarray[tuple[int], np.dtype[np.bool_]] | None = None) -> float | None:
    """The mean of what is defined, None where nothing is."""
    values = values if chosen is None else values[chosen]
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None
