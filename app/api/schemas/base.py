"""What several bodies are made of."""

from pydantic import BaseModel, ConfigDict

from app.domain import Labels


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


class EncoderBody(Body):
    """The encoder that made the vectors; only equal digests may be compared."""

    name: str
    digest: str
    dim: int
    precision: str


class DreamSimBody(Body):
    """1 - cosine of two DreamSim embeddings (0 = same), and 1 minus that."""

    distance: float
    similarity: float


Scores = dict[str, float | DreamSimBody | None]
"""Name -> value of those that were asked for; null where it is unavailable."""


class ProblemBody(BaseModel):
    """An error (RFC 9457): ``code`` is stable, ``hint`` says what the caller can do."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str
    request_id: str


def image_path(reference_id: str) -> str:
    """Where the picture of a reference is served."""
    return f"/references/{reference_id}/image"
