"""Galleries of a report as a page shows them: pictures side by side, the matches marked by more than a colour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from app.evaluation.ground import Ground
from app.evaluation.one_query import Gallery
from app.evaluation.roles import name_of
from app.evaluation.thumbnails import ReadFrame, data_uri

_SIDE = 260


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture: ``image`` is a data URI, None where there is none; ``place`` and ``verdict`` are words for it."""

    name: str
    labels: str
    image: str | None
    place: str
    verdict: str


@dataclass(frozen=True, slots=True)
class ShownGallery:
    """Pictures in their order under a title."""

    title: str
    caption: str
    pictures: Sequence[Shown]


def shown_galleries(ground: Ground, galleries: Sequence[Gallery], frame: ReadFrame) -> list[ShownGallery]:
    """All galleries; a picture that stands in several is read once."""

    @cache
    def image(row: int) -> str | None:
        pixels = frame(row)
        return None if pixels is None else data_uri(pixels, _SIDE)

    return [ShownGallery(one.title, one.caption, _pictures(ground, one, image)) for one in galleries]


def _pictures(ground: Ground, gallery: Gallery, image: Callable[[int], str | None]) -> list[Shown]:
    is_query = len(gallery.rows) == 1
    found = zip(gallery.rows, gallery.labels, gallery.matching, gallery.distances, strict=True)
    return [
        Shown(
            name=name_of(ground, row),
            labels=labels or "not annotated",
            image=image(row),
            place="query" if is_query else _place(number, distance),
            verdict="" if is_query else ("match" if matches else "other"),
        )
        for number, (row, labels, matches, distance) in enumerate(found, start=1)
    ]


def _place(number: int, distance: float | None) -> str:
    return str(number) if distance is None else f"{number}, distance {distance:.3f}"
