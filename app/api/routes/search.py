"""POST /search."""

from fastapi import APIRouter
from fastapi.responses import Response

from app.api.bodies import image_body
from app.api.dependencies import ImageQueryDep, RequestId, ServiceDep, WishDep
from app.api.schemas.search import SearchBody

router = APIRouter(tags=["search"])


@router.post("/search", openapi_extra=image_body(patient=True), response_model=SearchBody)
def search(service: ServiceDep, wish: WishDep, query: ImageQueryDep, request_id: RequestId) -> Response:
    """The labelled references that look most like an image.

    `curl -F image=@scan.png 'http://127.0.0.1:8000/search?k=10'`
    """
    body = SearchBody.of(service.finder.find(query, wish), request_id)
    # Written here, in the thread: FastAPI would check and write the same model once more in the event loop.
    return Response(body.model_dump_json(), media_type="application/json")
