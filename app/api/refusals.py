"""Writing calls that are refused before their route has begun leave a line in the access log too."""

from collections.abc import Mapping
from uuid import UUID

from fastapi import Request

from app.errors import SonoSeekError
from app.logs import get_logger
from app.search.recorder import Actor, Recorder

log = get_logger("api")

ACTIONS = {
    "add_reference": "reference.add",
    "add_references": "reference.add",
    "relabel_reference": "reference.update",
    "delete_reference": "reference.delete",
    "put_library": "library.put",
    "delete_library": "library.delete",
    "erase_patient": "patient.erase",
}
"""Name of a writing route -> what it does."""


def record_refusal(request: Request, code: str) -> None:
    """Write the line of a refused writing call, with the code of the refusal; other calls leave none."""
    action = ACTIONS.get(getattr(request.scope.get("endpoint"), "__name__", ""))
    if action is None:
        return
    recorder: Recorder = request.app.state.opening.recorder
    path = request.path_params
    try:
        recorder.refused(Actor(request.state.actor), action, path.get("name"), _reference_id(path), code)
    except SonoSeekError as error:  # the caller is told why he was refused all the same
        log.warning("refusal_not_written", code=error.code)


def _reference_id(path: Mapping[str, str]) -> str | None:
    """The reference that an address names; what is no id might be an identity."""
    try:
        return str(UUID(path["reference_id"]))
    except (KeyError, ValueError):
        return None
