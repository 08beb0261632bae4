"""Pictures scaled as fractions and not as bytes, exactly as torchvision scales tensors."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from app.domain import Pixels
from app.encoders.transform import Transform


class FloatTransform(Transform):
    """A ``[preprocess]`` table whose pictures are scaled as values of 0..1, with antialiasing, as SAM 2 does it."""

    resample: Literal["bilinear"]

    def tensor(self, pixels: Pixels) -> NDArray[np.float32]:
        """A picture (height, width[, 3]) as normalised float32 (3, size, size)."""
        height, width = self._scaled_sides(*pixels.shape[:2])
        # A grey picture is scaled once and not three times: the bits are the same.
        planes = pixels[np.newaxis] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
        fractions = np.divide(planes, 255, dtype=np.float32)
        squares = [self._placed(plane) for plane in _scaled(fractions, height, width)]
        mean, std = np.array([self.mean, self.std], dtype=np.float32)
        return np.stack([(squares[channel % len(squares)] - mean[channel]) / std[channel] for channel in range(3)])


def _scaled(planes: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Planes (channels, height, width) with other sides; they must lie one after the other for the same bits."""
    if planes.shape[1:] == (height, width):
        return planes
    tensor = torch.from_numpy(planes)[np.newaxis]
    scaled: NDArray[np.float32] = functional.interpolate(
        tensor, size=(height, width), mode="bilinear", align_corners=False, antialias=True
    )[0].numpy()
    return scaled
