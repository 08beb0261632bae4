"""Everything that is computed of each contestant and label kind, and of the contestants beside each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from app.evaluation.both_roles import leave_out_patients
from app.evaluation.ground import Contestant, Ground
from app.evaluation.hubness import Hubness, hubness_of
from app.evaluation.index_size import IndexSizeCurve, index_size_curve
from app.evaluation.leakage import Leakage, leakage_of
from app.evaluation.patient_figures import MIN_IMAGES, KindFigures, figures_of
from app.evaluation.permutation import PERMUTATIONS, PermutationFigures, permutation_controls
from app.evaluation.protocol import KINDS, Patients, Protocol, Ranked, check_patients, evaluable_kinds, rank_kinds
from app.evaluation.significance import PairedDifference, paired_differences
from app.evaluation.subgroups import (
    AttributeLeakage,
    SubgroupFigures,
    attribute_leakage,
    attributes_of,
    subgroup_figures,
)
from app.evaluation.trials import Trials, trials_of
from app.evaluation.whole_ranking import whole_lists
from app.metrics.intervals import DRAWS
from app.metrics.significance import FLIPS

Rankings = dict[Protocol, dict[str, Ranked]]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a report is computed with.

    ``protocol`` is the one that it stands for; the patient protocol has the paper's beside it, to show what leaks.
    """

    protocol: Protocol = Protocol.PATIENT
    patients: Patients = Patients.GIVEN
    min_images: int = MIN_IMAGES
    draws: int = DRAWS
    flips: int = FLIPS
    permutations: int = PERMUTATIONS
    seed: int = 0

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """The protocols that are computed."""
        return (Protocol.PAPER,) if self.protocol is Protocol.PAPER else (Protocol.PAPER, Protocol.PATIENT)


@dataclass(frozen=True, slots=True)
class ContestantReport:
    """One contestant: its figures by protocol and label kind, and the checks by label kind.

    The checks are those of the protocol that the report stands for; ``leakage`` is empty under the paper's alone.
    """

    name: str
    digest: str
    figures: Mapping[Protocol, Mapping[str, KindFigures]]
    leakage: Mapping[str, Leakage]
    hubness: Mapping[str, Hubness]
    index_size: Mapping[str, IndexSizeCurve]
    subgroups: Mapping[str, Sequence[SubgroupFigures]]
    attribute_leakage: Mapping[str, Sequence[AttributeLeakage]]
    permutations: Mapping[str, Sequence[PermutationFigures]]


@dataclass(frozen=True, slots=True)
class PatientFigures:
    """The contestants of a ground; ``skipped`` says of the kinds that cannot be judged why not."""

    settings: Settings
    kinds: tuple[str, ...]
    skipped: Mapping[str, str]
    contestants: tuple[ContestantReport, ...]
    differences: tuple[PairedDifference, ...]


def patient_report(
    ground: Ground,
    contestants: Sequence[Contestant],
    *,
    kinds: Sequence[str] = KINDS,
    settings: Settings | None = None,
    progress: Callable[[int], None] = lambda _n: None,
) -> PatientFigures:
    """Judge contestants over a ground, and compare all pairs of them.

    ``progress`` is told of queries as they are answered: all of ``queries_to_ask``. Raises BadInput ``no_labels``,
    ``too_few_images``, ``no_patients`` or ``not_finite``.
    """
    settings = settings or Settings()
    can, cannot = evaluable_kinds(ground, kinds)
    check_patients(ground, settings.protocol, settings.patients)
    rankings = [rank_contestant(ground, one, can, settings, progress=progress) for one in contestants]
    reports = [
        contestant_report(ground, one, ranked, settings) for one, ranked in zip(contestants, rankings, strict=True)
    ]
    differences = compare(ground, contestants, rankings, settings)
    return PatientFigures(settings, tuple(can), cannot, tuple(reports), tuple(differences))


def queries_to_ask(ground: Ground, kinds: Sequence[str], settings: Settings) -> int:
    """How many queries one contestant is asked: what ``progress`` adds up to."""
    return len(settings.protocols) * sum(int(ground.annotated(kind).sum()) for kind in kinds)


def rank_contestant(
    ground: Ground,
    contestant: Contestant,
    kinds: Sequence[str],
    settings: Settings,
    *,
    progress: Callable[[int], None] = lambda _n: None,
) -> Rankings:
    """All rankings of one contestant, which is what takes long; raises as ``rank_all`` does."""
    return {
        protocol: rank_kinds(ground, contestant, kinds, protocol, patients=settings.patients, progress=progress)
        for protocol in settings.protocols
    }


def contestant_report(
    ground: Ground, contestant: Contestant, rankings: Rankings, settings: Settings
) -> ContestantReport:
    """The figures and checks of one contestant from its rankings."""
    trials = {
        protocol: {kind: trials_of(ground, one) for kind, one in ranked.items()}
        for protocol, ranked in rankings.items()
    }
    draws, seed = settings.draws, settings.seed
    main, names = trials[settings.protocol], attributes_of(ground)
    figures = {
        protocol: {
            kind: figures_of(ground, contestant, one, min_images=settings.min_images, draws=draws, seed=seed)
            for kind, one in ranked.items()
        }
        for protocol, ranked in rankings.items()
    }
    return ContestantReport(
        name=contestant.name,
        digest=contestant.digest,
        figures=figures,
        leakage=_leakage(ground, trials, settings),
        hubness={kind: hubness_of(one.ranked) for kind, one in main.items()},
        index_size={kind: index_size_curve(ground, contestant, one, seed=seed) for kind, one in main.items()},
        subgroups={
            kind: [group for name in names for group in subgroup_figures(ground, one, name, draws=draws, seed=seed)]
            for kind, one in main.items()
        },
        attribute_leakage={kind: _attributes(ground, one, names, settings) for kind, one in main.items()},
        permutations={
            kind: permutation_controls(ground, one, permutations=settings.permutations, seed=seed)
            for kind, one in main.items()
        },
    )


def compare(
    ground: Ground, contestants: Sequence[Contestant], rankings: Sequence[Rankings], settings: Settings
) -> list[PairedDifference]:
    """All pairs of contestants, under each protocol and for each kind."""
    found: list[PairedDifference] = []
    if len(contestants) < 2:
        return found
    for protocol in settings.protocols:
        for kind in rankings[0][protocol]:
            trials = [trials_of(ground, one[protocol][kind]) for one in rankings]
            large = trials[0].large(settings.min_images)
            left_out = [
                leave_out_patients(ground, one, whole_lists(ground, contestant, one).first, large)
                for one, contestant in zip(trials, contestants, strict=True)
            ]
            found += paired_differences(
                trials,
                left_out,
                min_images=settings.min_images,
                draws=settings.draws,
                flips=settings.flips,
                seed=settings.seed,
            )
    return found


def _leakage(ground: Ground, trials: Mapping[Protocol, Mapping[str, Trials]], settings: Settings) -> dict[str, Leakage]:
    if Protocol.PATIENT not in trials:
        return {}
    return {
        kind: leakage_of(ground, paper, trials[Protocol.PATIENT][kind], draws=settings.draws, seed=settings.seed)
        for kind, paper in trials[Protocol.PAPER].items()
    }


def _attributes(ground: Ground, trials: Trials, names: Sequence[str], settings: Settings) -> list[AttributeLeakage]:
    found = (attribute_leakage(ground, trials, name, draws=settings.draws, seed=settings.seed) for name in names)
    return [one for one in found if one is not None]
