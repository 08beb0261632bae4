"""From a frame to the square RGB picture that a foundation model wants, exactly as its authors prepare it."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeVar

import numpy as np
from annotated_types import Gt
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, model_validator

from app.domain import Pixels
from app.encoders.table import ManifestTable

_RESAMPLE = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
Colour = tuple[float, float, float]
Positive = Annotated[float, Gt(0)]
Value = TypeVar("Value", np.uint8, np.float32)


class Transform(ManifestTable):
    """A manifest's ``[preprocess]`` of an RGB encoder.

    ``crop`` scales the short side to ``resize`` and takes the middle ``size`` x ``size``; ``pad`` fits the
    longer side into ``size``, centred on black; ``stretch`` scales both sides. ``mean`` and ``std`` belong
    to values of 0..1 and have a number per channel.
    """

    table = "preprocess"

    size: int = Field(gt=0, le=2048)
    resize: int | None = Field(default=None, gt=0, le=2048)
    fit: Literal["pad", "crop", "stretch"]
    resample: Literal["bicubic", "bilinear"] = "bicubic"
    mean: Colour
    std: tuple[Positive, Positive, Positive]

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.fit == "crop" and self.resize is not None and self.resize < self.size:
            raise ValueError("resize must not be smaller than size")
        return self

    def tensor(self, pixels: Pixels) -> NDArray[np.float32]:
        """A picture (height, width[, 3]) as normalised float32 (3, size, size)."""
        square = self.square(pixels)
        planes = (square,) * 3 if square.ndim == 2 else np.moveaxis(square, 2, 0)
        # A picture has 256 levels only: the same float32 arithmetic, done once for each.
        return np.stack([table[plane] for table, plane in zip(self._levels(), planes, strict=True)])

    def square(self, pixels: Pixels) -> Pixels:
        """A picture (height, width[, 3]) as 8 bit (size, size[, 3])."""
        # A grey picture is scaled once and not three times: the bits are the same.
        height, width = self._scaled_sides(*pixels.shape[:2])
        return self._placed(self._resized(pixels, height, width))

    def _scaled_sides(self, height: int, width: int) -> tuple[int, int]:
        """Height and width before the picture is cropped, or before it gets its frame."""
        if self.fit == "stretch":
            return self.size, self.size
        if self.fit == "pad":
            ratio = max(height, width) / self.size  # divided by, as OpenCLIP does: halves round the same way
            return max(1, round(height / ratio)), max(1, round(width / ratio))
        short, long = sorted((height, width))
        target = self.resize or self.size
        other = int(target * long / short)  # truncated, as torchvision does
        return (other, target) if width <= height else (target, other)

    def _placed(self, pixels: NDArray[Value]) -> NDArray[Value]:
        """The square of a scaled picture: its middle, or all of it centred on black."""
        height, width = pixels.shape[:2]
        if self.fit != "pad":
            top, left = self._middle(height - self.size), self._middle(width - self.size)
            return pixels[top : top + self.size, left : left + self.size]
        square = np.zeros((self.size, self.size, *pixels.shape[2:]), pixels.dtype)
        top, left = (self.size - height) // 2, (self.size - width) // 2
        square[top : top + height, left : left + width] = pixels
        return square

    @staticmethod
    def _middle(room: int) -> int:
        return round(room / 2)  # as torchvision does

    def _resized(self, pixels: Pixels, height: int, width: int) -> Pixels:
        if pixels.shape[:2] == (height, width):
            return pixels
        return np.asarray(Image.fromarray(pixels).resize((width, height), _RESAMPLE[self.resample]))

    def _levels(self) -> NDArray[np.float32]:
        scaled = np.arange(256, dtype=np.float32) / np.float32(255)
        mean, std = (np.array(values, dtype=np.float32)[:, None] for values in (self.mean, self.std))
        levels: NDArray[np.float32] = (scaled - mean) / std
        return levels
