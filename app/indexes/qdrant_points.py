"""What the Qdrant engine is told about a library: its place, its points and what happened to them. Plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from app.domain import Labels, Vectors


@dataclass(frozen=True, slots=True)
class Place:
    """Which vectors are meant: those of one library (``uid`` tells it from one that was deleted) under one digest.

    ``library`` and ``encoder`` are the names that people use; ``dim`` is the length of a vector.
    """

    uid: str
    library: str
    encoder: str
    digest: str
    dim: int

    @property
    def collection(self) -> str:
        """The collection that holds them: never another's, however often names are used again."""
        return f"{collections_of(self.uid)}{self.digest.removeprefix('sha256:')[:12]}"

    @property
    def alias(self) -> str:
        """The name under which people and other programs find the present collection; no library has an @."""
        return f"sonoseek-{self.library}@{self.encoder}"


def collections_of(uid: str) -> str:
    """What the names of all collections of a library begin with."""
    return f"sonoseek-{uid}-"


@dataclass(frozen=True, slots=True)
class Points:
    """References as points: ids (UUIDs), unit-length vectors (n, dim), the library's version of their last change."""

    ids: Sequence[str]
    vectors: Vectors
    versions: Sequence[int]
    labels: Sequence[Labels]
    attributes: Sequence[Mapping[str, str]]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class PointChanges:
    """What happened to a library after version ``since`` (0: everything) up to and with ``version``."""

    since: int
    version: int
    points: Points
    removed: Sequence[str]


class Repaired(NamedTuple):
    """How many points a repair put in, brought up to date and took away."""

    missing: int
    stale: int
    surplus: int


class Found(NamedTuple):
    """Reference ids, nearest first, and the distances that Qdrant gave (float32; to be measured again)."""

    ids: list[str]
    distances: list[float]
