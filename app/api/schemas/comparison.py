"""Two images against each other, and the vector of one."""

from pydantic import BaseModel

from app.api.schemas.base import EncoderBody, Scores
from app.search.comparer import Comparison, Embedding


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
