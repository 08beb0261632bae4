"""From a frame to the square RGB picture that a foundation model wants, exactly as its authors prepare it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import numpy as np
from annotated_types import Gt
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.domain import Pixels
from app.errors import Misconfigured

_RESAMPLE = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
Colour = tuple[float, float, float]
Positive = Annotated[float, Gt(0)]


class Transform(BaseModel):
    """A manifest's ``[preprocess]`` of an RGB encoder.

    ``crop`` scales the short side to ``resize`` and takes the middle ``size`` x ``size``; ``pad`` fits the
    longer side into ``size``, centred on black; ``stretch`` scales both sides. ``mean`` and ``std`` belong
    to values of 0..1 and have a number per channel.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

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

    @classmethod
    def parse(cls, table: Mapping[str, object]) -> Self:
        """The checked table of a manifest; raises Misconfigured ``bad_preprocess``."""
        try:
            return cls.model_validate(dict(table))
        except ValidationError as error:
            raise Misconfigured(
                "bad_preprocess",
                "the [preprocess] table of a manifest cannot be used",
                hint=f"check these keys: {', '.join(str(part) for f in error.errors() for part in f['loc'][:1])}",
            ) from error

    def tensor(self, pixels: Pixels) -> NDArray[np.float32]:
        """A picture (height, width[, 3]) as normalised float32 (3, size, size)."""
        square = self.square(pixels)
        planes = (square,) * 3 if square.ndim == 2 else np.moveaxis(square, 2, 0)
        # A picture has 256 levels only: the same float32 arithmetic, done once for each.
        return np.stack([table[plane] for table, plane in zip(self._levels(), planes, strict=True)])

    def square(self, pixels: Pixels) -> Pixels:
        """A picture (height, width[, 3]) as 8 bit (size, size[, 3])."""
        # A grey picture is scaled once and not three times: the bits are the same.
        picture = Image.fromarray(pixels)
        if self.fit == "stretch":
            return np.asarray(self._resized(picture, self.size, self.size))
        return self._padded(picture) if self.fit == "pad" else self._cropped(picture)

    def _cropped(self, picture: Image.Image) -> Pixels:
        short, long = sorted(picture.size)
        target = self.resize or self.size
        other = int(target * long / short)  # truncated, as torchvision does
        width, height = (target, other) if picture.width <= picture.height else (other, target)
        pixels = np.asarray(self._resized(picture, width, height))
        top, left = round((height - self.size) / 2), round((width - self.size) / 2)
        return pixels[top : top + self.size, left : left + self.size]

    def _padded(self, picture: Image.Image) -> Pixels:
        scale = self.size / max(picture.size)
        width, height = (max(1, round(side * scale)) for side in picture.size)
        pixels = np.asarray(self._resized(picture, width, height))
        square = np.zeros((self.size, self.size, *pixels.shape[2:]), np.uint8)
        top, left = (self.size - height) // 2, (self.size - width) // 2
        square[top : top + height, left : left + width] = pixels
        return square

    def _resized(self, picture: Image.Image, width: int, height: int) -> Image.Image:
        if picture.size == (width, height):
            return picture
        return picture.resize((width, height), _RESAMPLE[self.resample])

    def _levels(self) -> NDArray[np.float32]:
        scaled = np.arange(256, dtype=np.float32) / np.float32(255)
        mean, std = (np.array(values, dtype=np.float32)[:, None] for values in (self.mean, self.std))
        levels: NDArray[np.float32] = (scaled - mean) / std
        return levels
