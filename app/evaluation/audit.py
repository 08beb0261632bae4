"""The audit of a library's own quality: what somebody should look at before figures of it are believed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.domain import LABEL_KINDS, Pixels
from app.errors import BadInput
from app.evaluation.contradictions import Contradiction, find_contradictions
from app.evaluation.frame_audit import FrameAudit, audit_frames
from app.evaluation.ground import Contestant, Ground, load_contestants
from app.evaluation.label_audit import JUDGED_KINDS, LabelAudit, audit_labels
from app.evaluation.names import complete_encoders
from app.evaluation.near_duplicates import NearDuplicate, find_near_duplicates
from app.evaluation.protocol import K, check_vectors
from app.evaluation.registration import open_cv
from app.library.catalogue import Catalogue
from app.scores.pixels import SIDE

Progress = Callable[[str, int, int], None]
"""Told a stage, how much of it is done and of how much."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A near-duplicate whose two references say different things. ``about`` names patient or label kinds."""

    pair: NearDuplicate
    about: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """Everything that was found. Rows number the references of ``ground``; ``skipped`` says what was not looked at."""

    ground: Ground
    encoders: Mapping[str, str]
    duplicates: tuple[NearDuplicate, ...]
    conflicts: tuple[Conflict, ...]
    labels: LabelAudit
    frames: FrameAudit
    contradictions: Mapping[str, tuple[Contradiction, ...]]
    skipped: Mapping[str, str]


def audit_library(
    catalogue: Catalogue,
    library: str,
    encoders: Sequence[str] = (),
    progress: Progress = lambda _stage, _done, _of: None,
) -> Audit:
    """Audit a library by the vectors of some encoders; where none is named, by all that have one of every reference.

    A library without labels is audited too. Raises NotFound ``unknown_library``; BadInput ``empty_library``,
    ``not_finite`` or what ``load_contestants`` raises; Misconfigured ``extra_missing``.
    """
    open_cv()  # what is not installed is told before an hour of work
    if not catalogue.library(library).size:
        raise BadInput("empty_library", f"the library {library!r} is empty", hint="enrol a manifest first")
    ground, contestants = load_contestants(catalogue, library, encoders or complete_encoders(catalogue, library))
    for contestant in contestants:
        check_vectors(contestant)
    duplicates = find_near_duplicates(
        np.asarray([int(one.fingerprint, 16) for one in ground.references], dtype=np.uint64),
        {one.name: one.snapshot.vectors for one in contestants},
        _canvases(catalogue, ground),
        progress,
    )
    contradictions, skipped = _contradictions(ground, contestants, progress)
    return Audit(
        ground=ground,
        encoders={one.name: one.digest for one in contestants},
        duplicates=tuple(duplicates),
        conflicts=tuple(conflict for pair in duplicates if (conflict := conflict_of(ground, pair))),
        labels=audit_labels(ground, catalogue.taxonomy(library)),
        frames=audit_frames(catalogue, ground, progress),
        contradictions=contradictions,
        skipped=skipped,
    )


def conflict_of(ground: Ground, pair: NearDuplicate) -> Conflict | None:
    """What the two references of a pair contradict each other in; None where they agree as far as they say anything."""
    first, second = ground.references[pair.first], ground.references[pair.second]
    about = [kind for kind in LABEL_KINDS if _differ(first.labels.values(kind), second.labels.values(kind))]
    if first.patient_key and second.patient_key and first.patient_key != second.patient_key:
        about.insert(0, "patient")
    return Conflict(pair, tuple(about)) if about else None


def _differ(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    return bool(first) and bool(second) and set(first) != set(second)


def _contradictions(
    ground: Ground, contestants: Sequence[Contestant], progress: Progress
) -> tuple[dict[str, tuple[Contradiction, ...]], dict[str, str]]:
    found: dict[str, tuple[Contradiction, ...]] = {}
    skipped: dict[str, str] = {}
    for kind in JUDGED_KINDS:
        count, classes = int(ground.annotated(kind).sum()), len(ground.carriers(kind))
        if count <= K or classes < 2:
            skipped[kind] = f"neighbours cannot contradict {count} references with {classes} labels of this kind"
            continue
        done = _summed(f"neighbours by {kind}", count * len(contestants), progress)
        found[kind] = tuple(find_contradictions(ground, contestants, kind, done))
    return found, skipped


def _canvases(catalogue: Catalogue, ground: Ground) -> Callable[[Sequence[int]], list[Pixels]]:
    """Rows -> their stored canvases; blank for a reference that was removed since, so that nothing lies on it."""
    ids = [one.id for one in ground.references]
    blank = np.zeros((SIDE, SIDE), np.uint8)

    def read(rows: Sequence[int]) -> list[Pixels]:
        stored = catalogue.canvases([ids[row] for row in rows])
        return [stored[ids[row]].canvas if ids[row] in stored else blank for row in rows]

    return read


def _summed(stage: str, of: int, progress: Progress) -> Callable[[int], None]:
    """Turns "so many more" into "so many in all"."""
    done = 0

    def more(count: int) -> None:
        nonlocal done
        done += count
        progress(stage, done, of)

    return more
