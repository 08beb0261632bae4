"""An audit as plain data for JSON and as lines of text: references by id, never a patient's key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from app.evaluation.audit import Audit, Conflict
from app.evaluation.contradictions import Contradiction
from app.evaluation.frame_audit import LEAST_SHARE
from app.evaluation.label_audit import LEAST_IMAGES
from app.evaluation.near_duplicates import (
    CANDIDATE_BITS,
    CANDIDATE_NEIGHBOURS,
    NearDuplicate,
    Verdict,
    duplicate_groups,
)
from app.evaluation.registration import LEAST_POINTS, SAME_PICTURE
from app.search.groups import NEAR_DUPLICATE_BITS
from app.version import VERSION

_SHOWN = 10


def audit_json(audit: Audit) -> dict[str, Any]:
    """The audit as JSON holds it; references as ``{"id", "external_id"}``."""
    labels = asdict(audit.labels)
    labels["unlabelled"] = [_named(audit, row) for row in audit.labels.unlabelled]
    return {
        "sonoseek": VERSION,
        "library": {"name": audit.ground.info.name, "version": audit.ground.info.version, "size": len(audit.ground)},
        "encoders": dict(audit.encoders),
        "thresholds": {
            "candidate_bits": CANDIDATE_BITS,
            "candidate_neighbours": CANDIDATE_NEIGHBOURS,
            "same_picture_correlation": SAME_PICTURE,
            "same_picture_points": LEAST_POINTS,
            "alike_bits": NEAR_DUPLICATE_BITS,
            "writing_share": LEAST_SHARE,
            "least_images": LEAST_IMAGES,
        },
        "near_duplicates": [_pair(audit, pair) for pair in audit.duplicates],
        "conflicts": [{**_pair(audit, one.pair), "about": list(one.about)} for one in audit.conflicts],
        "labels": labels,
        "frames": {
            "region_sources": dict(audit.frames.sources),
            "marked": [{"reference": _named(audit, one.row), "share": one.share} for one in audit.frames.marked],
            "outdated": audit.frames.outdated,
            "missing": [_named(audit, row) for row in audit.frames.missing],
        },
        "likely_mislabelled": {
            kind: [_contradiction(audit, one) for one in found] for kind, found in audit.contradictions.items()
        },
        "skipped": dict(audit.skipped),
    }


def audit_lines(audit: Audit) -> list[str]:
    """What was found, a line each; details of the first ten where somebody has to look."""
    same, alike = by_verdict(audit, Verdict.SAME), by_verdict(audit, Verdict.ALIKE)
    groups = duplicate_groups([(pair.first, pair.second) for pair in same])
    lines = [
        f"{audit.ground.info.name}: {len(audit.ground)} references, version {audit.ground.info.version}, "
        f"looked at with {', '.join(audit.encoders)}",
        f"same picture: {len(same)} pairs in {len(groups)} groups; alike by hash only: {len(alike)} pairs",
        f"same picture, different words: {len(real_conflicts(audit))} pairs",
        *(f"  {_pair_line(audit, one)}" for one in real_conflicts(audit)[:_SHOWN]),
        *_label_lines(audit),
        *_frame_lines(audit),
    ]
    for kind, found in audit.contradictions.items():
        lines.append(f"{kind} contradicted by the neighbours: {len(found)} references, the most likely errors first")
        lines += [f"  {_contradiction_line(audit, one)}" for one in found[:_SHOWN]]
    return lines + [f"{kind} not judged: {why}" for kind, why in audit.skipped.items()]


def by_verdict(audit: Audit, verdict: Verdict) -> list[NearDuplicate]:
    """The near-duplicates of one verdict, the most alike first."""
    return sorted(
        (pair for pair in audit.duplicates if pair.verdict is verdict),
        key=lambda pair: (-pair.correlation, pair.bits, pair.first, pair.second),
    )


def real_conflicts(audit: Audit) -> list[Conflict]:
    """The conflicts between references that show the same picture, not merely the same hash."""
    return [one for one in audit.conflicts if one.pair.verdict is Verdict.SAME]


def name_of(audit: Audit, row: int) -> str:
    """What a reference is called: by its external id, else by its own."""
    one = audit.ground.references[row]
    return one.external_id or one.id


def said_of(audit: Audit, row: int) -> str:
    """The organ and diagnoses of a reference, for people."""
    labels = audit.ground.references[row].labels
    return ", ".join(filter(None, [labels.organ, *labels.diagnoses])) or "no label"


def _label_lines(audit: Audit) -> Iterable[str]:
    labels = audit.labels
    yield f"classes under {LEAST_IMAGES} images: {_listed(f'{c.label} ({c.kind}, {c.images})' for c in labels.small)}"
    yield f"references without any label: {len(labels.unlabelled)}"
    for kind, ungrouped in labels.ungrouped.items():
        if ungrouped:
            yield f"{kind} without a group in the taxonomy: {_listed(ungrouped)}"
    for alike in labels.similar:
        yield f"{alike.kind} written in several ways: {_listed(alike.labels)}"
    if labels.one_patient:
        yield f"classes of one patient only: {_listed(f'{c.label} ({c.kind})' for c in labels.one_patient)}"
    for spread in labels.spread:
        yield (
            f"{spread.kind}: {spread.patients} patients, {spread.one_image} with one image, {spread.one_class} with "
            f"several of one class only; {spread.without} references without a patient"
        )


def _frame_lines(audit: Audit) -> Iterable[str]:
    frames = audit.frames
    ways = ", ".join(f"{source} {count}" for source, count in frames.sources.items())
    yield f"scan regions: {ways}; frames made by other rules: {frames.outdated}, gone: {len(frames.missing)}"
    yield (
        f"writing beside the scan, or no scan: {len(frames.marked)} stored frames (writing on tissue cannot be seen): "
        f"{_listed(name_of(audit, one.row) for one in frames.marked)}"
    )


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    rest = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return (", ".join(every[:_SHOWN]) or "none") + rest


def _pair_line(audit: Audit, conflict: Conflict) -> str:
    first, second = conflict.pair.first, conflict.pair.second
    return (
        f"{name_of(audit, first)} ({said_of(audit, first)}) and {name_of(audit, second)} ({said_of(audit, second)}): "
        f"other {', '.join(conflict.about)}"
    )


def _contradiction_line(audit: Audit, one: Contradiction) -> str:
    return (
        f"{name_of(audit, one.row)}: {', '.join(one.labels)} carried by {one.own:g} of its 10 neighbours, "
        f"{one.suggested} by {one.other:g}"
    )


def _named(audit: Audit, row: int) -> dict[str, str | None]:
    one = audit.ground.references[row]
    return {"id": one.id, "external_id": one.external_id}


def _pair(audit: Audit, pair: NearDuplicate) -> dict[str, Any]:
    return {
        "first": _named(audit, pair.first),
        "second": _named(audit, pair.second),
        "verdict": pair.verdict.value,
        "bits": pair.bits,
        "distances": dict(pair.distances),
        "points": pair.points,
        "correlation": round(pair.correlation, 4),
    }


def _contradiction(audit: Audit, one: Contradiction) -> dict[str, Any]:
    return {
        "reference": _named(audit, one.row),
        "labels": list(one.labels),
        "suggested": one.suggested,
        "own": one.own,
        "other": one.other,
        "neighbours": [_named(audit, row) for row in one.neighbours],
    }
