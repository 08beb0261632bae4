"""References as they are stored, and what became of images that were sent."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from app.api.schemas.base import LabelsBody, image_path
from app.api.schemas.libraries import LibraryBody
from app.library.reference import LabelChange, LibraryInfo, Reference
from app.search.editor import ErasedPatient
from app.search.settler import Outcome


class LabelChangeBody(BaseModel):
    """The labels of a reference from a moment on."""

    at: datetime
    actor: str
    labels: LabelsBody


class StoredBody(BaseModel):
    """A reference: the fields of a neighbour, and where it belongs."""

    reference_id: str
    external_id: str | None
    library: str
    labels: LabelsBody
    attributes: dict[str, str]
    image: str
    width: int
    height: int
    frame: int | None
    region: tuple[int, int, int, int] | None
    region_source: str
    enrolled_at: datetime

    @classmethod
    def of_reference(cls, reference: Reference) -> "StoredBody":
        """From a reference."""
        return StoredBody(**_fields(reference))


class ReferenceBody(StoredBody):
    """A reference with the history of its labels."""

    history: list[LabelChangeBody]

    @classmethod
    def of(cls, reference: Reference, history: list[LabelChange]) -> "ReferenceBody":
        """From a reference and its history."""
        return cls(**_fields(reference), history=_history(history))


class SettledBody(ReferenceBody):
    """A reference and what became of it: added, unchanged, updated or skipped, with what its owner should know."""

    outcome: str
    warnings: list[str]

    @classmethod
    def of_outcome(cls, outcome: Outcome, reference: Reference, history: list[LabelChange]) -> "SettledBody":
        """From an outcome and the reference as it is now."""
        return cls(
            **_fields(reference),
            history=_history(history),
            outcome=outcome.became,
            warnings=list(outcome.warnings),
        )


class PageBody(BaseModel):
    """Some references in order of id; ``next`` is the ``after`` of the next page, null on the last one."""

    library: LibraryBody
    references: list[StoredBody]
    next: str | None

    @classmethod
    def of(cls, library: LibraryInfo, found: Sequence[Reference], limit: int) -> "PageBody":
        """From one reference more than a page holds, where there is one."""
        page = found[:limit]
        return cls(
            library=LibraryBody.model_validate(library),
            references=[StoredBody.of_reference(reference) for reference in page],
            next=page[-1].id if len(found) > limit else None,
        )


class RowBody(BaseModel):
    """What became of one image of a batch; rows count from 1. ``code`` and ``hint`` say why nothing did."""

    row: int
    outcome: str
    reference_id: str | None
    warnings: list[str]
    code: str | None
    detail: str | None
    hint: str | None

    @classmethod
    def of(cls, row: int, outcome: Outcome) -> "RowBody":
        """From an outcome."""
        error = outcome.error
        return cls(
            row=row,
            outcome=outcome.became,
            reference_id=outcome.reference_id,
            warnings=list(outcome.warnings),
            code=error.code if error else None,
            detail=error.detail if error else None,
            hint=error.hint if error else None,
        )


class BatchBody(BaseModel):
    """What became of the images of a batch, in their order, and how many of each; the library as it is now."""

    request_id: str
    library: LibraryBody
    counts: dict[str, int]
    rows: list[RowBody]

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], library: LibraryInfo, request_id: str) -> "BatchBody":
        """From the outcomes of a batch."""
        return cls(
            request_id=request_id,
            library=LibraryBody.model_validate(library),
            counts=dict(Counter(outcome.became for outcome in outcomes)),
            rows=[RowBody.of(row, outcome) for row, outcome in enumerate(outcomes, start=1)],
        )


class ErasedBody(BaseModel):
    """What was removed of a patient, library by library, and what may remain elsewhere, in plain sentences."""

    request_id: str
    libraries: dict[str, int]
    reference_ids: list[str]
    remains: list[str]

    @classmethod
    def of(cls, erased: ErasedPatient, request_id: str) -> "ErasedBody":
        """From an erasure."""
        return cls(
            request_id=request_id,
            libraries=dict(erased.libraries),
            reference_ids=list(erased.references),
            remains=list(erased.remains),
        )


def _fields(reference: Reference) -> dict[str, Any]:
    facts = reference.facts
    return {
        "reference_id": reference.id,
        "external_id": reference.external_id,
        "library": reference.library,
        "labels": LabelsBody.of(reference.labels),
        "attributes": dict(reference.attributes),
        "image": image_path(reference.id),
        "width": facts.width,
        "height": facts.height,
        "frame": facts.frame,
        "region": facts.region,
        "region_source": facts.region_source,
        "enrolled_at": reference.enrolled_at,
    }


def _history(history: list[LabelChange]) -> list[LabelChangeBody]:
    return [
        LabelChangeBody(at=change.at, actor=change.actor, labels=LabelsBody.of(change.labels)) for change in history
    ]
