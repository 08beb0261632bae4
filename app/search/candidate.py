"""What is offered for enrolment: an image and what its owner says of it."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from app.domain import Box, ImageFacts, Labels
from app.errors import BadInput
from app.images.reader import FRAME_DIGEST
from app.library.reference import identity_of, reference_id
from app.search.enroller import Enroller, Enrolment, ReadyImage


@dataclass(frozen=True, slots=True)
class Said:
    """What an owner says of his image. None for patient, external id and region says nothing.

    ``frame_digest`` tells by which rules its frame is made.
    """

    labels: Labels
    attributes: Mapping[str, str]
    patient_key: str | None = None
    external_id: str | None = None
    region: Box | None = None
    frame_digest: str = FRAME_DIGEST


class Candidate(Protocol):
    """An image that may be new to a library or known to it."""

    @property
    def said(self) -> Said:
        """What its owner says of it."""

    def early_ids(self, library: str) -> list[str]:
        """The ids that it may have as far as they are known before it is decoded; raises BadInput."""

    def read(self) -> ReadyImage:
        """The image, ready to be stored; raises BadInput where it must not be."""


class OfferedImage:
    """An image of any format. Its bytes are fetched when they are first needed."""

    def __init__(
        self, enroller: Enroller, enrolment: Enrolment, fetch: Callable[[], bytes], *, allow_unmasked: bool = False
    ) -> None:
        self.said = Said(
            labels=enrolment.labels,
            attributes=enrolment.attributes,
            patient_key=enroller.patient_key(enrolment.patient_id),
            external_id=enrolment.external_id,
            region=enrolment.region,
        )
        self._enroller = enroller
        self._enrolment = enrolment
        self._fetch = fetch
        self._data: bytes | None = None
        self._allow_unmasked = allow_unmasked

    def early_ids(self, library: str) -> list[str]:
        """The id that a still of these bytes has: a look-up by it spares decoding known images.

        None for TIFF, which can have pages: without a number its middle one is meant.
        """
        self._enrolment.refuse_identity()
        data = self._bytes()
        if data[:2] in (b"II", b"MM"):
            return []
        sha256 = hashlib.sha256(data).hexdigest()
        facts = ImageFacts(sha256=sha256, format="", width=0, height=0, frame=self._enrolment.frame)
        return [reference_id(library, identity_of(facts))]

    def read(self) -> ReadyImage:
        """The image, decoded, de-identified and checked."""
        return self._enroller.read(self._bytes(), self._enrolment, allow_unmasked=self._allow_unmasked)

    def _bytes(self) -> bytes:
        if self._data is None:
            self._data = self._fetch()
        return self._data


class MalformedImage:
    """A place in a batch whose description could not be understood."""

    said = Said(Labels(), {})

    def __init__(self, error: BadInput) -> None:
        self._error = error

    def early_ids(self, library: str) -> list[str]:
        """Raises what is wrong with it."""
        raise self._error

    def read(self) -> ReadyImage:
        """Raises what is wrong with it."""
        raise self._error
