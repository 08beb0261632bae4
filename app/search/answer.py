"""What a search is asked and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.domain import MAX_K, Box, ImageFacts
from app.errors import BadInput
from app.library.adoption import TARGETS, Adoption
from app.library.reference import LibraryInfo
from app.search.evidence import LabelEvidence
from app.search.scope import Scope
from app.search.snapshot import Condition, ShelvedReference

_PATIENT_NAMES = {"patientid", "excludepatientid"}


@dataclass(frozen=True, slots=True)
class Wish:
    """What the caller wants to see; raises BadInput for a value out of range.

    ``target`` is a label kind whose adopted encoder shall search, in the place of a named ``encoder``.
    """

    library: str | None = None
    encoder: str | None = None
    target: str | None = None
    k: int = 10
    where: tuple[Condition, ...] = ()
    scores: tuple[str, ...] | None = None
    max_per_patient: int | None = None
    include_self: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.k <= MAX_K:
            raise BadInput("bad_k", f"k must be between 1 and {MAX_K}", hint="ask for k=10")
        if self.max_per_patient is not None and self.max_per_patient < 1:
            raise BadInput(
                "bad_max_per_patient",
                "max_per_patient must be 1 or more",
                hint="leave it out to see every reference of a patient",
            )
        if self.target is not None and self.target not in TARGETS:
            raise BadInput("bad_target", "there is no target of that name", hint=f"targets are: {', '.join(TARGETS)}")
        if self.target is not None and self.encoder is not None:
            raise BadInput(
                "target_and_encoder",
                "a target says which encoder searches, and an encoder was named as well",
                hint="leave one of them out",
            )


@dataclass(frozen=True, slots=True)
class ImageQuery:
    """An image that is searched for. ``patient_id`` is hashed at once and never kept."""

    data: bytes = field(repr=False)
    frame: int | None = None
    region: Box | None = None
    patient_id: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A reference with its rank (from 1), Euclidean distance (0..2) and scores."""

    rank: int
    reference: ShelvedReference
    distance: float
    scores: Mapping[str, Any]

    @property
    def similarity(self) -> float:
        """The cosine of both embeddings, 1 - d²/2."""
        return 1.0 - self.distance**2 / 2.0


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """The encoder that made the embeddings."""

    name: str
    digest: str
    dim: int
    precision: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything that a search says. ``unavailable`` tells why a score is null.

    ``adoption`` is what the wish's target chose the encoder by.
    """

    facts: ImageFacts
    reference_id: str | None
    patient_excluded: bool
    library: LibraryInfo
    encoder: EncoderInfo
    adoption: Adoption | None
    engine: str
    exact: bool
    neighbours: list[Neighbour]
    evidence: list[LabelEvidence]
    scope: Scope
    unavailable: Mapping[str, str]
    timings_ms: Mapping[str, float]


def parse_condition(text: str) -> Condition:
    """Read KIND:VALUE, split at the first colon; raises BadInput ``bad_filter`` or ``patient_in_filter``."""
    kind, colon, value = text.partition(":")
    if not colon or not kind or not value:
        raise BadInput(
            "bad_filter", "a filter is not of the form KIND:VALUE", hint="write where=organ:femur, for example"
        )
    if "".join(letter for letter in kind.lower() if letter.isalnum()) in _PATIENT_NAMES:
        raise BadInput(
            "patient_in_filter",
            "a patient id is no filter: addresses are logged, and a library holds no ids of patients",
            hint="to leave a patient out of a search, send the form field exclude_patient_id or the header "
            "X-Exclude-Patient-ID",
        )
    return kind, value


def parse_names(text: str | None) -> tuple[str, ...] | None:
    """Names between commas; None, which means all, stays None."""
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())
