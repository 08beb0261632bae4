"""All routes of the HTTP contract."""

from fastapi import APIRouter, Depends, Security
from fastapi.security import HTTPBearer

from app.api.dependencies import refuse_unknown_parameters
from app.api.routes import compare, enrolment, frame, health, libraries, patients, references, search
from app.api.schemas.base import ProblemBody

_PROBLEM = {"model": ProblemBody, "content": {"application/problem+json": {}}, "description": "A problem (RFC 9457)"}

# The gate checks the key; this only tells the document, so that /docs can send one.
_KEY = HTTPBearer(auto_error=False, description="The key, where the service asks for one.")

router = APIRouter(responses={"4XX": _PROBLEM, "5XX": _PROBLEM})
for part in (search, frame, compare, enrolment, references, libraries, patients):
    router.include_router(part.router, dependencies=[Security(_KEY), Depends(refuse_unknown_parameters)])
router.include_router(health.router)
