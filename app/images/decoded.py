"""A picture as a decoder hands it on: 8-bit pixels, which frame they are, and what is kept of a header."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain import Pixels
from app.errors import BadInput
from app.images.deidentify import KeptHeader

SPARSE = 8


@dataclass(frozen=True, slots=True)
class Decoded:
    """Pixels (height, width) or (height, width, 3); ``frame`` counts from 1 and is None for stills."""

    pixels: Pixels
    frame: int | None = None
    frames: int = 1
    header: KeptHeader | None = None


def pick_frame(wanted: int | None, frames: int) -> int | None:
    """The frame to decode, counted from 1 (default the middle one), None for a still; BadInput ``bad_frame``."""
    if wanted is not None and not 1 <= wanted <= frames:
        raise BadInput(
            "bad_frame",
            f"the image has {frames} frame{'s' if frames > 1 else ''}, and there is none of that number",
            hint="frame counts from 1; leave it out for the middle one",
        )
    if frames == 1:
        return None
    return wanted if wanted is not None else (frames + 1) // 2


def eight_bits(values: NDArray[np.unsignedinteger], bits: int) -> Pixels:
    """Unsigned values of 1 to 16 bits on 0..255 by their full range (16 bits: divided by 257), rounded."""
    if bits == 8 and values.dtype == np.uint8:
        return values.view(np.uint8)
    top = 2**bits - 1
    table = np.rint(np.arange(top + 1) * (255 / top)).astype(np.uint8)
    scaled: Pixels = np.take(table, values, mode="clip")
    return scaled


def too_deep() -> BadInput:
    """The refusal of pixels that 8 bits cannot stand for."""
    return BadInput(
        "unsupported_depth",
        "the pixels are 12-bit JPEG, 32-bit, floating point or in a colour space that is not read here",
        hint="export the picture as 8- or 16-bit grey or RGB",
    )


def without_false_colour(pixels: Pixels) -> Pixels:
    """An RGB picture whose three channels are equal as a grey one; anything else as it is."""
    # A sparse look first: it settles coloured pictures at once.
    if pixels.ndim == 2 or not _is_grey(pixels[::SPARSE, ::SPARSE]) or not _is_grey(pixels):
        return pixels
    return np.ascontiguousarray(pixels[..., 0])


def is_blank(pixels: Pixels) -> bool:
    """Whether all pixels are the same."""
    first = pixels[0, 0]
    return not (pixels[::SPARSE, ::SPARSE] != first).any() and not (pixels != first).any()


def _is_grey(pixels: Pixels) -> bool:
    """Whether the three channels are equal."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    return np.array_equal(red, green) and np.array_equal(red, blue)
