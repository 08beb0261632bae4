"""Floating-point operations of a forward pass, a multiply-add counted as two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from app.encoders.base import Batch, Encoder


def gflop_per_image(encoder: Encoder, batch: Batch) -> float:
    """GFLOP of matrix products, convolutions and attention for one image of a batch (n, channels, h, w).

    Torch's own counter, which does not know two operators that CPUs use.
    """
    operators: dict[Any, Callable[..., int]] = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        torch.ops.mkldnn._linear_pointwise: _linear,
    }
    with FlopCounterMode(display=False, custom_mapping=operators) as counter:
        encoder.core(np.ascontiguousarray(batch[:1]))
    return float(counter.get_total_flops()) / 1e9


def _attention(query: torch.Size, key: torch.Size, value: torch.Size, *_arguments: object, **_options: object) -> int:
    """Two products a head: scores (n, h, t, s) and their mix of the values (n, h, t, d)."""
    count, heads, length, inner = query
    return 2 * count * heads * length * key[2] * (inner + value[3])


def _linear(inputs: torch.Size, *_arguments: object, out_shape: torch.Size, **_options: object) -> int:
    """A product of inputs (..., in) that gives (..., out), with or without a residual."""
    return 2 * int(np.prod(inputs)) * out_shape[-1]
