"""Finder: from an image, or from a reference, to its neighbours."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.domain import Frame, ImageFacts, Vectors
from app.encoders.base import Encoder
from app.encoders.batcher import Batcher
from app.errors import BadInput, NotFound, Unavailable
from app.images.deidentify import Keyer
from app.images.limits import DECODERS
from app.images.reader import ReadLimits, read_frame
from app.indexes.base import Hits
from app.library.catalogue import Catalogue
from app.library.reference import identity_of, reference_id
from app.scores.registry import DREAMSIM, ScoreInput, chosen_scores, score_pairs
from app.search.answer import Answer, EncoderInfo, ImageQuery, Neighbour, Wish
from app.search.choice import Choice, choose_encoder, only_library
from app.search.dreamsim import DreamSimVectors, both_vectors, without_vectors
from app.search.evidence import weigh_evidence
from app.search.ranking import rank
from app.search.scope import Scope, judge_scope, nothing_seen, with_frames_of
from app.search.shelves import Shelves
from app.search.snapshot import Snapshot
from app.search.stopwatch import Stopwatch

_ATTEMPTS = 8
"""How often a search is repeated because a neighbour was changed or removed while its scores were read."""

_CANVASES = 64
"""Canvases in memory at once while scores are computed; each takes 66 kB."""


@dataclass(frozen=True, slots=True)
class _Query:
    """A query that has become a vector: what ranking needs to know of it."""

    facts: ImageFacts
    vector: Vectors
    scores: ScoreInput
    self_id: str
    patient_keys: frozenset[str]
    is_reference: bool
    dreamsim_failure: str | None = None


class Finder:
    """Answers searches. Safe to call from many threads."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        shelves: Shelves,
        batcher: Batcher,
        dreamsim: DreamSimVectors,
        keyer: Keyer,
        limits: ReadLimits,
        deadline_s: float,
    ) -> None:
        self._catalogue = catalogue
        self._shelves = shelves
        self._batcher = batcher
        self._dreamsim = dreamsim
        self._keyer = keyer
        self._limits = limits
        self._deadline_s = deadline_s
        self._decoding = threading.BoundedSemaphore(DECODERS)

    def find(self, query: ImageQuery, wish: Wish) -> Answer:
        """The references that look most like an image."""
        watch = Stopwatch()
        scores = chosen_scores(wish.scores)
        choice = choose_encoder(self._catalogue, self._batcher, wish, wish.library)
        encoder = choice.encoder
        with watch.time("read"):
            frame = self.read(query)
        with watch.time("encode"), self._batcher.submit(encoder, [frame]) as pending:
            # What needs no vector is done while the worker encodes.
            snapshot = self._snapshot(wish.library, encoder)
            named = wish.scores is not None
            with self._dreamsim.submit(
                [frame], scores, encoder, pending, library=snapshot.info.name, needed=named
            ) as perceived:
                score_input = ScoreInput.of(frame.pixels)
                vectors, dreamsim = both_vectors(pending, perceived, self._deadline_s)
        asked = _Query(
            facts=frame.facts,
            vector=vectors[0],
            scores=score_input if dreamsim is None else replace(score_input, dreamsim=dreamsim[0]),
            self_id=reference_id(snapshot.info.name, identity_of(frame.facts)),
            patient_keys=self._patient_keys(query, frame.facts),
            is_reference=False,
            dreamsim_failure=perceived.failure,
        )
        return self._answer(asked, wish, choice, snapshot, scores, judge_scope(frame.facts), watch)

    def find_like(self, key: str, wish: Wish) -> Answer:
        """The neighbours of a reference among the others of its library, its own patient left out."""
        watch = Stopwatch()
        reference = self._catalogue.get(key)
        if wish.library not in (None, reference.library):
            raise BadInput(
                "other_library",
                "the reference belongs to another library than the one that was named",
                hint=f"leave library out, or name {reference.library!r}",
            )
        scores = chosen_scores(wish.scores)
        choice = choose_encoder(self._catalogue, self._batcher, wish, reference.library)
        encoder = choice.encoder
        snapshot = self._snapshot(reference.library, encoder)
        vector = self._catalogue.embeddings.one(key, encoder.digest)
        canvas = self._catalogue.canvases([key]).get(key)
        if vector is None or canvas is None:
            raise NotFound("unknown_reference", "the reference is gone", hint="search again")
        asked = _Query(
            facts=reference.facts,
            vector=vector,
            scores=ScoreInput(canvas.canvas, canvas.histogram, self._dreamsim.stored([key], scores).get(key)),
            self_id=key,
            patient_keys=frozenset({own} if (own := reference.facts.patient_key) else ()),
            is_reference=True,
        )
        scope = Scope("unknown", ())
        return self._answer(asked, wish, choice, snapshot, scores, scope, watch)

    def read(self, query: ImageQuery) -> Frame:
        """The de-identified frame of an image."""
        with self._decoding:
            return read_frame(
                query.data, keyer=self._keyer, limits=self._limits, frame=query.frame, region=query.region
            )

    def encode(self, encoder: Encoder, frame: Frame) -> Vectors:
        """The unit-length embedding (dim,) of a frame."""
        vector: Vectors = self._batcher.encode(encoder, [frame], deadline_s=self._deadline_s)[0]
        return vector

    def _snapshot(self, library: str | None, encoder: Encoder) -> Snapshot:
        """The snapshot of a library, of the only one without a name, at the version that is stored now."""
        editions = self._catalogue.editions()
        self._shelves.keep(editions)
        name = library if library is not None else only_library(list(editions))
        if name not in editions:
            return self._shelves.snapshot(name, encoder)  # says which there are
        return self._shelves.snapshot_at(name, editions[name], encoder)

    def _patient_keys(self, query: ImageQuery, facts: ImageFacts) -> frozenset[str]:
        """Whom to leave out: the patient that the caller names and the one that the header names."""
        named = self._keyer.patient_key(query.patient_id) if query.patient_id and query.patient_id.strip() else None
        return frozenset(key for key in (named, facts.patient_key) if key is not None)

    def _answer(
        self,
        asked: _Query,
        wish: Wish,
        choice: Choice,
        snapshot: Snapshot,
        scores: tuple[str, ...],
        scope: Scope,
        watch: Stopwatch,
    ) -> Answer:
        for _ in range(_ATTEMPTS):
            with watch.time("search"):
                ranking = rank(
                    snapshot,
                    asked.vector,
                    wish,
                    self_id=asked.self_id,
                    patient_keys=asked.patient_keys,
                    without_own_patient=asked.is_reference,
                )
                evidence = weigh_evidence(
                    snapshot, ranking.hits.rows, ranking.visible, max_per_patient=wish.max_per_patient
                )
            with watch.time("scores"):
                neighbours = self._neighbours(snapshot, ranking.hits, asked.scores, scores)
            if len(neighbours) == len(ranking.hits.rows) and self._shelves.is_present(snapshot):
                break
            snapshot = self._shelves.snapshot(snapshot.info.name, choice.encoder)  # one of them has changed meanwhile
        else:
            raise _changing_too_fast()
        return Answer(
            facts=asked.facts,
            reference_id=asked.self_id if asked.self_id in snapshot.row_of else None,
            patient_excluded=bool(asked.patient_keys),
            library=snapshot.info,
            encoder=describe(choice.encoder),
            adoption=choice.adoption,
            engine=snapshot.index.engine,
            exact=snapshot.index.exact,
            neighbours=neighbours,
            evidence=evidence,
            scope=with_frames_of(scope, snapshot.frame_digests.keys()) if neighbours else nothing_seen(scope),
            unavailable=self._unavailable(asked, neighbours, snapshot.info.name, scores),
            timings_ms=watch.milliseconds(),
        )

    def _neighbours(self, snapshot: Snapshot, hits: Hits, query: ScoreInput, names: tuple[str, ...]) -> list[Neighbour]:
        """The neighbours with their scores; those that are not as the snapshot has them any more are left out."""
        found = [snapshot.references[row] for row in hits.rows]
        scores = self._scores([reference.id for reference in found], snapshot.info.version, query, names)
        pairs = zip(found, hits.distances.tolist(), strict=True)
        there = [(reference, distance) for reference, distance in pairs if reference.id in scores]
        return [
            Neighbour(rank, reference, distance, scores[reference.id])
            for rank, (reference, distance) in enumerate(there, start=1)
        ]

    def _scores(
        self, keys: list[str], version: int, query: ScoreInput, names: tuple[str, ...]
    ) -> dict[str, Mapping[str, Any]]:
        """Scores by id of the references that have not changed since a version of their library."""
        if not names:
            return {key: {} for key in keys}
        scores: dict[str, Mapping[str, Any]] = {}
        for start in range(0, len(keys), _CANVASES):
            some = keys[start : start + _CANVASES]
            # Vectors first: what changes between the two reads is seen by the second.
            vectors = {} if query.dreamsim is None else self._dreamsim.stored(some, names)
            stored = self._catalogue.canvases(some).items()
            canvases = {key: canvas for key, canvas in stored if canvas.version <= version}
            inputs = [ScoreInput(canvas.canvas, canvas.histogram, vectors.get(key)) for key, canvas in canvases.items()]
            scores.update(zip(canvases, score_pairs(query, inputs, names), strict=True))
        return scores

    def _unavailable(
        self, asked: _Query, neighbours: list[Neighbour], library: str, names: tuple[str, ...]
    ) -> Mapping[str, str]:
        """Why some scores are null."""
        if DREAMSIM not in names:
            return {}
        if missing := self._dreamsim.missing():
            return missing
        if asked.dreamsim_failure is not None:
            return {DREAMSIM: asked.dreamsim_failure}
        lacking = sum(found.scores[DREAMSIM] is None for found in neighbours)
        if not lacking:
            return {}
        if asked.is_reference and asked.scores.dreamsim is None:
            return without_vectors("the reference that was asked for has", library)
        return without_vectors(f"{lacking} of {len(neighbours)} neighbours have", library)


def _changing_too_fast() -> Unavailable:
    """What a caller is told rather than an answer that mixes versions, or lacks what was changed while it was made."""
    return Unavailable(
        "library_changing",
        f"references of the library were changed or removed during each of {_ATTEMPTS} attempts to search it",
        hint="search again",
    )


def describe(encoder: Encoder) -> EncoderInfo:
    """What an answer says of the encoder that made its vectors."""
    return EncoderInfo(encoder.name, encoder.digest, encoder.dim, encoder.precision)
