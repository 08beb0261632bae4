"""POST /compare and POST /embed: images that need not be in a library."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.bodies import image_body, two_images_body
from app.api.dependencies import ImageDep, RequestId, ServiceDep, UploadDep
from app.api.schemas.comparison import CompareBody, EmbedBody
from app.domain import Box
from app.search.answer import ImageQuery

Region = Annotated[str | None, Query(description="x0,y0,x1,y1 of that image's scan region, half open.")]

router = APIRouter(tags=["compare"])

EncoderName = Annotated[str | None, Query(description="A loaded encoder; the default without it.")]


@router.post("/compare", openapi_extra=two_images_body())
def compare(
    service: ServiceDep,
    upload: UploadDep,
    request_id: RequestId,
    encoder: EncoderName = None,
    region_a: Region = None,
    region_b: Region = None,
) -> CompareBody:
    """How much two images look alike: embedding distance and all scores.

    `curl -F a=@scan.png -F b=@scan.dcm http://127.0.0.1:8000/compare`
    """
    a = ImageQuery(upload.file("a"), region=Box.parse(region_a) if region_a else None)
    b = ImageQuery(upload.file("b"), region=Box.parse(region_b) if region_b else None)
    upload.expect(files=("a", "b"))
    return CompareBody.of(service.comparer.compare(a, b, encoder), request_id)


@router.post("/embed", openapi_extra=image_body())
def embed(service: ServiceDep, query: ImageDep, request_id: RequestId, encoder: EncoderName = None) -> EmbedBody:
    """The vector of one image and the digest of the encoder that made it.

    `curl -F image=@scan.png http://127.0.0.1:8000/embed`
    """
    return EmbedBody.of(service.comparer.embed(query, encoder), request_id)
