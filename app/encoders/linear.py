"""A linear layer whose bias, activation and residual sum cost no pass over memory of their own."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.encoders.device import onednn_computes

Activation = Literal["none", "gelu", "silu"]
_POINTWISE = {"none": "none", "gelu": "gelu", "silu": "swish"}  # oneDNN's names


class Linear(nn.Linear):
    """``nn.Linear`` with an activation, or with a residual that is added to its result.

    After ``pack`` on a CPU all of it is one call of oneDNN on weights that lie as it wants them: torch's own
    layer copies the bias first and reads its result again for whatever follows, which is a third of the
    time of a small vision transformer.
    """

    packed: Tensor | None = None

    def pack(self, dtype: torch.dtype) -> None:
        """Take the weights as ``dtype``; on a CPU in oneDNN's layout, and let go of the plain ones."""
        self.to(dtype)
        if self.weight.device.type == "cpu" and onednn_computes(dtype):
            with torch.inference_mode():
                self.packed = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach())
            del self.weight

    def scale(self, factors: Tensor, *, bias: bool) -> None:
        """Multiply the rows of the weights with factors (out) or one factor, and the bias too where asked."""
        # Not in place: the tensors may be those of a file that is mapped into memory.
        rows = factors.to(self.weight.device).expand(self.out_features)
        self.weight = nn.Parameter(self.weight.detach() * rows[:, None], requires_grad=False)
        if bias:
            self.bias = nn.Parameter(self.bias.detach() * rows, requires_grad=False)

    @property
    def dtype(self) -> torch.dtype:
        """The type that products are computed in."""
        return (self.weight if self.packed is None else self.packed).dtype

    def forward(self, values: Tensor, activation: Activation = "none", residual: Tensor | None = None) -> Tensor:
        """Values (..., in) to (..., out), activated, or added to a residual (..., out)."""
        if self.packed is None:
            return self._plain(values, activation, residual)
        if residual is None:
            unary = torch.ops.mkldnn._linear_pointwise
            return unary(values, self.packed, self.bias, _POINTWISE[activation], [], "none")  # type: ignore[no-any-return]
        binary = torch.ops.mkldnn._linear_pointwise.binary
        return binary(values, residual, self.packed, self.bias, "add")  # type: ignore[no-any-return]

    def _plain(self, values: Tensor, activation: Activation, residual: Tensor | None) -> Tensor:
        results = functional.linear(values, self.weight, self.bias)
        if activation == "gelu":
            results = functional.gelu(results)
        elif activation == "silu":
            results = functional.silu(results)
        return results if residual is None else residual + results
