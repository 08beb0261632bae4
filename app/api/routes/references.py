"""References: what is stored of an enrolled image, its picture and its neighbours."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path
from fastapi.responses import Response

from app.api.dependencies import ActorDep, JsonDep, RequestId, ServiceDep, WishDep
from app.api.schemas.inputs import LabelsInput, json_body
from app.api.schemas.references import ReferenceBody, SettledBody
from app.api.schemas.search import SearchBody

router = APIRouter(prefix="/references", tags=["references"])

ReferenceId = Annotated[UUID, Path(description="The id of a reference, as a search gives it.")]


@router.get("/{reference_id}")
def get_reference(service: ServiceDep, reference_id: ReferenceId) -> ReferenceBody:
    """A reference with its labels and their history.

    `curl http://127.0.0.1:8000/references/REFERENCE_ID`
    """
    key = str(reference_id)
    return ReferenceBody.of(service.catalogue.get(key), service.catalogue.history(key))


@router.patch("/{reference_id}", openapi_extra=json_body(LabelsInput, {"organ": "femur", "findings": []}))
def relabel_reference(service: ServiceDep, actor: ActorDep, reference_id: ReferenceId, body: JsonDep) -> SettledBody:
    """Replace the label kinds that are named, and the attributes where they are; the history keeps what was.

    `curl -X PATCH -H 'Content-Type: application/json' -d '{"organ": "femur"}'
    http://127.0.0.1:8000/references/REFERENCE_ID`
    """
    key = str(reference_id)
    outcome = service.editor.relabel(key, LabelsInput.parse(body).edit(), by=actor)
    return SettledBody.of_outcome(outcome, service.catalogue.get(key), service.catalogue.history(key))


@router.delete("/{reference_id}", status_code=204)
def delete_reference(service: ServiceDep, actor: ActorDep, reference_id: ReferenceId) -> None:
    """Delete a reference; no search finds it any more.

    `curl -X DELETE http://127.0.0.1:8000/references/REFERENCE_ID`
    """
    service.editor.remove(str(reference_id), by=actor)


@router.get("/{reference_id}/image", response_class=Response, responses={200: {"content": {"image/png": {}}}})
def get_reference_image(service: ServiceDep, reference_id: ReferenceId) -> Response:
    """The stored frame of a reference: cropped, blanked, PNG.

    `curl -o reference.png http://127.0.0.1:8000/references/REFERENCE_ID/image`
    """
    reference = service.catalogue.get(str(reference_id))
    return Response(service.catalogue.frame(reference.id), media_type="image/png")


@router.get("/{reference_id}/neighbours")
def get_reference_neighbours(
    service: ServiceDep, reference_id: ReferenceId, wish: WishDep, request_id: RequestId
) -> SearchBody:
    """The references that look most like a reference, its own patient left out.

    `curl http://127.0.0.1:8000/references/REFERENCE_ID/neighbours?k=5`
    """
    return SearchBody.of(service.finder.find_like(str(reference_id), wish), request_id)
