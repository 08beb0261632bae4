"""All routes of the HTTP contract."""

from fastapi import APIRouter

from app.api.routes import compare, frame, health, libraries, references, search
from app.api.schemas import ProblemBody

_PROBLEM = {"model": ProblemBody, "content": {"application/problem+json": {}}, "description": "A problem (RFC 9457)"}

router = APIRouter(responses={"4XX": _PROBLEM, "5XX": _PROBLEM})
for part in (search, frame, compare, references, libraries, health):
    router.include_router(part.router)
