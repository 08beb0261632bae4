"""The bodies of the HTTP contract, and how answers become them."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from app.domain import Box, ImageFacts, Labels
from app.library.reference import LabelChange, LibraryInfo, Reference
from app.search.answer import Answer, EncoderInfo, Neighbour
from app.search.comparer import Comparison, Embedding


class Body(BaseModel):
    """The base of all bodies: built from our own objects by attribute."""

    model_config = ConfigDict(from_attributes=True)


class LabelsBody(Body):
    """The labels of a reference; an empty value means not annotated."""

    organ: str | None
    organ_group: str | None
    plane: str | None
    diagnoses: list[str]
    diagnosis_groups: list[str]
    findings: list[str]

    @classmethod
    def of(cls, labels: Labels) -> "LabelsBody":
        """From labels."""
        return cls.model_validate(labels)


class DreamSimBody(Body):
    """1 - cosine of two DreamSim embeddings (0 = same), and 1 minus that."""

    distance: float
    similarity: float


Scores = dict[str, float | DreamSimBody | None]
"""Name -> value of those that were asked for; null where it is unavailable."""


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


class LibraryBody(Body):
    """A library at one version."""

    name: str
    version: int
    size: int


class LibraryEncoderBody(BaseModel):
    """An encoder that has vectors in a library."""

    name: str
    digest: str
    vectors: int


class LibraryListBody(LibraryBody):
    """A library and the encoders that have vectors in it."""

    encoders: list[LibraryEncoderBody]


class EncoderBody(Body):
    """The encoder that made the vectors; only equal digests may be compared."""

    name: str
    digest: str
    dim: int
    precision: str


class LoadedEncoderBody(EncoderBody):
    """A loaded encoder, and whether it is used where none is named."""

    default: bool


class IndexBody(BaseModel):
    """The engine that searched, and whether its answers are exact."""

    engine: str
    exact: bool


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
            index=IndexBody(engine=answer.engine, exact=answer.exact),
            neighbours=[_neighbour(found) for found in answer.neighbours],
            evidence=[EvidenceBody.model_validate(found) for found in answer.evidence],
            scope=ScopeBody.model_validate(answer.scope),
            unavailable=dict(answer.unavailable),
            timings_ms=dict(answer.timings_ms),
        )


class LabelChangeBody(BaseModel):
    """The labels of a reference from a moment on."""

    at: datetime
    actor: str
    labels: LabelsBody


class ReferenceBody(BaseModel):
    """A reference: the fields of a neighbour, where it belongs and its history."""

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
    history: list[LabelChangeBody]

    @classmethod
    def of(cls, reference: Reference, history: list[LabelChange]) -> "ReferenceBody":
        """From a reference and its history."""
        facts = reference.facts
        return cls(
            reference_id=reference.id,
            external_id=reference.external_id,
            library=reference.library,
            labels=LabelsBody.of(reference.labels),
            attributes=dict(reference.attributes),
            image=image_path(reference.id),
            width=facts.width,
            height=facts.height,
            frame=facts.frame,
            region=facts.region,
            region_source=facts.region_source,
            enrolled_at=reference.enrolled_at,
            history=[
                LabelChangeBody(at=change.at, actor=change.actor, labels=LabelsBody.of(change.labels))
                for change in history
            ],
        )


class CompareBody(BaseModel):
    """Two images against each other."""

    request_id: str
    distance: float
    similarity: float
    scores: Scores
    encoder: EncoderBody
    unavailable: dict[str, str]

    @classmethod
    def of(cls, comparison: Comparison, request_id: str) -> "CompareBody":
        """From a comparison."""
        return cls(
            request_id=request_id,
            distance=comparison.distance,
            similarity=comparison.similarity,
            scores=dict(comparison.scores),
            encoder=EncoderBody.model_validate(comparison.encoder),
            unavailable=dict(comparison.unavailable),
        )


class EmbedBody(BaseModel):
    """The unit-length vector of one image."""

    request_id: str
    encoder: EncoderBody
    vector: list[float]

    @classmethod
    def of(cls, embedding: Embedding, request_id: str) -> "EmbedBody":
        """From an embedding."""
        return cls(
            request_id=request_id,
            encoder=EncoderBody.model_validate(embedding.encoder),
            vector=embedding.vector.tolist(),
        )


class HealthBody(BaseModel):
    """``ok``, or why not yet."""

    status: str


class VersionBody(BaseModel):
    """Which software this is and what it is for."""

    name: str
    version: str
    open: bool
    purpose: str


class ProblemBody(BaseModel):
    """An error (RFC 9457): ``code`` is stable, ``hint`` says what the caller can do."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str
    request_id: str


def library_list_body(info: LibraryInfo, encoders: dict[str, tuple[str, int]]) -> LibraryListBody:
    """A library and its encoders."""
    return LibraryListBody(
        name=info.name,
        version=info.version,
        size=info.size,
        encoders=[
            LibraryEncoderBody(name=name, digest=digest, vectors=count) for digest, (name, count) in encoders.items()
        ],
    )


def encoder_body(info: EncoderInfo, *, default: bool) -> LoadedEncoderBody:
    """A loaded encoder."""
    return LoadedEncoderBody(
        name=info.name, digest=info.digest, dim=info.dim, precision=info.precision, default=default
    )


def image_path(reference_id: str) -> str:
    """Where the picture of a reference is served."""
    return f"/references/{reference_id}/image"


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
