"""Manifests to a training set: every picture read once and kept in memory as a small grey square."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.domain import Box, Pixels
from app.errors import BadInput
from app.library.manifest import read_manifest

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, the steps done and the steps in all."""

Read = Callable[[bytes, int | None, Box | None], Pixels]
"""Bytes, the frame wanted and the region given to the cropped, blanked picture of the service."""

UNKNOWN = -1
"""The class number of a label that is not annotated or must not be learned."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A row of a manifest: which picture, what is known about it, from which manifest and data set it is."""

    path: Path
    frame: int | None
    region: Box | None
    patient: str
    organ: str
    organ_group: str
    source: str


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Squares (n, side, side) uint8 with a class number per head; ``UNKNOWN`` where a head learns nothing."""

    squares: NDArray[np.uint8]
    organ: NDArray[np.int64]
    group: NDArray[np.int64]
    organs: tuple[str, ...]
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.squares)


def read_manifests(manifests: Sequence[Path]) -> list[Sample]:
    """The rows of all manifests that carry an organ group, in order; raises BadInput for a bad row."""
    return [sample for path in manifests for sample in _samples(path) if sample.organ_group]


def _samples(path: Path) -> list[Sample]:
    manifest = read_manifest(path)
    if manifest.bad:
        raise BadInput(
            "bad_manifest",
            f"line {manifest.bad[0].line} of {path.name} cannot be used: {manifest.bad[0].reason}",
            hint="training takes whole manifests: mend the line or take it out",
        )
    return [
        Sample(
            path=row.path,
            frame=row.frame,
            region=row.region,
            patient=row.patient_id or "",
            organ=row.labels.organ or "",
            organ_group=row.labels.organ_group or "",
            source=str(path),
        )
        for row in manifest.rows
    ]


def load_squares(
    samples: Sequence[Sample], read: Read, square: Callable[[Pixels], Pixels], progress: Progress
) -> NDArray[np.uint8]:
    """Every sample's picture, read as the service reads it and made square: uint8 (n, side, side)."""
    squares = []
    for number, sample in enumerate(samples, start=1):
        squares.append(square(read(_bytes(sample.path), sample.frame, sample.region)))
        progress("read", number, len(samples))
    return np.stack(squares)


def file_checksums(samples: Sequence[Sample]) -> list[str]:
    """The sha256 (hex) of every sample's file; raises BadInput ``image_unreadable``."""
    return [hashlib.sha256(_bytes(sample.path)).hexdigest() for sample in samples]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(
            "image_unreadable",
            f"an image of the manifest cannot be read ({type(error).__name__})",
            hint="paths are absolute or relative to the manifest",
        ) from None


def training_set(samples: Sequence[Sample], squares: NDArray[np.uint8]) -> TrainingSet:
    """Samples and their squares with class numbers; raises BadInput ``too_few_classes``."""
    fine = _fine_sources(samples)
    organ = [sample.organ if sample.source in fine else "" for sample in samples]
    organs = tuple(sorted(set(organ) - {""}))
    groups = tuple(sorted({sample.organ_group for sample in samples}))
    if len(organs) < 2 or len(groups) < 2:
        raise BadInput(
            "too_few_classes",
            "training needs at least two organs within one manifest and two organ groups",
            hint="fill the columns organ and organ_group, or add a manifest with other organs",
        )
    return TrainingSet(
        squares,
        np.array([organs.index(name) if name else UNKNOWN for name in organ], np.int64),
        np.array([groups.index(sample.organ_group) for sample in samples], np.int64),
        organs,
        groups,
    )


def _fine_sources(samples: Sequence[Sample]) -> set[str]:
    """The manifests whose organs may be learned: where all pictures are of one organ, it would teach the scanner."""
    organs = {(sample.source, sample.organ) for sample in samples if sample.organ}
    return {source for source, count in Counter(source for source, _ in organs).items() if count > 1}
