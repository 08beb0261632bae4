"""Whether a query is something this service can judge at all."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Literal

from app.domain import ImageFacts
from app.images.reader import FRAME_DIGEST

Verdict = Literal["in_scope", "unlike_library", "not_ultrasound", "unknown"]

_ULTRASOUND = {"US", "IVUS"}


@dataclass(frozen=True, slots=True)
class Scope:
    """A verdict and what the caller should know. ``unknown`` where nothing says either way."""

    verdict: Verdict
    warnings: tuple[str, ...]


def judge_scope(facts: ImageFacts) -> Scope:
    """What the header tells about a query: another modality than ultrasound is out of scope."""
    warnings = list(facts.warnings)
    foreign = facts.modality is not None and facts.modality not in _ULTRASOUND
    if foreign:
        warnings.append(f"the modality is {facts.modality}, not ultrasound: neighbours mean little")
    return Scope("not_ultrasound" if foreign else "unknown", tuple(warnings))


def with_frames_of(scope: Scope, frame_digests: AbstractSet[str]) -> Scope:
    """The same scope, with a warning where references were read and cropped by other rules than the query."""
    if frame_digests <= {FRAME_DIGEST}:
        return scope
    warning = "some references were cropped by other rules: run sonoseek enrol LIBRARY MANIFEST --on-conflict update"
    return replace(scope, warnings=(*scope.warnings, warning))


def nothing_seen(scope: Scope) -> Scope:
    """The same scope, with a warning that no reference was left to be seen."""
    return replace(scope, warnings=(*scope.warnings, "no reference passes the filters and exclusions"))
