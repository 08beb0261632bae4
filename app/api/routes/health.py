"""Health and version: what an orchestrator and a curious person ask, without a key."""

from fastapi import APIRouter

from app.api.dependencies import ServiceDep, SettingsDep
from app.api.schemas.health import HealthBody, VersionBody
from app.version import PURPOSE, VERSION

router = APIRouter(tags=["health"])


@router.get("/health/live")
async def live() -> HealthBody:
    """The process answers.

    `curl http://127.0.0.1:8000/health/live`
    """
    return HealthBody(status="ok")


@router.get("/health/ready")
async def ready(_service: ServiceDep) -> HealthBody:
    """Searches are answered; 503 while encoders and indexes are loaded.

    `curl http://127.0.0.1:8000/health/ready`
    """
    return HealthBody(status="ok")


@router.get("/version")
async def version(settings: SettingsDep) -> VersionBody:
    """Which software this is and what it is for.

    `curl http://127.0.0.1:8000/version`
    """
    return VersionBody(
        name="sonoseek",
        version=VERSION,
        open=settings.security.open,
        writes=settings.server.writes,
        purpose=PURPOSE,
    )
