"""The encoder ``resnet-us``: a small residual network trained on ultrasound, 256 features."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.domain import Frame
from app.encoders.base import Batch
from app.encoders.device import Placement, use_threads
from app.encoders.preprocess import Preprocess
from app.encoders.weights import WeightsFolder
from app.errors import Misconfigured

WIDTHS = (32, 64, 96, 256)
BLOCKS = (2, 2, 1, 1)


class ResNetUS(nn.Module):
    """Four stages of basic residual blocks (He et al. 2016), average pooling, batch-normalised features."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, WIDTHS[0], kernel_size=7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(WIDTHS[0]),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
        self.stages = nn.Sequential(*(_stage(number) for number in range(len(WIDTHS))))
        # Centred features: averages after a ReLU are all positive, which crowds their angles together.
        self.neck = nn.BatchNorm1d(WIDTHS[-1], affine=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (n, 1, height, width) to features (n, 256), not yet of unit length."""
        maps = self.stages(self.stem(pictures))
        features: Tensor = self.neck(maps.mean(dim=(2, 3)))
        return features


def _stage(number: int) -> nn.Sequential:
    """The blocks of one stage; all stages but the first halve the resolution."""
    width = WIDTHS[number]
    before, stride = (WIDTHS[number - 1], 2) if number else (WIDTHS[0], 1)
    first = BasicBlock(before, width, stride)
    return nn.Sequential(first, *(BasicBlock(width, width, 1) for _ in range(BLOCKS[number] - 1)))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al. 2016, figure 2)."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != width:
            self.shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (n, before, h, w) to (n, width, h / stride, w / stride)."""
        inner = torch.relu(self.norm1(self.conv1(maps)))
        return torch.relu(self.norm2(self.conv2(inner)) + self.shortcut(maps))


class ResNetEncoder:
    """Frames to raw features (n, 256) with the weights of ``resnet-us``; implements ``Encoder``."""

    dim = WIDTHS[-1]

    def __init__(
        self,
        *,
        name: str,
        weights: Mapping[str, Tensor],
        preprocess: Preprocess,
        digest: str,
        precision: str = "fp32",
        threads: int = 1,
    ) -> None:
        self.name = name
        self.digest = digest
        self.precision = precision
        self._preprocess = preprocess
        self._threads = threads
        self._network = _loaded(weights, precision)

    def pre(self, frame: Frame) -> Batch:
        """One frame as normalised luma: float32 (1, size, size)."""
        return self._preprocess.tensor(frame.pixels)

    def core(self, batch: Batch) -> NDArray[np.float32]:
        """A batch (n, 1, size, size) through the network: float32 (n, 256)."""
        use_threads(self._threads)
        # One by one: in a batch the sums are taken in another order, and a vector would depend on its company.
        with torch.inference_mode():
            rows = [self._network(picture[None]).numpy() for picture in torch.from_numpy(batch)]
        return np.concatenate(rows)


def _loaded(weights: Mapping[str, Tensor], precision: str) -> ResNetUS:
    """A network for inference with these weights; raises Misconfigured ``bad_precision`` or ``bad_weights``."""
    if precision != "fp32":
        raise Misconfigured("bad_precision", "resnet-us runs in fp32 only", hint='write precision = "fp32"')
    network = ResNetUS()
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError:
        raise Misconfigured(
            "bad_weights",
            "the weight file does not hold the tensors of resnet-us",
            hint="install the file that belongs to this version, or train one: sonoseek train",
        ) from None
    # Channels last: a third faster on a CPU.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval().requires_grad_(requires_grad=False)


def open_resnet(found: WeightsFolder, placement: Placement) -> ResNetEncoder:
    """The encoder of a folder ``models/NAME``; raises Misconfigured where weights or preprocessing are unusable.

    It is too small for a GPU or another precision to pay, or a second thread.
    """
    return ResNetEncoder(
        name=found.manifest.name,
        weights=found.tensors(),
        preprocess=Preprocess.parse(found.manifest.preprocess),
        digest=found.manifest.digest("fp32"),
        threads=placement.threads or 1,
    )
