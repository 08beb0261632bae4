"""An encoder made of a transform and a torch network."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from app.domain import Frame, Pixels
from app.encoders.base import Batch
from app.encoders.device import Placement, free_cores, give_back_memory, known_failure, use_threads
from app.encoders.manifest import EncoderManifest

_PIECE = 4
"""Pictures that a core takes at once: whoever is done first takes the next."""


class PictureTransform(Protocol):
    """Prepares the pixels of a frame."""

    def tensor(self, pixels: Pixels) -> NDArray[np.float32]:
        """A picture (height, width[, 3]) as float32 (channels, size, size)."""
        ...


class NetworkEncoder:
    """Frames through a transform and a network that gives raw features (n, dim); implements ``Encoder``.

    The network takes float32 pictures and decides itself what it computes in the placement's precision.
    """

    def __init__(
        self, manifest: EncoderManifest, transform: PictureTransform, network: nn.Module, placement: Placement
    ) -> None:
        self.name = manifest.name
        self.dim = manifest.dim
        self.precision: str = placement.precision
        self.digest = manifest.digest(placement.precision)
        self._transform = transform
        self._placement = placement
        self._threads = placement.threads or free_cores()
        self._cores = _core_pool(self._threads) if placement.is_cpu else None
        self._network = network.to(placement.device).eval().requires_grad_(requires_grad=False)

    def pre(self, frame: Frame) -> Batch:
        """One frame as the network wants it: float32 (channels, size, size)."""
        return self._transform.tensor(frame.pixels)

    def core(self, batch: Batch) -> NDArray[np.float32]:
        """A batch (n, channels, size, size) through the network: float32 (n, dim).

        Raises DeviceLost where the device will not work again in this process, and Unavailable ``no_memory``
        where a smaller batch may succeed.
        """
        try:
            return self._forward(batch)
        except Exception as error:
            problem = known_failure(error, self._placement.device)
            if problem is None:
                raise
        # Out of the except block: the error's frames hold what the failed pass has put into memory.
        give_back_memory(self._placement.device)
        raise problem

    def _forward(self, batch: Batch) -> NDArray[np.float32]:
        if self._cores is None or len(batch) < self._threads:
            return self._passed(batch, self._threads)
        pieces = np.array_split(batch, max(self._threads, len(batch) // _PIECE))
        passes = [self._cores.submit(self._passed, piece, 1) for piece in pieces]
        wait(passes)  # also where one fails: whoever tries again wants the memory and the cores of the others
        return np.concatenate([each.result() for each in passes])

    def _passed(self, batch: Batch, threads: int) -> NDArray[np.float32]:
        use_threads(threads)
        with torch.inference_mode():
            features = self._network(torch.from_numpy(batch).to(self._placement.device))
            rows: NDArray[np.float32] = features.float().cpu().numpy()
        return rows


def _core_pool(threads: int) -> ThreadPoolExecutor | None:
    """A thread per core, where there are several.

    A core that takes pictures of its own need not wait for the others after every layer, and finds its
    pictures in its own cache.
    """
    return ThreadPoolExecutor(threads, thread_name_prefix="core") if threads > 1 else None
