"""Whether a query is something this service can judge at all."""

from dataclasses import dataclass
from typing import Literal

from app.domain import ImageFacts

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
