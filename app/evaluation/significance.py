"""Whether one contestant is better than another on the same queries: paired differences, by patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from app.errors import BadInput
from app.evaluation.both_roles import LeftOut
from app.evaluation.patient_figures import MIN_IMAGES
from app.evaluation.protocol import Protocol
from app.evaluation.trials import Rows, Trials
from app.metrics.intervals import DRAWS, Ratio, estimate
from app.metrics.jackknife import Jackknife, jackknife
from app.metrics.precision import Numbers
from app.metrics.significance import FLIPS, holm, sign_flip_p


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """P@10 of ``first`` minus P@10 of ``second``, ``average`` micro or macro, with its 95 % interval over patients.

    ``p`` is two-sided by ``flips`` sign flips of whole patients; ``p_holm`` is corrected for the ``tests`` of its
    family: all pairs of contestants of one kind, protocol and average. Interval and p are conditional on the gallery,
    and take queries for independent that are in each other's gallery. ``both_roles``, where it was computed, does
    neither (a jackknife over patients as queries and in the gallery), and ``both_roles_holm`` is its p corrected.
    """

    first: str
    second: str
    kind: str
    protocol: Protocol
    average: str
    difference: float | None
    low: float | None
    high: float | None
    method: str
    p: float
    p_holm: float
    both_roles: Jackknife | None
    both_roles_holm: float | None
    tests: int
    patients: int
    flips: int
    draws: int
    seed: int


def paired_differences(
    trials: Sequence[Trials],
    left_out: Sequence[LeftOut] | None = None,
    *,
    pairs: Sequence[tuple[int, int]] | None = None,
    min_images: int = MIN_IMAGES,
    draws: int = DRAWS,
    flips: int = FLIPS,
    seed: int = 0,
) -> list[PairedDifference]:
    """Compare contestants that were asked the same: all pairs of them, or some by their places.

    ``left_out`` are their figures without each patient, as ``leave_out_patients`` gives them.

    Each average (micro; macro where there is a class that is large enough) is a family of its own under Holm's
    correction. Raises BadInput ``other_queries`` where the trials are not of the same queries.
    """
    chosen = list(combinations(range(len(trials)), 2)) if pairs is None else list(pairs)
    if not chosen:
        return []
    _check_alike(trials)
    large = trials[0].large(min_images)
    differences = [trials[a].found / trials[a].shown - trials[b].found / trials[b].shown for a, b in chosen]
    found = []
    for average in ("micro", "macro") if len(large) else ("micro",):
        ratios = [_ratio(trials[0], one, large if average == "macro" else None) for one in differences]
        p = sign_flip_p(np.stack([_by_patient(ratio) for ratio in ratios], axis=1), flips=flips, seed=seed)
        estimates = estimate(ratios, draws=draws, seed=seed)
        both = _both_roles(left_out, chosen, average)
        columns = (chosen, estimates, p.tolist(), holm(p).tolist(), both, _corrected(both))
        for (a, b), one, raw, corrected, roles, roles_corrected in zip(*columns, strict=True):
            found.append(
                PairedDifference(
                    first=trials[a].ranked.contestant,
                    second=trials[b].ranked.contestant,
                    kind=trials[0].ranked.kind,
                    protocol=trials[0].ranked.protocol,
                    average=average,
                    difference=one.value,
                    low=one.low,
                    high=one.high,
                    method=one.method,
                    p=raw,
                    p_holm=corrected,
                    both_roles=roles,
                    both_roles_holm=roles_corrected,
                    tests=len(chosen),
                    patients=trials[0].groups,
                    flips=flips,
                    draws=draws,
                    seed=seed,
                )
            )
    return found


def _both_roles(
    left_out: Sequence[LeftOut] | None, pairs: Sequence[tuple[int, int]], average: str
) -> list[Jackknife | None]:
    if left_out is None:
        return [None] * len(pairs)
    figures = [
        (one.micro, one.without_micro) if average == "micro" else (one.macro, one.without_macro) for one in left_out
    ]
    return [jackknife(figures[a][0] - figures[b][0], figures[a][1] - figures[b][1]) for a, b in pairs]


def _corrected(both: Sequence[Jackknife | None]) -> list[float | None]:
    """Holm's correction of the p that there are."""
    known = [place for place, one in enumerate(both) if one is not None and one.p is not None]
    corrected: list[float | None] = [None] * len(both)
    adjusted = holm(np.asarray([one.p for one in both if one is not None and one.p is not None]))
    for place, p in zip(known, adjusted.tolist(), strict=True):
        corrected[place] = p
    return corrected


def _check_alike(trials: Sequence[Trials]) -> None:
    first = trials[0]
    for other in trials[1:]:
        same = (first.ranked.kind, first.ranked.protocol) == (other.ranked.kind, other.ranked.protocol)
        if not same or not (np.array_equal(first.rows, other.rows) and np.array_equal(first.classes, other.classes)):
            raise BadInput(
                "other_queries",
                f"{first.ranked.contestant} and {other.ranked.contestant} were not asked the same queries",
                hint="compare rankings of one library, label kind and protocol",
            )


def _ratio(trials: Trials, difference: Numbers, classes: Rows | None) -> Ratio:
    return trials.ratio(difference) if classes is None else trials.class_ratio(difference, classes)


def _by_patient(ratio: Ratio) -> Numbers:
    """What each patient (patients,) adds to the figure: the sum over classes of its share in each class."""
    shares: Numbers = (ratio.numerators / ratio.denominators.sum(axis=0)).mean(axis=1)
    return shares
