"""From a frame to the square grey picture that a small network wants."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from app.domain import Pixels
from app.encoders.table import ManifestTable


class Preprocess(ManifestTable):
    """A manifest's ``[preprocess]``: side in pixels, how a frame fits into it, mean and deviation of 0..1."""

    table = "preprocess"

    size: int = Field(gt=0, le=2048)
    fit: Literal["pad", "crop", "stretch"]
    mean: float
    std: float = Field(gt=0)

    def tensor(self, pixels: Pixels) -> NDArray[np.float32]:
        """A picture (height, width[, 3]) as normalised float32 (1, size, size)."""
        scaled = self.square(pixels).astype(np.float32) / np.float32(255)
        return ((scaled - np.float32(self.mean)) / np.float32(self.std))[np.newaxis]

    def square(self, pixels: Pixels) -> Pixels:
        """A picture (height, width[, 3]) as 8-bit luma (size, size)."""
        grey = luma(pixels)
        if self.fit == "stretch":
            return np.asarray(_resized(grey, self.size, self.size))
        return self._padded(grey) if self.fit == "pad" else self._cropped(grey)

    def _padded(self, grey: Image.Image) -> Pixels:
        """The whole picture, its longer side fitted, centred on black."""
        scale = self.size / max(grey.size)
        width, height = (max(1, round(side * scale)) for side in grey.size)
        square = np.zeros((self.size, self.size), np.uint8)
        top, left = (self.size - height) // 2, (self.size - width) // 2
        square[top : top + height, left : left + width] = np.asarray(_resized(grey, width, height))
        return square

    def _cropped(self, grey: Image.Image) -> Pixels:
        """The middle of the picture, its shorter side fitted."""
        side = min(grey.size)
        left, top = (grey.width - side) // 2, (grey.height - side) // 2
        return np.asarray(_resized(grey.crop((left, top, left + side, top + side)), self.size, self.size))


def luma(pixels: Pixels) -> Image.Image:
    """A picture as 8-bit luma (ITU-R BT.601)."""
    return Image.fromarray(pixels).convert("L")


def _resized(grey: Image.Image, width: int, height: int) -> Image.Image:
    """Resized with a triangle filter over the whole footprint of each target pixel, so without aliasing."""
    return grey.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)
