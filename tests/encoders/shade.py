"""A real, tiny encoder without weights, which tests can hold, poison and break."""

import threading

import numpy as np

from app.domain import Frame, ImageFacts
from app.encoders.registry import Kind
from app.errors import device_lost

KIND = ("shade", Kind("shade", "open_shade"))
"""For the table of kinds."""

POISON, BLANK, FATAL = 13, 14, 15
"""Grey levels of pictures that make a pass fail, have no usable embedding, and cost the device."""


class Shade:
    """The mean grey level and its complement. Records its batches; does nothing while it is held."""

    name, dim, digest, precision = "shade", 2, "sha256:shade", "fp32"

    def __init__(self, lose_at=None):
        self.batches = []
        self.begun = 0
        self.held = threading.Event()
        self.held.set()
        self._lose_at = lose_at

    def pre(self, frame):
        return frame.pixels.astype(np.float32)[np.newaxis]

    def core(self, batch):
        self.begun += 1
        self.held.wait(20)
        self.batches.append(len(batch))
        means = batch.mean(axis=(1, 2, 3))
        if (means == FATAL).any() or len(self.batches) == self._lose_at:
            raise device_lost()
        if (means == POISON).any():
            raise RuntimeError("poisoned")
        features = np.stack([means, 255 - means], axis=1).astype(np.float32)
        features[means == BLANK] = np.nan
        return features


class FatedShade(Shade):
    """One for a service: the level of a picture follows from its bytes, or is set beforehand by their sha256."""

    def __init__(self, lose_at=None):
        super().__init__(lose_at)
        self.fates = {}

    def pre(self, frame):
        level = self.fates.get(frame.facts.sha256, 40 + int(frame.facts.sha256[:4] or "0", 16) % 200)
        return np.full((1, 8, 8), level, dtype=np.float32)

    def core(self, batch):
        threading.Event().wait(0.05)  # long enough for others to come and wait
        return super().core(batch)


def frame(level, side=8):
    pixels = np.full((side, side), level, dtype=np.uint8)
    return Frame(pixels, ImageFacts(sha256="", format="png", width=side, height=side))


def wait_for(condition):
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.005)
    raise AssertionError("waited in vain")


def open_shade(found, _placement):
    return FatedShade(found.manifest.network["lose_at"])


def write_shade(models, lose_at=0):
    """A folder of models with the encoder ``shade`` in it, which loses its device at a pass (from 1)."""
    (models / "shade").mkdir(parents=True)
    (models / "shade" / "manifest.toml").write_text(
        'name = "shade"\nkind = "shade"\ndim = 2\nparameters = 0\nlicence = "none"\ndescription = "tiny"\n'
        f"[preprocess]\n[network]\nlose_at = {lose_at}\n",
        encoding="utf-8",
    )
