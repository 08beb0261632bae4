"""DICOM's run-length coding (PS3.5 annex G), never unfolding more than the picture holds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from app.images.guard import undecodable

HEADER = 64


def decode_run_lengths(frame: bytes, shape: tuple[int, int, int], size: int) -> NDArray[np.unsignedinteger]:
    """One frame as (height, width, samples) of unsigned integers of ``size`` bytes; BadInput if it is short."""
    height, width, samples = shape
    starts = np.frombuffer(frame[:HEADER], "<u4").astype(int)
    count = int(starts[0])
    if count != samples * size:
        raise undecodable()
    bounds = [*starts[1 : 1 + count].tolist(), len(frame)]
    planes = [_unfold(frame[a:b], height * width) for a, b in pairwise(bounds)]
    # Segments come sample by sample, the most significant byte first.
    stacked = np.stack(planes).reshape(samples, size, height, width)
    big_endian = np.ascontiguousarray(stacked.transpose(2, 3, 0, 1))
    whole = big_endian.view(f">u{size}")[..., 0]
    return whole.astype(f"u{size}")


def _unfold(segment: bytes, length: int) -> NDArray[np.uint8]:
    """The bytes of one segment, exactly ``length`` of them."""
    plain, position = bytearray(), 0
    while len(plain) < length and position + 1 < len(segment):
        head = segment[position]
        if head < 128:
            plain += segment[position + 1 : position + 2 + head]
            position += head + 2
        else:
            if head > 128:
                plain += segment[position + 1 : position + 2] * (257 - head)
            position += 2 if head > 128 else 1
    if len(plain) < length:
        raise undecodable()
    return np.frombuffer(plain, np.uint8, length)
