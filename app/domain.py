"""The words that every room shares: boxes, frames, labels, taxonomies. Plain data, no behaviour of a room."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.errors import BadInput

Pixels = NDArray[np.uint8]
"""A grey picture (height, width) or an RGB picture (height, width, 3), 8 bit."""

Vectors = NDArray[np.float32]
"""Embeddings, one unit-length row each: (n, dim)."""

LABEL_KINDS = ("organ", "organ_group", "plane", "diagnoses", "diagnosis_groups", "findings")
ATTRIBUTES = ("device", "operator", "trimester", "site")
MAX_K = 1000
MOST_LETTERS = 200
_NOT_TEXT = {"Cc", "Cs", "Cn", "Zl", "Zp"}


class Box(NamedTuple):
    """A half-open rectangle in stored pixels: x0 <= x < x1, y0 <= y < y1."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.y1 - self.y0

    def fits(self, width: int, height: int) -> bool:
        """Whether the box is non-empty and lies inside a picture of that size."""
        return 0 <= self.x0 < self.x1 <= width and 0 <= self.y0 < self.y1 <= height

    @classmethod
    def parse(cls, text: str) -> Box:
        """Read ``x0,y0,x1,y1``; raises BadInput ``bad_region``."""
        try:
            x0, y0, x1, y1 = (int(part) for part in text.split(","))
        except ValueError:
            raise BadInput(
                "bad_region",
                "region must be four whole numbers",
                hint="write region=x0,y0,x1,y1 in pixels of the stored picture, x1 and y1 exclusive",
            ) from None
        return cls(x0, y0, x1, y1)


class RegionSource(StrEnum):
    """How the scan region of a picture became known."""

    DICOM = "dicom"
    DETECTED = "detected"
    GIVEN = "given"
    FULL_FRAME = "full_frame"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is kept about an image beside its pixels. Holds no identity: ids are keyed hashes.

    ``width`` and ``height`` are those of the stored picture before cropping; ``frame`` counts from 1
    and is None for stills; ``unmasked`` says that burned-in text may have survived; ``identity_keys``
    are the hashes of everything in the header that names a person or a study (to refuse an external id
    that repeats one) and are never stored.
    """

    sha256: str
    format: str
    width: int
    height: int
    frame: int | None = None
    frames: int = 1
    region: Box | None = None
    region_source: RegionSource = RegionSource.NONE
    unmasked: bool = False
    modality: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    patient_key: str | None = None
    study_key: str | None = None
    instance_key: str | None = None
    identity_keys: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded, cropped, de-identified picture, ready for an encoder."""

    pixels: Pixels
    facts: ImageFacts


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of one reference; an empty value means not annotated."""

    organ: str | None = None
    organ_group: str | None = None
    plane: str | None = None
    diagnoses: tuple[str, ...] = ()
    diagnosis_groups: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()

    def values(self, kind: str) -> tuple[str, ...]:
        """All labels of one kind, as a tuple even where there is at most one."""
        value: str | tuple[str, ...] | None = getattr(self, kind)
        if value is None:
            return ()
        return (value,) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """Which group an organ or a diagnosis belongs to."""

    organs: Mapping[str, str] = field(default_factory=dict)
    diagnoses: Mapping[str, str] = field(default_factory=dict)

    def updated(self, newer: Taxonomy) -> Taxonomy:
        """What both say; where they differ, the newer one wins."""
        return Taxonomy({**self.organs, **newer.organs}, {**self.diagnoses, **newer.diagnoses})

    def complete(self, labels: Labels) -> Labels:
        """The same labels with their groups filled in; groups that were given stay where the taxonomy is silent."""
        group = self.organs.get(labels.organ, labels.organ_group) if labels.organ else labels.organ_group
        groups = (self.diagnoses[name] for name in labels.diagnoses if name in self.diagnoses)
        return replace(
            labels,
            organ_group=group,
            diagnosis_groups=unique(groups) or labels.diagnosis_groups,
        )

    def without_groups(self, labels: Labels) -> Labels:
        """The same labels without the groups that this taxonomy gave them; groups that were given otherwise stay."""
        filled = self.complete(replace(labels, organ_group=None, diagnosis_groups=()))
        return replace(
            labels,
            organ_group=None if labels.organ_group == filled.organ_group else labels.organ_group,
            diagnosis_groups=() if labels.diagnosis_groups == filled.diagnosis_groups else labels.diagnosis_groups,
        )


def is_label_text(text: str) -> bool:
    """Whether a text can be a label or an attribute: not too long, without line breaks and control characters."""
    return len(text) <= MOST_LETTERS and not any(unicodedata.category(letter) in _NOT_TEXT for letter in text)


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """The distinct names in the order of their first appearance."""
    return tuple(dict.fromkeys(names))
