"""Fitting the network to a training set: one schedule, deterministic with a seed."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from app.encoders.device import onednn_computes
from app.encoders.preprocess import Preprocess
from app.encoders.resnet import WIDTHS, ResNetUS
from app.training.augment import Augment
from app.training.data import UNKNOWN, Progress, TrainingSet
from app.training.losses import TwoHeads

REPORT = 50


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast: the same for the validation folds and for the shipped weights."""

    steps: int = 2400
    batch: int = 64
    rate: float = 3e-3
    decay: float = 0.05
    average: float = 0.995


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained network (its moving average) and the mean loss of every ``REPORT`` steps."""

    network: ResNetUS
    losses: tuple[float, ...]


def fit(data: TrainingSet, preprocess: Preprocess, *, seed: int, schedule: Schedule, progress: Progress) -> Fitted:
    """Train a fresh network on a training set; the same seed and thread count give the same weights."""
    torch.manual_seed(seed)
    run = _Run(data, preprocess, schedule, Generator().manual_seed(seed))
    losses = []
    for number in range(1, schedule.steps + 1):
        losses.append(run.step())
        progress("train", number, schedule.steps)
    means = [float(np.mean(losses[start : start + REPORT])) for start in range(0, len(losses), REPORT)]
    return Fitted(run.averaged(), tuple(means))


class _Run:
    """The moving parts of one training: network, heads, optimiser, average and generator."""

    def __init__(self, data: TrainingSet, preprocess: Preprocess, schedule: Schedule, generator: Generator) -> None:
        self._data, self._batch, self._generator = data, schedule.batch, generator
        self._augment, self._preprocess = Augment(preprocess.size), preprocess
        self._network = ResNetUS()
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._heads = TwoHeads(WIDTHS[-1], len(data.organs), len(data.groups))
        blend = get_ema_multi_avg_fn(schedule.average)  # type: ignore[no-untyped-call]
        self._average = AveragedModel(self._network, multi_avg_fn=blend, use_buffers=True)
        self._chances = sampling_chances(data)
        self._optimiser = torch.optim.AdamW(_decayed(self._network, self._heads, schedule.decay))
        self._rates = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser,
            max_lr=schedule.rate,
            total_steps=schedule.steps + 1,
            pct_start=0.15,
        )

    def step(self) -> float:
        """One batch, drawn by chance, forward and back; its loss."""
        self._network.train()
        rows = torch.multinomial(self._chances, self._batch, replacement=True, generator=self._generator)
        picked = rows.numpy()
        squares = torch.from_numpy(self._data.squares[picked])[:, None].float() / 255
        augmented = self._augment(squares, self._generator)
        pictures = (augmented - self._preprocess.mean) / self._preprocess.std
        # bfloat16 makes training two to four times as fast where the processor has it, and ten times as slow elsewhere.
        with torch.autocast("cpu", torch.bfloat16, enabled=onednn_computes(torch.bfloat16)):
            features = self._network(pictures)
        organ, group = (torch.from_numpy(numbers[picked]) for numbers in (self._data.organ, self._data.group))
        loss: Tensor = self._heads(features.float(), organ, group)
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self._rates.step()
        self._average.update_parameters(self._network)
        return loss.item()

    def averaged(self) -> ResNetUS:
        """The moving average of the network's weights, for inference."""
        network = cast(ResNetUS, copy.deepcopy(self._average.module))
        return network.eval()


def _decayed(network: nn.Module, heads: nn.Module, decay: float) -> list[dict[str, object]]:
    """Parameters for the optimiser: matrices decay, the scales and shifts of normalisation do not."""
    parameters = [*network.parameters(), *heads.parameters()]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def sampling_chances(data: TrainingSet) -> Tensor:
    """How often each sample is drawn, to a constant: rarer classes more often, group-only sources less."""
    known = data.organ != UNKNOWN
    classes = np.where(known, data.organ, len(data.organs) + data.group)
    counts = np.bincount(classes)[classes]
    return torch.from_numpy(np.where(known, 1.0, 0.4) / np.sqrt(np.maximum(counts, 20)))
