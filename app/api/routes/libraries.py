"""Libraries and loaded encoders."""

from fastapi import APIRouter

from app.api.dependencies import ServiceDep
from app.api.schemas import LibraryListBody, LoadedEncoderBody, encoder_body, library_list_body
from app.search.finder import describe

router = APIRouter(tags=["libraries"])


@router.get("/libraries")
def list_libraries(service: ServiceDep) -> list[LibraryListBody]:
    """All libraries with their versions, sizes and the encoders that have vectors in them.

    `curl http://127.0.0.1:8000/libraries`
    """
    catalogue = service.catalogue
    return [library_list_body(info, catalogue.encoders(info.name)) for info in catalogue.libraries()]


@router.get("/libraries/{name}")
def get_library(service: ServiceDep, name: str) -> LibraryListBody:
    """One library.

    `curl http://127.0.0.1:8000/libraries/demo`
    """
    return library_list_body(service.catalogue.library(name), service.catalogue.encoders(name))


@router.get("/encoders")
def list_encoders(service: ServiceDep) -> list[LoadedEncoderBody]:
    """The loaded encoders; the first is used where none is named.

    `curl http://127.0.0.1:8000/encoders`
    """
    default = service.batcher.default
    return [
        encoder_body(describe(encoder), default=encoder is default) for encoder in service.batcher.encoders.values()
    ]
