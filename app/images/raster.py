"""PNG, JPEG, WebP, BMP and TIFF into 8-bit pixels: upright, alpha on black, 16 bits divided by 257."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from app.domain import Pixels
from app.errors import TooLarge
from app.images.decoded import Decoded, eight_bits, pick_frame, too_deep, without_false_colour
from app.images.guard import guarded
from app.images.limits import ReadLimits

RASTER_RECIPE = "raster-1"
"""Change it whenever the same file would give other pixels."""

BITS_PER_SAMPLE, PHOTOMETRIC, MIN_IS_WHITE = 258, 262, 0
TOO_DEEP = ("I", "F", "LAB", "HSV")


def decode_raster(data: bytes, kind: str, *, limits: ReadLimits, frame: int | None = None) -> Decoded:
    """Decode a still or a TIFF's page; the size is that after EXIF orientation. BadInput or TooLarge."""
    return guarded(lambda: _decode(data, kind, limits, frame))


def _decode(data: bytes, kind: str, limits: ReadLimits, frame: int | None) -> Decoded:
    """Open, choose the page, check its size, and only then decode it."""
    _refuse_bomb(data, kind, limits)
    with _open(data, kind, limits) as image:
        frames = _count_pages(image, limits) if kind == "tiff" else 1
        chosen = pick_frame(frame, frames)
        if chosen is not None:
            image.seek(chosen - 1)
        limits.check_size(*image.size)
        pixels = without_false_colour(_pixels(image))
    return Decoded(pixels, chosen, frames)


def _refuse_bomb(data: bytes, kind: str, limits: ReadLimits) -> None:
    """Check the size that a PNG's first chunk announces, even where nothing follows it."""
    if kind == "png" and data[12:16] == b"IHDR":
        limits.check_size(int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"))


def _open(data: bytes, kind: str, limits: ReadLimits) -> Image.Image:
    """The picture's header; Pillow's own bound on pixels counts as ours."""
    try:
        return Image.open(BytesIO(data), formats=[kind.upper()])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        pass
    raise TooLarge(
        "too_many_pixels",
        "the header announces more pixels than can be read",
        hint=f"scale the picture down to {limits.max_pixels} pixels or fewer",
    )


def _count_pages(image: Image.Image, limits: ReadLimits) -> int:
    """Number of a TIFF's pages, looking no further than the limit."""
    pages = 0
    try:
        while pages <= limits.max_frames:
            image.seek(pages)
            pages += 1
    except EOFError:
        pass
    limits.check_frames(pages)
    return pages


def _pixels(image: Image.Image) -> Pixels:
    """8-bit grey or RGB of the page an image stands at; BadInput ``unsupported_depth`` beyond 16 bits."""
    upright = _upright(image)
    if upright.mode.startswith("I;16"):
        return _from_sixteen_bits(np.asarray(upright).astype(np.uint16), getattr(image, "tag_v2", {}))
    if upright.mode in TOO_DEEP:
        raise too_deep()
    if upright.has_transparency_data:
        return _on_black(upright)
    wanted = "L" if upright.mode in ("1", "L") else "RGB"
    return np.asarray(upright if upright.mode == wanted else upright.convert(wanted))


def _upright(image: Image.Image) -> Image.Image:
    """The picture turned as its EXIF orientation says; an unreadable EXIF block is no reason to refuse it."""
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _from_sixteen_bits(values: NDArray[np.uint16], tags: Mapping[int, Any]) -> Pixels:
    """A 9- to 16-bit grey picture by the full range of its bits; ``tags`` are a TIFF's."""
    grey = eight_bits(values, tags.get(BITS_PER_SAMPLE, (16,))[0])
    # Pillow turns MinIsWhite round for up to 8 bits only.
    return 255 - grey if tags.get(PHOTOMETRIC) == MIN_IS_WHITE else grey


def _on_black(image: Image.Image) -> Pixels:
    """RGB of a picture with transparency, laid on black."""
    layer = image.convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer))[..., :3]
