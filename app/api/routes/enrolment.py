"""POST /libraries/{name}/references: images with their labels, one or many."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.bodies import batch_body, reference_body
from app.api.dependencies import ActorDep, LabelledImageDep, LabelledImagesDep, LibraryName, RequestId, ServiceDep
from app.api.schemas.inputs import MOST_ROWS, EnrolmentInput, parse_json, parse_rows
from app.api.schemas.references import BatchBody, SettledBody
from app.errors import BadInput
from app.search.candidate import Candidate, MalformedImage, OfferedImage
from app.search.settler import OnConflict
from app.wiring import Service

router = APIRouter(prefix="/libraries/{name:path}/references", tags=["references"])

_DESCRIPTION = {**EnrolmentInput.model_json_schema(), "example": {"organ": "femur", "external_id": "case-17.3"}}

Conflicts = Annotated[
    OnConflict,
    Query(description="Of an image that is there with other labels: error (409), update, or skip to keep what is."),
]
Unmasked = Annotated[bool, Query(description="Store a picture without a known scan region too: it must carry no name.")]


@router.post(
    "",
    status_code=201,
    openapi_extra=reference_body(_DESCRIPTION),
    responses={200: {"model": SettledBody, "description": "The image was there: unchanged, updated or skipped."}},
)
def add_reference(
    service: ServiceDep,
    actor: ActorDep,
    name: LibraryName,
    upload: LabelledImageDep,
    response: Response,
    on_conflict: Conflicts = "error",
    allow_unmasked: Unmasked = False,
) -> SettledBody:
    """Add an image with its labels; the next search finds it. The same call again changes nothing.

    `curl -F image=@scan.png -F 'labels={"organ": "femur"}' http://127.0.0.1:8000/libraries/demo/references`
    """
    upload.expect(files=("image", "labels"), fields=("labels",))
    image, labels = upload.file("image"), upload.json("labels")
    candidate = _candidate(service, image, labels, allow_unmasked=allow_unmasked)
    (outcome,) = service.settler.settle(name, [candidate], by=actor, on_conflict=on_conflict)
    if outcome.error is not None:
        raise outcome.error
    key = str(outcome.reference_id)
    if outcome.became != "added":
        response.status_code = 200
    response.headers["Location"] = f"/references/{key}"
    return SettledBody.of_outcome(outcome, service.catalogue.get(key), service.catalogue.history(key))


@router.post("/batch", openapi_extra=batch_body(_DESCRIPTION, MOST_ROWS))
def add_references(
    service: ServiceDep,
    actor: ActorDep,
    name: LibraryName,
    upload: LabelledImagesDep,
    request_id: RequestId,
    on_conflict: Conflicts = "error",
    allow_unmasked: Unmasked = False,
) -> BatchBody:
    """Add up to 256 images; the good ones are stored whatever the others are, and each row says what became of it.

    `curl -F images=@a.png -F images=@b.png -F 'references=[{"organ": "femur"}, {"organ": "spine"}]'
    http://127.0.0.1:8000/libraries/demo/references/batch`
    """
    upload.expect(files=("references",), fields=("references",))
    rows = parse_rows(upload.json("references"))
    if len(rows) != len(upload.repeated):
        raise BadInput(
            "batch_mismatch",
            f"parts named images: {len(upload.repeated)}; descriptions in references: {len(rows)}",
            hint="send one description for each image, in the same order",
        )
    pairs = zip(upload.repeated, rows, strict=True)
    candidates = (_candidate(service, image, row, allow_unmasked=allow_unmasked) for image, row in pairs)
    outcomes = service.settler.settle(name, candidates, by=actor, on_conflict=on_conflict)
    return BatchBody.of(outcomes, service.catalogue.library(name), request_id)


def _candidate(service: Service, image: bytes, said: object, *, allow_unmasked: bool) -> Candidate:
    """An image and its description, JSON or parsed; one that is malformed is settled as such."""
    try:
        description = EnrolmentInput.of(parse_json(said) if isinstance(said, bytes) else said)
    except BadInput as error:
        return MalformedImage(error)
    return OfferedImage(service.enroller, description.enrolment(), lambda: image, allow_unmasked=allow_unmasked)
