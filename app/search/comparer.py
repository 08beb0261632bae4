"""Two images against each other, and one image as a vector."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.domain import ImageFacts, Vectors
from app.encoders.batcher import Batcher
from app.scores.registry import ScoreInput, chosen_scores, score_pairs, unavailable_scores
from app.search.answer import EncoderInfo, ImageQuery
from app.search.finder import Finder, describe


@dataclass(frozen=True, slots=True)
class Comparison:
    """Euclidean distance (0..2) of two embeddings and the scores of two canvases."""

    distance: float
    scores: Mapping[str, Any]
    encoder: EncoderInfo
    unavailable: Mapping[str, str]

    @property
    def similarity(self) -> float:
        """The cosine of both embeddings, 1 - d²/2."""
        return 1.0 - self.distance**2 / 2.0


@dataclass(frozen=True, slots=True)
class Embedding:
    """The unit-length vector (dim,) of one image."""

    facts: ImageFacts
    vector: Vectors
    encoder: EncoderInfo


class Comparer:
    """Compares and embeds images that need not be in any library."""

    def __init__(self, finder: Finder, batcher: Batcher) -> None:
        self._finder = finder
        self._batcher = batcher

    def compare(self, a: ImageQuery, b: ImageQuery, encoder_name: str | None = None) -> Comparison:
        """How much two images look alike."""
        encoder = self._batcher.encoder(encoder_name)
        frames = [self._finder.read(query) for query in (a, b)]
        vectors = [self._finder.encode(encoder, frame).astype(np.float64) for frame in frames]
        names = chosen_scores(None)
        first, second = (ScoreInput.of(frame.pixels) for frame in frames)
        return Comparison(
            distance=float(np.linalg.norm(vectors[0] - vectors[1])),
            scores=score_pairs(first, [second], names)[0],
            encoder=describe(encoder),
            unavailable=unavailable_scores(names),
        )

    def embed(self, query: ImageQuery, encoder_name: str | None = None) -> Embedding:
        """The vector of one image."""
        encoder = self._batcher.encoder(encoder_name)
        frame = self._finder.read(query)
        return Embedding(frame.facts, self._finder.encode(encoder, frame), describe(encoder))
