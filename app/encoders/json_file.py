"""Reading a JSON file that describes a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from app.errors import BadInput


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object; raises BadInput ``bad_config``."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BadInput("bad_config", f"{path.name} is no JSON", hint="fetch the file again") from error
    if not isinstance(content, dict):
        raise BadInput("bad_config", f"{path.name} holds no JSON object", hint="fetch the file again")
    return content
