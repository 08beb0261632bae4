"""A perceptual hash of a frame, to recognise near-duplicates where there is no patient id."""

import imagehash
from PIL import Image

from app.domain import Pixels


def fingerprint(pixels: Pixels) -> str:
    """The 64-bit DCT hash (pHash) of a frame as 16 hex digits; near-duplicates differ in few bits."""
    return str(imagehash.phash(Image.fromarray(pixels)))
