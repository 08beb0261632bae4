"""The Encoder protocol: pre in the caller's thread, core on the device, post to unit length."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain import Frame, Vectors
from app.errors import BadInput

Batch = NDArray[np.float32]
"""Prepared inputs, stacked along the first axis."""


class Encoder(Protocol):
    """Turns frames into embeddings.

    ``pre`` runs in the caller's thread and must not touch the device; ``core`` runs on the one worker
    that owns the device, one call at a time. Two embeddings may be compared only if the ``digest`` of
    their encoders is equal. ``embed`` below strings the three steps together::

        vectors = unit_length(encoder.core(np.stack([encoder.pre(frame) for frame in frames])))
    """

    name: str
    dim: int
    digest: str
    precision: str

    def pre(self, frame: Frame) -> Batch:
        """One frame as the network wants it: float32 (channels, height, width)."""
        ...

    def core(self, batch: Batch) -> NDArray[np.float32]:
        """A batch (n, channels, height, width) through the network: raw features (n, dim)."""
        ...


def unit_length(features: NDArray[np.float32]) -> Vectors:
    """Rows scaled to Euclidean length 1; a row that is zero or not finite raises BadInput ``no_embedding``."""
    wide = features.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths < 1e-12).any():
        raise BadInput(
            "no_embedding",
            "the encoder gave no usable embedding for this image",
            hint="check that the image shows an ultrasound scan and is not blank",
        )
    unit: Vectors = (wide / lengths).astype(np.float32)
    return unit


def embed(encoder: Encoder, frames: list[Frame]) -> Vectors:
    """Unit-length embeddings (n, dim) of some frames, in the caller's thread."""
    return unit_length(encoder.core(np.stack([encoder.pre(frame) for frame in frames])))
