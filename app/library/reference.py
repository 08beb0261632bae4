"""What a reference is, before it is stored and after."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.domain import ImageFacts, Labels, Pixels
from app.errors import BadInput

_NAMESPACE = uuid.UUID("6f1f3a5e-52a5-5c0e-9e0b-6d5a1f0c7b11")


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def is_library_name(name: str) -> bool:
    """Whether a name can stand in an address and a file name."""
    return _NAME.fullmatch(name) is not None


def check_library_name(name: str) -> None:
    """Raise BadInput ``bad_library_name`` for what could not stand in an address or a file name."""
    if not is_library_name(name):
        raise BadInput(
            "bad_library_name",
            "a library's name is made of 1 to 64 of the characters A-Z a-z 0-9 . _ - and begins with none of . _ -",
            hint="choose a name such as fetal or early-2026",
        )


def identity_of(facts: ImageFacts) -> str:
    """What makes an image itself: a DICOM instance and frame, else the file's bytes and frame.

    Archives transcode, so the bytes of one DICOM instance differ from door to door.
    """
    what = f"dicom:{facts.instance_key}" if facts.instance_key else f"file:{facts.sha256}"
    return f"{what}:{facts.frame or 1}"


def reference_id(library: str, identity: str) -> str:
    """The id of an image in a library: uuid5 of both."""
    return str(uuid.uuid5(_NAMESPACE, f"{library}/{identity}"))


@dataclass(frozen=True, slots=True)
class NewVector:
    """The unit-length vector (dim,) that an encoder made, with its name and digest."""

    encoder: str
    digest: str
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class NewReference:
    """An image on its way into a library. ``png`` is the stored frame; ``vectors`` has one of each digest."""

    facts: ImageFacts
    frame_digest: str
    labels: Labels
    attributes: Mapping[str, str]
    external_id: str | None
    patient_key: str | None
    png: bytes
    canvas: Pixels
    histogram: NDArray[np.int64]
    fingerprint: str
    vectors: tuple[NewVector, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """An enrolled image with its labels."""

    id: str
    library: str
    external_id: str | None
    labels: Labels
    attributes: Mapping[str, str]
    facts: ImageFacts
    frame_digest: str
    enrolled_at: datetime


@dataclass(frozen=True, slots=True)
class LabelChange:
    """The labels of a reference from a moment on."""

    at: datetime
    actor: str
    labels: Labels


class StoredCanvas(NamedTuple):
    """The canvas (256, 256) of a reference with its histogram (256), and the version when it last changed."""

    canvas: Pixels
    histogram: NDArray[np.int64]
    version: int


class Edition(NamedTuple):
    """One state of a library: ``uid`` tells it from one of the same name that was deleted, ``version`` grows."""

    uid: str
    version: int


@dataclass(frozen=True, slots=True)
class LibraryInfo:
    """A library at one version."""

    name: str
    version: int
    size: int
    uid: str

    @property
    def edition(self) -> Edition:
        """Which state of the library this is."""
        return Edition(self.uid, self.version)


@dataclass(frozen=True, slots=True)
class Holdings:
    """A library at one version with its vectors then: digest -> (encoder, how many)."""

    info: LibraryInfo
    encoders: Mapping[str, tuple[str, int]]
