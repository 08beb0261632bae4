"""Which pictures the pixel metrics are shown on: a reference, similar, different and natural ones."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.domain import Box, Frame, ImageFacts, Pixels, Vectors
from app.errors import BadInput, Misconfigured, SonoSeekError
from app.evaluation.ground import Ground
from app.evaluation.label_match import telling
from app.evaluation.protocol import Ranked
from app.images.deidentify import Keyer
from app.images.reader import ReadLimits, read_frame
from app.scores.registry import ScoreInput

MANY = 10
"""So many similar and different pictures are chosen."""

NATURAL = ("astronaut", "camera", "chelsea", "coffee", "rocket")
"""Photographs in scikit-image's wheel: in the public domain or CC0."""

Perceive = Callable[[Sequence[Frame]], Vectors]
"""Frames to DreamSim vectors (n, dim)."""

Inputs = Callable[[Sequence[int]], list[ScoreInput]]
"""Rows of a ground to what their scores are computed from."""


class Role(StrEnum):
    """What a picture is to the reference."""

    REFERENCE = "reference"
    SIMILAR = "similar"
    DIFFERENT = "different"
    NATURAL = "natural"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a pixel set; ``row`` is its row of the ground, None for one that came from a file."""

    name: str
    role: Role
    scored: ScoreInput
    row: int | None = None


@dataclass(frozen=True, slots=True)
class PixelSet:
    """The pictures of Figure 1 and Tables 6 to 8; ``how`` says in a sentence who chose them."""

    pictures: tuple[Picture, ...]
    how: str

    @property
    def reference(self) -> Picture:
        """The one that all are compared with."""
        return self.of(Role.REFERENCE)[0]

    def of(self, role: Role) -> list[Picture]:
        """The pictures of a role in their order."""
        return [one for one in self.pictures if one.role is role]


class _Line(NamedTuple):
    number: int
    path: str
    role: Role


def read_pixel_set(
    path: Path, keyer: Keyer, *, limits: ReadLimits | None = None, perceive: Perceive | None = None
) -> PixelSet:
    """From a CSV file with the columns ``path`` and ``role``; paths are relative to it.

    Natural pictures are taken whole, for they have no scan region. Without any in the file, those of scikit-image
    serve. Raises BadInput ``bad_pixel_set``, and what ``read_frame`` raises.
    """
    lines = _roles(path)
    _check_roles([one.role for one in lines])
    pictures = []
    for one in lines:
        frame = _read(path.parent / one.path, one, keyer, limits or ReadLimits())
        # A file's name may be a patient's: the line finds it too.
        name = f"line {one.number}"
        pictures.append(Picture(name, one.role, _perceived(ScoreInput.of(frame.pixels), frame, perceive)))
    how = "The pictures and their roles are those of the file that --pixel-set named."
    if not any(one.role is Role.NATURAL for one in lines):
        pictures += natural_pictures(perceive)
        how += f" It names no natural ones: scikit-image's {', '.join(NATURAL)} serve."
    return PixelSet(tuple(pictures), how)


def choose_pixel_set(
    ground: Ground, rankings: Sequence[Ranked], inputs: Inputs, *, seed: int = 0, perceive: Perceive | None = None
) -> PixelSet:
    """By rule, from the neighbours that the first encoder finds for the first kind with several labels.

    The reference is the query with most neighbours that share a label with it and come from other patients and are
    no near-duplicates, the first by id among equals. Those are similar; different are others drawn at random that share
    no label.
    """
    ranked = telling(ground, rankings)
    reference, similar, different = _chosen_rows(ground, ranked, seed)
    rows = [reference, *similar, *different]
    roles = [Role.REFERENCE, *[Role.SIMILAR] * len(similar), *[Role.DIFFERENT] * len(different)]
    pictures = [
        Picture(name_of(ground, row), role, scored, row)
        for row, role, scored in zip(rows, roles, inputs(rows), strict=True)
    ]
    how = (
        f"No --pixel-set was given, so the pictures were chosen by rule: the reference is the query with most "
        f"neighbours of its own {ranked.kind} from other patients under {ranked.contestant} (the first by id among "
        f"equals), similar are those neighbours, different are {len(different)} images drawn at random (seed {seed}) "
        f"that share no {ranked.kind} with it{'' if different else ' (there are none)'}, natural are scikit-image's "
        f"{', '.join(NATURAL)}."
    )
    return PixelSet((*pictures, *natural_pictures(perceive)), how)


def natural_pictures(perceive: Perceive | None = None) -> list[Picture]:
    """Photographs that come with scikit-image; raises Misconfigured ``extra_missing``."""
    frames = natural_frames()
    return [
        Picture(name, Role.NATURAL, _perceived(ScoreInput.of(frame.pixels), frame, perceive))
        for name, frame in zip(NATURAL, frames, strict=True)
    ]


def natural_frames() -> list[Frame]:
    """Photographs that come with scikit-image, read from its wheel; raises Misconfigured ``extra_missing``."""
    return [Frame(pixels, _facts(pixels)) for pixels in map(_natural, NATURAL)]


def name_of(ground: Ground, row: int) -> str:
    """The user's own name for a reference, or its id."""
    found = ground.references[row]
    return found.external_id or found.id


def _chosen_rows(ground: Ground, ranked: Ranked, seed: int) -> tuple[int, list[int], list[int]]:
    values = [frozenset(one) for one in ground.values(ranked.kind)]
    alike = [
        [row for row in found if row >= 0 and not values[query].isdisjoint(values[row]) and _apart(ground, query, row)]
        for query, found in zip(ranked.queries.tolist(), ranked.neighbours.tolist(), strict=True)
    ]
    place = int(np.argmax([len(found) for found in alike]))
    reference = int(ranked.queries[place])
    others = np.asarray([row for row in ranked.queries.tolist() if values[row].isdisjoint(values[reference])], np.int64)
    drawn = np.random.default_rng(seed).choice(others, min(MANY, len(others)), replace=False) if len(others) else others
    return reference, alike[place], drawn.tolist()


def _apart(ground: Ground, a: int, b: int) -> bool:
    """Whether two rows are of different patients and no near-duplicates."""
    return bool(ground.patients[a] != ground.patients[b] and ground.lookalikes[a] != ground.lookalikes[b])


def _roles(path: Path) -> list[_Line]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error):
        raise _bad("the file of roles cannot be read as CSV in UTF-8") from None
    result = []
    for number, line in enumerate(lines, start=2):
        name, role = (line.get("path") or "").strip(), (line.get("role") or "").strip()
        if not name or role not in list(Role):
            raise _bad(f"line {number} of the file of roles names no picture or none of the roles")
        result.append(_Line(number, name, Role(role)))
    return result


def _check_roles(roles: Sequence[Role]) -> None:
    if roles.count(Role.REFERENCE) != 1:
        raise _bad(f"the file of roles has {roles.count(Role.REFERENCE)} references; it must have one")
    for needed in (Role.SIMILAR, Role.DIFFERENT):
        if needed not in roles:
            raise _bad(f"the file of roles has no {needed} picture")


def _bad(detail: str) -> BadInput:
    return BadInput(
        "bad_pixel_set",
        detail,
        hint="write a CSV with the columns path and role, where role is reference (one), similar, different or natural",
    )


def _read(file: Path, line: _Line, keyer: Keyer, limits: ReadLimits) -> Frame:
    try:
        data = file.read_bytes()
    except OSError:
        raise _bad(f"the picture in line {line.number} of the file of roles cannot be opened") from None
    try:
        frame = read_frame(data, keyer=keyer, limits=limits)
        if line.role is not Role.NATURAL:
            return frame
        whole = Box(0, 0, frame.facts.width, frame.facts.height)
        return read_frame(data, keyer=keyer, limits=limits, region=whole)
    except SonoSeekError as error:
        raise _bad(f"the picture in line {line.number} of the file of roles: {error.detail}") from None


def _perceived(scored: ScoreInput, frame: Frame, perceive: Perceive | None) -> ScoreInput:
    return scored if perceive is None else replace(scored, dreamsim=perceive([frame])[0])


def _natural(name: str) -> Pixels:
    try:
        from skimage import data
    except ModuleNotFoundError:
        raise Misconfigured(
            "extra_missing", "scikit-image is not installed", hint="pip install 'sonoseek[evaluation]'"
        ) from None
    pixels: NDArray[np.uint8] = np.asarray(getattr(data, name)(), dtype=np.uint8)
    return pixels


def _facts(pixels: Pixels) -> ImageFacts:
    height, width = pixels.shape[:2]
    return ImageFacts(sha256="", format="png", width=width, height=height)
