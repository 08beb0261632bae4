"""From figures to adoptions: the best encoder for each label kind that has not seen the library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.errors import BadInput
from app.evaluation.baselines import BASELINES
from app.evaluation.ground import Ground
from app.evaluation.overlap import MOST, Overlap
from app.evaluation.patient_figures import KindFigures
from app.evaluation.patient_report import ContestantReport, PatientFigures
from app.evaluation.protocol import Protocol, patients_used
from app.library.adoption import TARGETS, Adoption
from app.library.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class Choice:
    """What became of a label kind: the adoption, or why there is none. ``refused`` tells who was no candidate."""

    kind: str
    adoption: Adoption | None
    refused: tuple[str, ...]
    why_not: str


def adopt(catalogue: Catalogue, ground: Ground, figures: PatientFigures, overlaps: Sequence[Overlap]) -> list[Choice]:
    """Choose and store the best encoder for each label kind that was judged; kinds without one keep what they had.

    Raises BadInput ``not_for_adoption`` for figures of the paper's protocol, Conflict ``library_changed``.
    """
    choices = choose(ground, figures, overlaps)
    catalogue.adoptions.put(ground.info.name, ground.info.edition, [one.adoption for one in choices if one.adoption])
    return choices


def choose(ground: Ground, figures: PatientFigures, overlaps: Sequence[Overlap]) -> list[Choice]:
    """The best encoder for each label kind by micro P@10 under the patient protocol; equal ones by name.

    Candidates are encoders whose training list shares at most 1 % of the library; baselines are none. Raises BadInput
    ``not_for_adoption``.
    """
    if figures.settings.protocol is not Protocol.PATIENT:
        raise BadInput(
            "not_for_adoption",
            "under the paper's protocol a query finds its own patient, which says nothing about new ones",
            hint="evaluate with --protocol patient to adopt",
        )
    by_digest = {one.digest: one for one in overlaps}
    return [_choice(ground, figures, by_digest, kind) for kind in figures.kinds if kind in TARGETS]


def _choice(ground: Ground, figures: PatientFigures, overlaps: dict[str, Overlap], kind: str) -> Choice:
    refused = tuple(_refusals(figures.contestants, overlaps))
    candidates = {
        one.digest: found
        for one in figures.contestants
        if _is_candidate(one, overlaps)
        and (found := one.figures[Protocol.PATIENT].get(kind)) is not None
        and found.p_at_10.micro is not None
    }
    if not candidates:
        return Choice(kind, None, refused, "no encoder that was judged is a candidate: " + "; ".join(refused))
    if all(found.coverage.classes < 2 for found in candidates.values()):
        return Choice(kind, None, refused, "all images carry the same label, so there is nothing to tell apart")
    ordered = sorted(candidates.items(), key=lambda pair: (-_figure(pair[1]), pair[1].contestant))
    (digest, best), others = ordered[0], [found for _, found in ordered[1:]]
    return Choice(kind, _adoption(ground, figures, overlaps[digest], best, others), refused, "")


def _adoption(
    ground: Ground, figures: PatientFigures, overlap: Overlap, best: KindFigures, others: Sequence[KindFigures]
) -> Adoption:
    return Adoption(
        kind=best.kind,
        encoder=overlap.encoder,
        digest=overlap.digest,
        figure=_figure(best),
        low=best.both_roles.low,
        high=best.both_roles.high,
        chance=best.chance.micro,
        patients=patients_used(ground, figures.settings.patients).value,
        others={one.contestant: _figure(one) for one in others},
        library_version=ground.info.version,
    )


def _refusals(contestants: Sequence[ContestantReport], overlaps: dict[str, Overlap]) -> Iterator[str]:
    for one in contestants:
        if one.name in BASELINES:
            yield f"{one.name} is a baseline"
        elif (overlap := overlaps[one.digest]).is_too_much and overlap.share is not None:
            yield f"{one.name} was trained on {100 * overlap.share:.1f} % of the library ({100 * MOST:g} % is allowed)"


def _is_candidate(one: ContestantReport, overlaps: dict[str, Overlap]) -> bool:
    return one.name not in BASELINES and not overlaps[one.digest].is_too_much


def _figure(found: KindFigures) -> float:
    return float(found.p_at_10.micro or 0.0)
