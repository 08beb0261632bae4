"""POST /search."""

from fastapi import APIRouter

from app.api.bodies import image_body
from app.api.dependencies import ImageQueryDep, RequestId, ServiceDep, WishDep
from app.api.schemas import SearchBody

router = APIRouter(tags=["search"])


@router.post("/search", openapi_extra=image_body(patient=True))
def search(service: ServiceDep, wish: WishDep, query: ImageQueryDep, request_id: RequestId) -> SearchBody:
    """The labelled references that look most like an image.

    `curl -F image=@scan.png 'http://127.0.0.1:8000/search?k=10'`
    """
    return SearchBody.of(service.finder.find(query, wish), request_id)
