"""Photographs under each contestant: how far a scan is from what is no scan at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.domain import Frame, Vectors
from app.encoders.base import Encoder, embed
from app.errors import SonoSeekError
from app.evaluation.baselines import HISTOGRAM, PIXELS, UNTRAINED, histogram_vectors, pixel_vectors, untrained_encoder
from app.evaluation.ground import Contestant
from app.evaluation.roles import natural_frames
from app.scores.pixels import make_canvas, make_histogram

OpenEncoder = Callable[[str], Encoder]


def natural_vectors(contestants: Sequence[Contestant], open_encoder: OpenEncoder | None) -> dict[str, Vectors]:
    """Contestant -> vectors (n, dim) of scikit-image's photographs; those that cannot be embedded here are left out.

    Raises Misconfigured ``extra_missing`` where scikit-image is not installed.
    """
    frames = natural_frames()
    found = {one.name: _vectors(one, frames, open_encoder) for one in contestants}
    return {name: vectors for name, vectors in found.items() if vectors is not None}


def _vectors(contestant: Contestant, frames: list[Frame], open_encoder: OpenEncoder | None) -> Vectors | None:
    canvases = [make_canvas(frame.pixels) for frame in frames]
    if contestant.name == PIXELS:
        return pixel_vectors(canvases)
    if contestant.name == HISTOGRAM:
        return histogram_vectors([make_histogram(canvas) for canvas in canvases])
    if contestant.name == UNTRAINED:
        return embed(untrained_encoder(), frames)
    if open_encoder is None:
        return None
    try:
        encoder = open_encoder(contestant.name)
    except SonoSeekError:  # its weights are not here
        return None
    return embed(encoder, frames) if encoder.digest == contestant.digest else None
