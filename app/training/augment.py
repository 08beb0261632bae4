"""Strong augmentation of a batch of ultrasound squares, in torch, from one generator."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F  # noqa: N812


@dataclass(frozen=True, slots=True)
class Augment:
    """Batches (n, 1, side, side) of 0..1 to differently cropped, lit and disturbed (n, 1, size, size)."""

    size: int
    area: tuple[float, float] = (0.7, 1.1)
    aspect: float = 1.2
    degrees: float = 15.0

    def __call__(self, squares: Tensor, generator: Generator) -> Tensor:
        """Every picture of the batch changed independently of the others."""
        # A few at a time stay in the processor's cache.
        return torch.cat([self._changed(few, generator) for few in torch.split(squares, 8)])

    def _changed(self, squares: Tensor, generator: Generator) -> Tensor:
        """All steps for some pictures."""
        pictures = self._warped(squares, generator)
        pictures = _blurred(pictures, generator)
        pictures = _relit(pictures, generator)
        pictures = _speckled(pictures, generator)
        return _erased(pictures, generator)

    def _warped(self, squares: Tensor, generator: Generator) -> Tensor:
        """Random resized crop, rotation and flips as one affine map with bilinear sampling."""
        count = len(squares)
        side = _uniform(count, *self.area, generator).sqrt()
        stretch = torch.exp(_uniform(count, -1, 1, generator) * math.log(self.aspect) / 2)
        angle = _uniform(count, -1, 1, generator) * math.radians(self.degrees)
        width, height = side * stretch, side / stretch
        flip_x, flip_y = _signs(count, 0.5, generator), _signs(count, 0.25, generator)
        room = (1 - side).clamp(min=0.08)
        shift_x, shift_y = (_uniform(count, -1, 1, generator) * room for _ in range(2))
        cos, sin = angle.cos(), angle.sin()
        row_x = torch.stack([cos * width * flip_x, -sin * height * flip_y, shift_x], dim=1)
        row_y = torch.stack([sin * width * flip_x, cos * height * flip_y, shift_y], dim=1)
        shape = [count, 1, self.size, self.size]
        grid = F.affine_grid(torch.stack([row_x, row_y], dim=1), shape, align_corners=False)
        return F.grid_sample(squares, grid, align_corners=False)


def _blurred(pictures: Tensor, generator: Generator) -> Tensor:
    """A 5 x 5 Gaussian blur, mixed in at a random share for half of the pictures."""
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    soft = F.conv2d(pictures, (taps[:, None] * taps)[None, None], padding=2)
    share = _column(_uniform(len(pictures), -1, 1, generator).clamp(min=0))
    # Beyond the picture a negative share would sharpen; a little of that is another scanner's edge filter.
    return torch.lerp(pictures, soft, share)


def _relit(pictures: Tensor, generator: Generator) -> Tensor:
    """Gamma, contrast and brightness of the whole, and a gain that grows or falls with depth."""
    count, _, height, _ = pictures.shape
    gamma = _column(torch.exp(_uniform(count, -0.5, 0.5, generator)))
    contrast = _column(torch.exp(_uniform(count, -0.4, 0.4, generator)))
    slope = _column(_uniform(count, -0.4, 0.4, generator))
    depth = torch.linspace(-1, 1, height)[None, None, :, None]
    offset = _column(_uniform(count, -0.08, 0.08, generator))
    lit = pictures.clamp(0, 1).pow(gamma) * contrast * (1 + slope * depth)
    # Black stays black: the frame around the scan region carries no light.
    return torch.where(pictures > 0.01, lit + offset, lit).clamp(0, 1)


def _speckled(pictures: Tensor, generator: Generator) -> Tensor:
    """Multiplicative noise of a random strength and one of two grain sizes."""
    count, _, height, width = pictures.shape
    fine = torch.randn(count, 1, height, width, generator=generator)
    coarse = torch.randn(count, 1, height // 2, width // 2, generator=generator)
    coarse = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    coarser = _column(_uniform(count, 0, 1, generator)) < 0.5
    strength = _column(_uniform(count, 0, 0.25, generator))
    return (pictures * (1 + strength * torch.where(coarser, coarse * 1.5, fine))).clamp(0, 1)


def _erased(pictures: Tensor, generator: Generator) -> Tensor:
    """One rectangle of up to a third of each side blanked in half of the pictures."""
    count, _, height, width = pictures.shape
    rows = _inside(height, _uniform(count, 0, 1, generator), _uniform(count, 0.08, 0.35, generator))
    columns = _inside(width, _uniform(count, 0, 1, generator), _uniform(count, 0.08, 0.35, generator))
    chosen = _uniform(count, 0, 1, generator)[:, None, None] < 0.5
    hole = rows[:, :, None] & columns[:, None, :] & chosen
    return pictures.masked_fill(hole[:, None], 0.0)


def _inside(length: int, centre: Tensor, share: Tensor) -> Tensor:
    """Which of ``length`` positions lie in an interval around each centre: bool (n, length)."""
    positions = torch.linspace(0, 1, length)
    return (positions[None] - centre[:, None]).abs() < share[:, None] / 2


def _uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    """``count`` numbers, evenly distributed in low..high."""
    return torch.rand(count, generator=generator) * (high - low) + low


def _signs(count: int, chance: float, generator: Generator) -> Tensor:
    """-1 with the given chance, else 1."""
    return 1 - 2 * (torch.rand(count, generator=generator) < chance).float()


def _column(numbers: Tensor) -> Tensor:
    """Numbers (n) as (n, 1, 1, 1), to be spread over pictures."""
    return numbers[:, None, None, None]
