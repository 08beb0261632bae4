"""What the network learns from: cosine classifiers of organ and organ group, summed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from app.training.data import UNKNOWN

SCALE = 12.0
SMOOTHING = 0.1


class CosineHead(nn.Module):
    """Class scores as scaled cosines (Wang et al. 2017, NormFace), so that classes separate by angle."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, features) * 0.05)

    def forward(self, features: Tensor) -> Tensor:
        """Features (n, dim) to scores (n, classes)."""
        return SCALE * F.linear(F.normalize(features), F.normalize(self.weight))


class TwoHeads(nn.Module):
    """Smoothed cross-entropy over organs, where the organ is known, plus half of that over organ groups."""

    def __init__(self, features: int, organs: int, groups: int) -> None:
        super().__init__()
        self.organ = CosineHead(features, organs)
        self.group = CosineHead(features, groups)

    def forward(self, features: Tensor, organ: Tensor, group: Tensor) -> Tensor:
        """The loss of a batch; organs marked ``UNKNOWN`` add nothing."""
        return masked_loss(self.organ(features), organ) + 0.5 * masked_loss(self.group(features), group)


def masked_loss(scores: Tensor, classes: Tensor) -> Tensor:
    """Mean cross-entropy of the annotated rows, labels smoothed by 0.1; 0 where none is annotated."""
    known = classes != UNKNOWN
    summed = F.cross_entropy(scores, classes, ignore_index=UNKNOWN, label_smoothing=SMOOTHING, reduction="sum")
    return summed / known.sum().clamp(min=1)
