"""Libraries, what they hold, and the loaded encoders."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from app.api.dependencies import ActorDep, JsonDep, LibraryName, ServiceDep
from app.api.schemas.inputs import TaxonomyInput, json_body
from app.api.schemas.libraries import (
    DeletedLibraryBody,
    LibraryListBody,
    LoadedEncoderBody,
    OverviewBody,
    encoder_body,
    library_list_body,
)
from app.api.schemas.references import PageBody
from app.search.answer import parse_condition
from app.search.finder import describe

router = APIRouter(tags=["libraries"])

_EXAMPLE = {"organs": {"femur": "fetal limb"}, "diagnoses": {"short femur": "skeletal"}}


@router.get("/libraries")
def list_libraries(service: ServiceDep) -> list[LibraryListBody]:
    """All libraries with their versions, sizes and the encoders that have vectors in them, also former ones.

    `curl http://127.0.0.1:8000/libraries`
    """
    return [library_list_body(held, service.batcher.digests) for held in service.catalogue.libraries()]


# Before the path of a library, which would take this one for a name.
@router.get("/libraries/{name:path}/references")
def list_references(
    service: ServiceDep,
    name: LibraryName,
    where: Annotated[
        list[str] | None,
        Query(description="KIND:VALUE, a label kind or an attribute; repeated: same kind or, other kinds and."),
    ] = None,
    external_id: Annotated[str | None, Query(description="Your own name of a reference.")] = None,
    after: Annotated[UUID | None, Query(description="The `next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="References of one page.")] = 100,
) -> PageBody:
    """The references of a library, a page at a time, in order of id.

    `curl 'http://127.0.0.1:8000/libraries/demo/references?where=organ:femur&limit=10'`
    """
    found = service.catalogue.listing.page(
        name,
        where=[parse_condition(text) for text in where or ()],
        external_id=external_id,
        after=str(after) if after else None,
        limit=limit + 1,
    )
    return PageBody.of(service.catalogue.library(name), found, limit)


@router.get("/libraries/{name:path}")
def get_library(service: ServiceDep, name: LibraryName) -> OverviewBody:
    """One library: how often each label, which have few references, what has no label, what looks the same.

    `curl http://127.0.0.1:8000/libraries/demo`
    """
    return OverviewBody.of(service.overviews.of(name), service.batcher.digests)


@router.put(
    "/libraries/{name:path}",
    openapi_extra=json_body(TaxonomyInput, _EXAMPLE),
    responses={201: {"model": LibraryListBody, "description": "The library is new."}},
)
def put_library(
    service: ServiceDep, actor: ActorDep, name: LibraryName, body: JsonDep, response: Response
) -> LibraryListBody:
    """Create a library (201), or replace the taxonomy of one that is there (200): groups of its references follow.

    `curl -X PUT -H 'Content-Type: application/json' -d '{"organs": {"femur": "fetal limb"}}'
    http://127.0.0.1:8000/libraries/fetal`
    """
    taxonomy = TaxonomyInput.parse(body).taxonomy()
    if service.editor.put_library(name, taxonomy, by=actor):
        response.status_code = 201
    return library_list_body(service.catalogue.holdings(name), service.batcher.digests)


@router.delete("/libraries/{name:path}")
def delete_library(
    service: ServiceDep,
    actor: ActorDep,
    name: LibraryName,
    confirm: Annotated[str | None, Query(description="The name of the library once more.")] = None,
) -> DeletedLibraryBody:
    """Delete a library with all its references. There is no way back but a backup.

    `curl -X DELETE 'http://127.0.0.1:8000/libraries/fetal?confirm=fetal'`
    """
    deleted = service.editor.delete_library(name, confirm=confirm, by=actor)
    return DeletedLibraryBody(name=name, references=deleted.references, remains=list(deleted.remains))


@router.get("/encoders")
def list_encoders(service: ServiceDep) -> list[LoadedEncoderBody]:
    """The loaded encoders; the first is used where none is named.

    `curl http://127.0.0.1:8000/encoders`
    """
    default = service.batcher.default
    return [
        encoder_body(describe(encoder), default=encoder is default) for encoder in service.batcher.encoders.values()
    ]
