"""Two images against each other, and one image as a vector."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from app.domain import ImageFacts, Vectors
from app.encoders.batcher import Batcher
from app.scores.registry import DREAMSIM, ScoreInput, chosen_scores, score_pairs
from app.search.answer import EncoderInfo, ImageQuery
from app.search.dreamsim import DreamSimVectors, both_vectors
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

    def __init__(self, finder: Finder, batcher: Batcher, dreamsim: DreamSimVectors, *, deadline_s: float) -> None:
        self._finder = finder
        self._batcher = batcher
        self._dreamsim = dreamsim
        self._deadline_s = deadline_s

    def compare(self, a: ImageQuery, b: ImageQuery, encoder_name: str | None = None) -> Comparison:
        """How much two images look alike."""
        encoder = self._batcher.encoder(encoder_name)
        frames = [self._finder.read(query) for query in (a, b)]
        names = chosen_scores(None)
        with (
            self._batcher.submit(encoder, frames) as pending,
            self._dreamsim.submit(frames, names, encoder, pending) as perceived,
        ):
            inputs = [ScoreInput.of(frame.pixels) for frame in frames]
            vectors, dreamsim = both_vectors(pending, perceived, self._deadline_s)
        if dreamsim is not None:
            inputs = [replace(one, dreamsim=vector) for one, vector in zip(inputs, dreamsim, strict=True)]
        first, second = vectors.astype(np.float64)
        return Comparison(
            distance=float(np.linalg.norm(first - second)),
            scores=score_pairs(inputs[0], inputs[1:], names)[0],
            encoder=describe(encoder),
            unavailable={DREAMSIM: perceived.failure} if perceived.failure else self._dreamsim.missing(),
        )

    def embed(self, query: ImageQuery, encoder_name: str | None = None) -> Embedding:
        """The vector of one image."""
        encoder = self._batcher.encoder(encoder_name)
        frame = self._finder.read(query)
        return Embedding(frame.facts, self._finder.encode(encoder, frame), describe(encoder))
