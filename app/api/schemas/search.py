"""The answer of a search."""

from datetime import datetime

from pydantic import BaseModel

from app.api.schemas.base import Body, EncoderBody, LabelsBody, Scores, image_path
from app.api.schemas.libraries import LibraryBody
from app.domain import Box, ImageFacts
from app.search.answer import Answer, Neighbour


class QueryBody(BaseModel):
    """What the service understood of the image that was sent."""

    sha256: str
    format: str
    width: int
    height: int
    frame: int | None
    region: tuple[int, int, int, int] | None
    region_source: str
    reference_id: str | None
    patient_excluded: bool


class IndexBody(BaseModel):
    """The engine that searched, and whether its answers are exact."""

    engine: str
    exact: bool


class TargetBody(Body):
    """Why this encoder: the library adopted it for a label kind.

    ``figure`` is its precision among ten neighbours (0..1) over the library at ``library_version``, the query's own
    patient left out, with a 95 % interval over patients; ``chance`` that of random neighbours.
    """

    kind: str
    figure: float
    low: float | None
    high: float | None
    chance: float | None
    library_version: int
    adopted_at: datetime


class NeighbourBody(BaseModel):
    """A reference with its rank, Euclidean distance (0..2), cosine similarity, labels and scores."""

    rank: int
    reference_id: str
    external_id: str | None
    distance: float
    similarity: float
    labels: LabelsBody
    attributes: dict[str, str]
    scores: Scores
    image: str


class EvidenceBody(Body):
    """How often a label occurs among the neighbours, against chance."""

    kind: str
    label: str
    found: int
    patients: int
    expected: float
    lift: float
    low_support: bool


class ScopeBody(Body):
    """Whether the image is something this service can judge, and warnings."""

    verdict: str
    warnings: list[str]


class SearchBody(BaseModel):
    """The answer of a search."""

    request_id: str
    query: QueryBody
    library: LibraryBody
    encoder: EncoderBody
    target: TargetBody | None
    index: IndexBody
    neighbours: list[NeighbourBody]
    evidence: list[EvidenceBody]
    scope: ScopeBody
    unavailable: dict[str, str]
    timings_ms: dict[str, float]

    @classmethod
    def of(cls, answer: Answer, request_id: str) -> "SearchBody":
        """From an answer."""
        return cls(
            request_id=request_id,
            query=_query(answer),
            library=LibraryBody.model_validate(answer.library),
            encoder=EncoderBody.model_validate(answer.encoder),
            target=TargetBody.model_validate(answer.adoption) if answer.adoption else None,
            index=IndexBody(engine=answer.engine, exact=answer.exact),
            neighbours=[_neighbour(found) for found in answer.neighbours],
            evidence=[EvidenceBody.model_validate(found) for found in answer.evidence],
            scope=ScopeBody.model_validate(answer.scope),
            unavailable=dict(answer.unavailable),
            timings_ms=dict(answer.timings_ms),
        )


def _query(answer: Answer) -> QueryBody:
    facts: ImageFacts = answer.facts
    region: Box | None = facts.region
    return QueryBody(
        sha256=facts.sha256,
        format=facts.format,
        width=facts.width,
        height=facts.height,
        frame=facts.frame,
        region=region,
        region_source=facts.region_source,
        reference_id=answer.reference_id,
        patient_excluded=answer.patient_excluded,
    )


def _neighbour(found: Neighbour) -> NeighbourBody:
    reference = found.reference
    return NeighbourBody(
        rank=found.rank,
        reference_id=reference.id,
        external_id=reference.external_id,
        distance=found.distance,
        similarity=found.similarity,
        labels=LabelsBody.of(reference.labels),
        attributes=dict(reference.attributes),
        scores=dict(found.scores),
        image=image_path(reference.id),
    )
