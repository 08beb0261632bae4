"""Figures by device, trimester or operator, and whether neighbours share that rather than the label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.evaluation.ground import Ground
from app.evaluation.patient_figures import MIN_IMAGES
from app.evaluation.protocol import Protocol
from app.evaluation.trials import Rows, Trials, VisibleCounts
from app.metrics.intervals import DRAWS, Estimate, Ratio, estimate
from app.metrics.precision import Numbers

NOT_GIVEN = "(not given)"
"""The subgroup of references without the attribute."""


@dataclass(frozen=True, slots=True)
class SubgroupFigures:
    """Micro P@10 of the queries with one value of an attribute; the gallery stays whole.

    ``chance`` is the precision of random neighbours, ``chance_corrected`` (P - E) / (1 - E). Intervals are over the
    patients of the subgroup; None where it has fewer trials than ``MIN_IMAGES``.
    """

    contestant: str
    protocol: Protocol
    kind: str
    attribute: str
    value: str
    trials: int
    patients: int
    p_at_10: Estimate
    chance: float
    chance_corrected: Estimate


@dataclass(frozen=True, slots=True)
class AttributeLeakage:
    """How many of the ten nearest share the query's value of an attribute, against chance, as means over queries.

    ``expected_in_10`` is 10 x the share of that value among all that the query may see. Devices and labels go
    together, so there is a second comparison within the label: of the neighbours that carry the query's label,
    ``same_label_found`` share the value, where ``same_label_expected`` would if they were drawn at random from the
    visible images of that label. Lifts above 1 there say that the encoder sees the device itself.
    """

    contestant: str
    protocol: Protocol
    kind: str
    attribute: str
    values: int
    queries: int
    found_in_10: float
    expected_in_10: float
    lift: Estimate
    same_label_found: float
    same_label_expected: float
    same_label_lift: Estimate


def attributes_of(ground: Ground) -> list[str]:
    """The attributes of which a ground has at least two values, in alphabetical order."""
    values: dict[str, set[str]] = {}
    for found in ground.references:
        for attribute, value in found.attributes.items():
            values.setdefault(attribute, set()).add(value)
    return sorted(attribute for attribute, several in values.items() if len(several) > 1)


def subgroup_figures(
    ground: Ground, trials: Trials, attribute: str, *, draws: int = DRAWS, seed: int = 0
) -> list[SubgroupFigures]:
    """The figures of every value of an attribute, in alphabetical order, and of the queries without it."""
    names, code_of = coded(ground, attribute)
    codes = code_of[trials.rows]
    precision, chance = trials.found / trials.shown, trials.expected / trials.shown
    figures = []
    for code, name in [*enumerate(names), (-1, NOT_GIVEN)]:
        own = codes == code
        if not own.any():
            continue
        inside = np.where(own, precision, np.nan)
        over = trials.ratio(np.where(own, precision - chance, np.nan)).numerators
        ratios = [trials.ratio(inside), Ratio(over, trials.ratio(np.where(own, 1 - chance, np.nan)).numerators)]
        enough = int(own.sum()) >= MIN_IMAGES
        both = estimate(_of_those(ratios), draws=draws if enough else 0, seed=seed)
        figures.append(
            SubgroupFigures(
                contestant=trials.ranked.contestant,
                protocol=trials.ranked.protocol,
                kind=trials.ranked.kind,
                attribute=attribute,
                value=name,
                trials=int(own.sum()),
                patients=len(np.unique(trials.patients[own])),
                p_at_10=both[0],
                chance=float(chance[own].mean()),
                chance_corrected=both[1],
            )
        )
    return figures


def attribute_leakage(
    ground: Ground, trials: Trials, attribute: str, *, draws: int = DRAWS, seed: int = 0
) -> AttributeLeakage | None:
    """How far neighbours share an attribute; None where no query has it."""
    names, code_of = coded(ground, attribute)
    has_it = np.flatnonzero(code_of[trials.rows] >= 0)
    if not len(has_it):
        return None
    rows, classes = trials.rows[has_it], trials.classes[has_it]
    neighbours = trials.ranked.neighbours[trials.places[has_it]]
    shares = (neighbours >= 0) & (code_of[neighbours] == code_of[rows, None])
    seen = VisibleCounts(ground, trials.ranked)
    alike = seen.of_own(rows, code_of[rows], _marked(code_of))
    with_label = shares & trials.relevant[has_it]
    both = classes * len(names) + code_of[rows]
    same_label = seen.of_own(rows, both, _marked_with_label(ground, trials, code_of, len(names)))
    found = shares.sum(axis=1).astype(np.float64)
    expected = trials.shown[has_it] * alike / trials.visible[has_it]
    found_same = with_label.sum(axis=1).astype(np.float64)
    expected_same = trials.found[has_it] * same_label / np.maximum(1, trials.alike[has_it])
    once = np.isin(has_it, trials.first_of_queries())
    lifts = estimate(
        _of_those(
            [
                _lift(trials, has_it[once], found[once], expected[once]),
                _lift(trials, has_it, found_same, expected_same),
            ]
        ),
        draws=draws,
        seed=seed,
    )
    return AttributeLeakage(
        contestant=trials.ranked.contestant,
        protocol=trials.ranked.protocol,
        kind=trials.ranked.kind,
        attribute=attribute,
        values=len(names),
        queries=int(once.sum()),
        found_in_10=float(found[once].mean()),
        expected_in_10=float(expected[once].mean()),
        lift=lifts[0],
        same_label_found=float(found_same.mean()),
        same_label_expected=float(expected_same.mean()),
        same_label_lift=lifts[1],
    )


def coded(ground: Ground, attribute: str) -> tuple[list[str], Rows]:
    """The values of an attribute in alphabetical order, and for each row the number of its own, -1 without."""
    given = [found.attributes.get(attribute) for found in ground.references]
    names = sorted({value for value in given if value})
    number_of = {name: number for number, name in enumerate(names)}
    return names, np.asarray([number_of.get(value or "", -1) for value in given], dtype=np.int64)


def _of_those(ratios: list[Ratio]) -> list[Ratio]:
    """Only the patients that figures are about: others would only make resamples empty."""
    own = np.concatenate([ratio.denominators for ratio in ratios], axis=1).any(axis=1)
    return [Ratio(ratio.numerators[own], ratio.denominators[own]) for ratio in ratios]


def _marked(code_of: Rows) -> tuple[Rows, Rows]:
    rows = np.flatnonzero(code_of >= 0)
    return rows, code_of[rows]


def _marked_with_label(ground: Ground, trials: Trials, code_of: Rows, width: int) -> tuple[Rows, Rows]:
    """Rows marked with each of their labels together with their value of the attribute."""
    carriers = list(ground.carriers(trials.ranked.kind).values())
    rows, labels = np.concatenate(carriers), np.repeat(np.arange(len(carriers)), [len(one) for one in carriers])
    kept = code_of[rows] >= 0
    return rows[kept], (labels * width + np.maximum(0, code_of[rows]))[kept]


def _lift(trials: Trials, chosen: Rows, found: Numbers, expected: Numbers) -> Ratio:
    """Sum found / sum expected over chosen trials, as sums by patient."""
    values = np.full((2, len(trials)), np.nan)
    values[0, chosen], values[1, chosen] = found, expected
    return Ratio(trials.ratio(values[0]).numerators, trials.ratio(values[1]).numerators)
