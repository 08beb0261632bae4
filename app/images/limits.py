"""What one image may cost: bytes, pixels and frames, checked before anything is decoded."""

from __future__ import annotations

import os
from dataclasses import dataclass

from app.errors import BadInput, TooLarge

LEAST_SIDE = 16
"""Pixels that a picture, a frame or a given region has at least on each side."""

LONGEST_SIDE, MOST_ASPECT = 32_768, 32
"""Beyond these no picture is ultrasound, and looking for a scan in it would cost far more than its pixels."""

DECODERS = min(4, os.cpu_count() or 1)
"""Images decoded at once: more than there are cores gains nothing, and each may take 12 bytes a pixel."""


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """Upper bounds of one image: bytes of the (inflated) file, pixels of one frame, frames."""

    max_bytes: int = 64 * 2**20
    max_pixels: int = 64_000_000
    max_frames: int = 2000

    def check_bytes(self, count: int) -> None:
        """Raise TooLarge ``image_too_large`` when a file has more bytes."""
        if count > self.max_bytes:
            raise TooLarge(
                "image_too_large",
                f"the image has more than {self.max_bytes} bytes",
                hint="send one frame, a smaller export, or ask the operator to raise the limit on bytes",
            )

    def check_size(self, width: int, height: int) -> None:
        """Raise TooLarge ``too_many_pixels``, BadInput ``image_too_small`` or ``image_too_long`` from a header."""
        if width * height > self.max_pixels:
            raise TooLarge(
                "too_many_pixels",
                f"the header announces more than {self.max_pixels} pixels",
                hint="scale the picture down, or ask the operator to raise the limit on pixels",
            )
        if min(width, height) < LEAST_SIDE:
            raise BadInput(
                "image_too_small",
                f"the picture has fewer than {LEAST_SIDE} pixels on a side",
                hint="send the picture as it was acquired, not a thumbnail",
            )
        if max(width, height) > min(LONGEST_SIDE, MOST_ASPECT * min(width, height)):
            raise BadInput(
                "image_too_long",
                f"a side has more than {LONGEST_SIDE} pixels, or more than {MOST_ASPECT} times those of the other",
                hint="send the picture as it was acquired: no ultrasound picture is that long and thin",
            )

    def check_frames(self, count: int) -> None:
        """Raise TooLarge ``too_many_frames`` when a cine or a multi-page file has more frames."""
        if count > self.max_frames:
            raise TooLarge(
                "too_many_frames",
                f"the header announces more than {self.max_frames} frames",
                hint="send a shorter clip, or ask the operator to raise the limit on frames",
            )
