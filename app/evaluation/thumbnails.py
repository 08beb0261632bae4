"""Stored frames as small pictures that stand inside a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

from PIL import Image

from app.domain import Pixels

ReadFrame = Callable[[int], Pixels | None]
"""Row -> its stored frame, None where that is gone or no pictures are wanted."""


def data_uri(pixels: Pixels, side: int, quality: int = 82) -> str:
    """A frame as a JPEG of at most ``side`` x ``side`` pixels, ready for ``src``; it carries no metadata."""
    thumbnail = Image.fromarray(pixels)
    thumbnail.thumbnail((side, side))
    packed = io.BytesIO()
    thumbnail.save(packed, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(packed.getvalue()).decode()
