"""Enroller: from images with labels to references."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from app.domain import LABEL_KINDS, Box, Frame, Labels
from app.encoders.base import Encoder
from app.encoders.batcher import Batcher
from app.errors import BadInput
from app.images.deidentify import Keyer
from app.images.fingerprint import fingerprint
from app.images.limits import DECODERS
from app.images.reader import FRAME_DIGEST, ReadLimits, read_frame, write_stored
from app.library.catalogue import Catalogue
from app.library.reference import NewReference, NewVector, identity_of, reference_id
from app.scores.pixels import make_canvas, make_histogram

SECONDS_PER_IMAGE = 60.0
"""How long a batch may take for each of its images: the largest encoders need half of it on two cores."""

_LEAST = 4  # characters of a label that may be an identity


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What the owner of an image says of it. ``patient_id`` is hashed at once and never kept."""

    labels: Labels
    attributes: Mapping[str, str]
    frame: int | None = None
    region: Box | None = None
    patient_id: str | None = field(default=None, repr=False)
    external_id: str | None = None

    def refuse_identity(self, is_identity: Callable[[str], bool] | None = None) -> None:
        """Raise BadInput ``external_id_is_identity`` or ``label_is_identity`` for what repeats an identity.

        That is the patient id, or what ``is_identity`` knows. A label of less than four characters is no identity:
        a patient called 2 may well be in trimester 2.
        """
        patient_id = (self.patient_id or "").strip()
        is_identity = is_identity or (lambda text: bool(patient_id) and text == patient_id)
        if self.external_id is not None and is_identity(self.external_id):
            raise _repeats_identity("external_id", "the external id")
        for name, texts in self._texts():
            if any(len(text) >= _LEAST and is_identity(text) for text in texts):
                raise _repeats_identity("label", f"a value of {name}")

    def _texts(self) -> Iterator[tuple[str, Sequence[str]]]:
        for kind in LABEL_KINDS:
            yield kind, self.labels.values(kind)
        yield "attributes", [text for pair in self.attributes.items() for text in pair]


@dataclass(frozen=True, slots=True)
class ReadyImage:
    """An enrolment whose image has been read, de-identified and checked.

    ``vectors`` are those that are known already, such as an export's; all others are computed.
    """

    frame: Frame
    labels: Labels
    attributes: Mapping[str, str]
    patient_key: str | None
    external_id: str | None
    frame_digest: str = FRAME_DIGEST
    vectors: tuple[NewVector, ...] = ()

    def id_in(self, library: str) -> str:
        """The reference id that this image has or will have in a library."""
        return reference_id(library, identity_of(self.frame.facts))


class Enroller:
    """Reads images, encodes them with every loaded encoder and stores them. Safe to call from many threads."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        batcher: Batcher,
        keyer: Keyer,
        limits: ReadLimits,
        seconds_per_image: float = SECONDS_PER_IMAGE,
    ) -> None:
        self._catalogue = catalogue
        self._batcher = batcher
        self._keyer = keyer
        self._limits = limits
        self._seconds_per_image = seconds_per_image
        self._decoding = threading.BoundedSemaphore(DECODERS)

    def read(self, data: bytes, enrolment: Enrolment, *, allow_unmasked: bool = False) -> ReadyImage:
        """The frame of an image, ready to be stored; raises BadInput where it must not be."""
        with self._decoding:
            frame = read_frame(
                data,
                keyer=self._keyer,
                limits=self._limits,
                frame=enrolment.frame,
                region=enrolment.region,
            )
        if frame.facts.unmasked and not allow_unmasked:
            raise BadInput(
                "unmasked_image",
                "burned-in text may have survived: no scan region is known",
                hint="give the region (x0, y0, x1, y1), or allow_unmasked=true (--allow-unmasked on the command line) "
                "where the picture carries no name",
            )
        known = frame.facts.identity_keys
        if known:
            enrolment.refuse_identity(lambda text: self._keyer.identity_key(text) in known)
        return ReadyImage(
            frame=frame,
            labels=enrolment.labels,
            attributes=enrolment.attributes,
            patient_key=self.patient_key(enrolment.patient_id) or frame.facts.patient_key,
            external_id=enrolment.external_id,
        )

    def store(self, library: str, images: Sequence[ReadyImage], *, actor: str = "local") -> list[str]:
        """Encode and store some images in one transaction; returns their reference ids."""
        vectors = self._vectors(images)
        new = [_new_reference(image, own) for image, own in zip(images, vectors, strict=True)]
        return self._catalogue.add(library, new, actor=actor)

    def encoded(self, image: ReadyImage) -> NewReference:
        """An image with its vectors, as the catalogue takes it."""
        (vectors,) = self._vectors([image])
        return _new_reference(image, vectors)

    def patient_key(self, patient_id: str | None) -> str | None:
        """The key of a patient id; None where there is none."""
        return self._keyer.patient_key(patient_id) if patient_id and patient_id.strip() else None

    def _vectors(self, images: Sequence[ReadyImage]) -> list[tuple[NewVector, ...]]:
        """The vectors of each image: those it came with, and what every loaded encoder makes of its frame."""
        made: list[list[NewVector]] = [list(image.vectors) for image in images]
        for encoder in self._batcher.encoders.values():
            lacking = [place for place, own in enumerate(made) if all(one.digest != encoder.digest for one in own)]
            for place, vector in zip(lacking, self._encoded(encoder, images, lacking), strict=True):
                made[place].append(vector)
        return [tuple(own) for own in made]

    def _encoded(self, encoder: Encoder, images: Sequence[ReadyImage], places: Sequence[int]) -> Iterator[NewVector]:
        if places:
            frames = [images[place].frame for place in places]
            vectors = self._batcher.encode(encoder, frames, deadline_s=self._seconds_per_image * len(frames))
            yield from (NewVector(encoder.name, encoder.digest, vector) for vector in vectors)


def _repeats_identity(field: str, what: str) -> BadInput:
    return BadInput(
        f"{field}_is_identity",
        f"{what} repeats an id of the picture's patient or study",
        hint="what is stored must name no person: choose another, or send the id as patient_id only",
    )


def _new_reference(image: ReadyImage, vectors: tuple[NewVector, ...]) -> NewReference:
    canvas = make_canvas(image.frame.pixels)
    return NewReference(
        facts=image.frame.facts,
        frame_digest=image.frame_digest,
        labels=image.labels,
        attributes=image.attributes,
        external_id=image.external_id,
        patient_key=image.patient_key,
        png=write_stored(image.frame.pixels),
        canvas=canvas,
        histogram=make_histogram(canvas),
        fingerprint=fingerprint(image.frame.pixels),
        vectors=vectors,
    )
