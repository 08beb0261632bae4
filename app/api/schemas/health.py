"""Health and version."""

from pydantic import BaseModel


class HealthBody(BaseModel):
    """``ok``, or why not yet."""

    status: str


class VersionBody(BaseModel):
    """Which software this is and what it is for."""

    name: str
    version: str
    open: bool
    writes: bool
    purpose: str
