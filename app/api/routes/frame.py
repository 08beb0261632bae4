"""POST /frame: the picture that a search works on, as the service sees it."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from app.api.bodies import image_body
from app.api.dependencies import ImageDep, ServiceDep
from app.domain import ImageFacts
from app.images.reader import write_stored

_HEADERS: dict[str, str] = {
    "X-Format": "What the bytes are.",
    "X-Width": "Columns of the picture before it was cropped.",
    "X-Height": "Rows of the picture before it was cropped.",
    "X-Frames": "Number of frames, 1 for a still.",
    "X-Frame": "Which frame this is, from 1; absent for a still.",
    "X-Region": "x0,y0,x1,y1 in pixels of the picture, half open; absent where no region was found.",
    "X-Region-Source": "dicom, detected, given, full_frame or none.",
}
_PNG: dict[str, Any] = {
    "description": "PNG, cropped to the scan region and blanked outside of it",
    "content": {"image/png": {}},
    "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()},
}

router = APIRouter(tags=["search"])


@router.post("/frame", openapi_extra=image_body(), response_class=Response, responses={200: _PNG})
def show_frame(service: ServiceDep, query: ImageDep) -> Response:
    """The frame that a search would embed: cropped, blanked, without its header. Nothing is stored.

    `curl -o frame.png -F image=@scan.dcm http://127.0.0.1:8000/frame`
    """
    frame = service.finder.read(query)
    return Response(write_stored(frame.pixels), media_type="image/png", headers=_described(frame.facts))


def _described(facts: ImageFacts) -> dict[str, str]:
    """The facts of a frame as headers, those that are unknown left out."""
    values = {
        "X-Format": facts.format,
        "X-Width": facts.width,
        "X-Height": facts.height,
        "X-Frames": facts.frames,
        "X-Frame": facts.frame,
        "X-Region": ",".join(map(str, facts.region)) if facts.region else None,
        "X-Region-Source": facts.region_source.value,
    }
    return {name: str(value) for name, value in values.items() if value is not None}
