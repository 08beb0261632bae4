"""Seeded random weights in the place of those that are not installed: for timing, never for searching."""

from __future__ import annotations

import torch
from torch import Tensor

from app.encoders.registry import layout
from app.encoders.weights import WeightsFolder


class RandomWeights(WeightsFolder):
    """A folder whose tensors come out of a seeded generator, scaled so that activations stay finite."""

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the manifest's layout; raises Misconfigured where its kind has none."""
        generator = torch.Generator().manual_seed(0)
        return {key: _random(key, shape, generator) for key, shape in layout(self.manifest).items()}


def _random(key: str, like: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(like.shape, generator=generator, dtype=torch.float32)
    if like.ndim < 2:  # norms and scales near one, all else near nothing
        return 1 + 0.1 * noise if key.endswith(("weight", "gamma")) else 0.1 * noise
    scaled: Tensor = noise * like[0].numel() ** -0.5
    return scaled
