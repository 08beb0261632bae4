"""Libraries and loaded encoders."""

from collections.abc import Container

from pydantic import BaseModel

from app.api.schemas.base import Body, EncoderBody
from app.library.reference import Holdings
from app.search.answer import EncoderInfo
from app.search.evidence import LOW_SUPPORT
from app.search.overview import Overview


class LibraryBody(Body):
    """A library at one version."""

    name: str
    version: int
    size: int


class LibraryEncoderBody(BaseModel):
    """An encoder that has vectors in a library; ``served`` where they can be searched, as none of a former one can."""

    name: str
    digest: str
    vectors: int
    served: bool


class LibraryListBody(LibraryBody):
    """A library and the encoders that have vectors in it."""

    encoders: list[LibraryEncoderBody]


class TaxonomyBody(Body):
    """Which group an organ or a diagnosis belongs to."""

    organs: dict[str, str]
    diagnoses: dict[str, str]


class LabelCountBody(BaseModel):
    """How many references carry a label; ``low_support`` where they are fewer than 20."""

    label: str
    count: int
    low_support: bool


class DuplicateGroupBody(Body):
    """References whose pictures are nearly the same: how many, and the ids of the first 20."""

    size: int
    reference_ids: list[str]


class DuplicatesBody(Body):
    """Groups of near-duplicates, references in them, and the 100 largest groups."""

    groups: int
    references: int
    largest: list[DuplicateGroupBody]


class OverviewBody(LibraryListBody):
    """What a library holds; ``duplicates`` is null where it is too large to look for them while you wait."""

    taxonomy: TaxonomyBody
    labels: dict[str, list[LabelCountBody]]
    unlabelled: int
    duplicates: DuplicatesBody | None

    @classmethod
    def of(cls, overview: Overview, served: Container[str]) -> "OverviewBody":
        """From an overview, and the digests of the encoders that are served."""
        body = library_list_body(overview.holdings, served)
        return cls(
            **body.model_dump(),
            taxonomy=TaxonomyBody.model_validate(overview.taxonomy),
            labels={
                kind: [
                    LabelCountBody(label=label, count=count, low_support=count < LOW_SUPPORT)
                    for label, count in counts.items()
                ]
                for kind, counts in overview.labels.items()
            },
            unlabelled=overview.unlabelled,
            duplicates=DuplicatesBody.model_validate(overview.duplicates) if overview.duplicates else None,
        )


class DeletedLibraryBody(BaseModel):
    """A library that is gone, how many references went with it, and sentences on what remains elsewhere."""

    name: str
    references: int
    remains: list[str]


class LoadedEncoderBody(EncoderBody):
    """A loaded encoder, and whether it is used where none is named."""

    default: bool


def library_list_body(holdings: Holdings, served: Container[str]) -> LibraryListBody:
    """What a library holds, and the digests of the encoders that are served."""
    return LibraryListBody(
        name=holdings.info.name,
        version=holdings.info.version,
        size=holdings.info.size,
        encoders=[
            LibraryEncoderBody(name=name, digest=digest, vectors=count, served=digest in served)
            for digest, (name, count) in holdings.encoders.items()
        ],
    )


def encoder_body(info: EncoderInfo, *, default: bool) -> LoadedEncoderBody:
    """A loaded encoder."""
    return LoadedEncoderBody(
        name=info.name, digest=info.digest, dim=info.dim, precision=info.precision, default=default
    )
