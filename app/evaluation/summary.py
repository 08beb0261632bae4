"""The sentences on top of a report: which encoder for which label, by how much, how sure."""

from __future__ import annotations

from collections.abc import Sequence

from app.evaluation.columns import titled
from app.evaluation.ground import Ground
from app.evaluation.overlap import Overlap
from app.evaluation.patient_figures import KindFigures
from app.evaluation.patient_report import PatientFigures
from app.evaluation.protocol import Protocol, whom_it_leaves_out, with_patients
from app.evaluation.significance import PairedDifference

_SURE = 0.05
_SMALL = 0.001


def summarise(ground: Ground, figures: PatientFigures, overlaps: Sequence[Overlap]) -> list[str]:
    """One sentence on who sees whom, then two for each label kind.

    How sure a figure is stands by the interval in both roles: every patient is left out in turn, as query and in the
    gallery, since intervals conditional on the gallery are too narrow (docs/evaluation.md).
    """
    seen = {one.contestant for one in overlaps if one.shared}
    protocol = figures.settings.protocol
    sentences = [with_patients(ground, protocol, whom_it_leaves_out(ground, protocol))]
    for kind in figures.kinds:
        ordered = _ordered(figures, kind, protocol)
        if ordered and len(ordered[0].classes) == 1:
            sentences.append(f"{titled(kind)}: {ordered[0].classes[0].label} only, so there is nothing to tell apart.")
        elif ordered:
            sentences.append(_best(kind, ordered[0], seen))
            sentences += [_against(figures, kind, protocol, ordered[0], other) for other in ordered[1:2]]
    sentences += [f"{titled(kind)}: not judged, {why}." for kind, why in figures.skipped.items()]
    return sentences


def _ordered(figures: PatientFigures, kind: str, protocol: Protocol) -> list[KindFigures]:
    """The figures of a kind, the best micro P@10 first."""
    found = [one.figures[protocol][kind] for one in figures.contestants if kind in one.figures[protocol]]
    judged = [one for one in found if one.p_at_10.micro is not None]
    return sorted(judged, key=lambda one: (-(one.p_at_10.micro or 0.0), one.contestant))


def _best(kind: str, best: KindFigures, seen: set[str]) -> str:
    low, high = best.both_roles.low, best.both_roles.high
    sure = "" if low is None or high is None else f" (95 % {10 * low:.2f} to {10 * high:.2f})"
    flattered = "; it was trained on pictures of this library" if best.contestant in seen else ""
    found, chance = 10 * (best.p_at_10.micro or 0.0), 10 * (best.chance.micro or 0.0)
    return (
        f"{titled(kind)}: {best.contestant} finds most, {found:.2f} of ten with the same label{sure}, where chance "
        f"gives {chance:.2f}{flattered}."
    )


def _against(figures: PatientFigures, kind: str, protocol: Protocol, best: KindFigures, other: KindFigures) -> str:
    """How far the best is from the next, and whether that may be chance."""
    names = {best.contestant, other.contestant}
    pair = next((one for one in figures.differences if _is_of(one, kind, protocol, names)), None)
    if pair is None or pair.difference is None:
        return f"{titled(kind)}: {other.contestant} comes next."
    text = f"{titled(kind)}: {other.contestant} comes next, {10 * abs(pair.difference):.2f} of ten behind"
    if pair.both_roles is None or pair.both_roles_holm is None:
        return f"{text}."
    p = pair.both_roles_holm
    said = f"p = {p:.2g}" if p >= _SMALL else f"p < {_SMALL}"
    return f"{text}; that {'is more than chance would give' if p < _SURE else 'may be chance'} ({said}, Holm)."


def _is_of(pair: PairedDifference, kind: str, protocol: Protocol, names: set[str]) -> bool:
    same = pair.kind == kind and pair.protocol is protocol and pair.average == "micro"
    return same and {pair.first, pair.second} == names
