"""One plain vision transformer under the official key names of DINO, DINOv2 and DreamSim's towers.

Dosovitskiy et al. 2021, with the options of its descendants: registers, layer scale and SwiGLU (DINOv2),
a norm before the blocks, a projection and QuickGELU (CLIP).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from app.encoders.checkpoint import fill
from app.encoders.device import Placement
from app.encoders.linear import Activation, Linear
from app.encoders.table import ManifestTable
from app.errors import Misconfigured

HEAD = 64
"""Width of one attention head, but for some big towers of OpenCLIP."""

_QUICK = 1.702


class ViTShape(ManifestTable):
    """What a manifest's ``[network]`` says of a vision transformer.

    ``grid`` is the side, in patches, that the stored positions are for; ``positions`` says how they are brought
    to another one. ``output`` is what is taken of the tokens: the class token after the final norm (``cls``),
    before it (``cls_before_norm``), after norm and projection (``projected``), the mean of the patches after the
    norm (``mean``), or all tokens after the last block (``tokens``).
    """

    table = "network"

    width: int = Field(gt=0)
    depth: int = Field(gt=0)
    patch: int = Field(gt=0)
    grid: int = Field(gt=0)
    head: int = Field(default=HEAD, gt=0)
    registers: int = 0
    hidden: int | None = None
    mlp: Literal["gelu", "quick_gelu", "swiglu"] = "gelu"
    layer_scale: bool = False
    norm_before: bool = False
    patch_bias: bool = True
    projection: int | None = None
    epsilon: float = 1e-6
    positions: Literal["offset", "antialias"] = "offset"
    output: Literal["cls", "cls_before_norm", "projected", "mean", "tokens"] = "cls"

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.width % self.head:
            raise ValueError("width must be a multiple of head")
        return self

    @property
    def mlp_width(self) -> int:
        """Hidden units of a block."""
        return self.hidden or 4 * self.width


class ViT(nn.Module):
    """Pictures (n, 3, side, side) to what ``shape.output`` says.

    Blank, it holds the tensors of an official file under their names; ``load_vit`` fills it and makes it ready:
    the factors of layer scales go into the layers before them, weights are packed for the device.
    """

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.shape = shape
        self.patch_embed = PatchEmbed(shape)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + shape.grid**2, shape.width))
        if shape.registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, shape.registers, shape.width))
        self.pos_drop = nn.LayerNorm(shape.width, eps=shape.epsilon) if shape.norm_before else nn.Identity()
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width, eps=shape.epsilon)
        if shape.projection:
            self.proj = nn.Linear(shape.width, shape.projection, bias=False)

    def make_ready(self, placement: Placement) -> None:
        """Fold factors into weights and take the placement's precision inside; ends stay float32."""
        for block in self.blocks:
            block.make_ready(placement)  # type: ignore[operator]
        self.patch_embed.proj.to(placement.dtype)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures to features (n, dim) in float32, or to tokens (n, 1 + registers + patches, width)."""
        tokens = self.tokens(pictures)
        output, skipped = self.shape.output, 1 + self.shape.registers
        if output == "tokens":
            return tokens
        if output == "mean":
            return self.norm(tokens.float())[:, skipped:].mean(dim=1)  # type: ignore[no-any-return]
        features: Tensor = tokens[:, 0].float()
        if output != "cls_before_norm":
            features = self.norm(features)
        if output == "projected":
            return functional.linear(features, self.proj.weight)
        return features

    def tokens(self, pictures: Tensor) -> Tensor:
        """The tokens after the last block that the output needs: the class token, or with it all others.

        The others are registers, then patches row by row.
        """
        patches = self.patch_embed(pictures)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed
        if self.shape.registers:
            registers = self.register_tokens.expand(len(patches), -1, -1)
            tokens = torch.cat([tokens[:, :1], registers, tokens[:, 1:]], dim=1)
        tokens = self.pos_drop(tokens).to(self.patch_embed.proj.weight.dtype)
        *blocks, last = self.blocks
        for block in blocks:
            tokens = block(tokens)
        return last(tokens, asked=None if self.shape.output in ("mean", "tokens") else 1)  # type: ignore[no-any-return]


class PatchEmbed(nn.Module):
    """Each patch as a token."""

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, shape.width, shape.patch, stride=shape.patch, bias=shape.patch_bias)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (n, 3, side, side) to float32 tokens (n, patches, width), row by row."""
        maps = self.proj(pictures.to(self.proj.weight.dtype))
        return maps.flatten(2).transpose(1, 2).float()  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and a small network, each on normalised tokens beside a shortcut."""

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.attn = Attention(shape.width, shape.head)
        self.ls1 = LayerScale(shape.width) if shape.layer_scale else None
        self.norm2 = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.mlp = SwiGLU(shape) if shape.mlp == "swiglu" else MLP(shape)
        self.ls2 = LayerScale(shape.width) if shape.layer_scale else None

    def make_ready(self, placement: Placement) -> None:
        """Fold the layer scales away and pack the layers."""
        if self.ls1 is not None and self.ls2 is not None:
            self.ls1.fold_into(self.attn.proj)
            self.ls2.fold_into(self.mlp.last)
            self.ls1 = self.ls2 = None
        self.mlp.fold()
        for module in self.modules():
            if isinstance(module, Linear):
                module.pack(placement.dtype)
            elif isinstance(module, nn.LayerNorm) and not placement.is_cpu:
                module.to(placement.dtype)  # only CPUs take float32 factors to tokens of another type

    def forward(self, tokens: Tensor, asked: int | None = None) -> Tensor:
        """Tokens (n, t, width) to tokens of the same shape, or only to the first ``asked`` of them.

        Nothing looks at the patches of the last block where the class token is taken: a sixteenth of the work.
        """
        tokens = self.attn(self.norm1(tokens), tokens[:, :asked].contiguous())
        return self.mlp(self.norm2(tokens), tokens)  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Multi-head self-attention with one fused projection: rows of ``qkv`` are q, k, v in equal thirds."""

    def __init__(self, width: int, head: int = HEAD) -> None:
        super().__init__()
        self._head = head
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)

    def forward(self, tokens: Tensor, residual: Tensor) -> Tensor:
        """The residual (n, asked, width) plus what attention makes for the first ``asked`` tokens (n, t, width)."""
        count, length, width = tokens.shape
        asked = residual.shape[1]
        fused = self.qkv(tokens).view(count, length, 3, width // self._head, self._head)
        query, key, value = fused.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query[:, :, :asked], key, value)
        return self.proj(mixed.transpose(1, 2).reshape(count, asked, width), residual=residual)  # type: ignore[no-any-return]


class MLP(nn.Module):
    """Two layers with a GELU between them, exact or OpenAI's quick one, x sigmoid(1.702 x)."""

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.fc1 = Linear(shape.width, shape.mlp_width)
        self.fc2 = Linear(shape.mlp_width, shape.width)
        self._quick = shape.mlp == "quick_gelu"
        self._activation: Activation = "silu" if self._quick else "gelu"

    @property
    def last(self) -> Linear:
        """The layer that gives the result."""
        return self.fc2

    def fold(self) -> None:
        """Let the layers carry the quick GELU's factor: it is silu(1.702 x) / 1.702."""
        if self._quick:
            self.fc1.scale(torch.tensor(_QUICK), bias=True)
            self.fc2.scale(torch.tensor(1 / _QUICK), bias=False)

    def forward(self, tokens: Tensor, residual: Tensor) -> Tensor:
        """The residual plus what the layers make of tokens (n, t, width)."""
        return self.fc2(self.fc1(tokens, self._activation), residual=residual)  # type: ignore[no-any-return]


class SwiGLU(nn.Module):
    """Gated layers (Shazeer 2020): ``w12`` gives the gate, then the values."""

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.w12 = Linear(shape.width, 2 * shape.mlp_width)
        self.w3 = Linear(shape.mlp_width, shape.width)

    @property
    def last(self) -> Linear:
        """The layer that gives the result."""
        return self.w3

    def fold(self) -> None:
        """Nothing to fold."""

    def forward(self, tokens: Tensor, residual: Tensor) -> Tensor:
        """The residual plus what the layers make of tokens (n, t, width)."""
        gate, values = self.w12(tokens).chunk(2, dim=-1)
        return self.w3(functional.silu(gate) * values, residual=residual)  # type: ignore[no-any-return]


class LayerScale(nn.Module):
    """A factor per channel (Touvron et al. 2021) of the result of a layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def fold_into(self, layer: Linear) -> None:
        """Multiply the layer's rows with the factors, which gives the same result."""
        layer.scale(self.gamma.detach(), bias=True)


def blank_vit(shape: ViTShape) -> ViT:
    """A network whose tensors have shapes but no memory yet."""
    with torch.device("meta"):
        return ViT(shape)


def check_side(shape: ViTShape, side: int) -> None:
    """Raise Misconfigured ``bad_preprocess`` where the side of pictures is no multiple of the patch."""
    if side % shape.patch:
        raise Misconfigured(
            "bad_preprocess",
            f"pictures of {side} pixels cannot be cut into patches of {shape.patch}",
            hint="take a size that is a multiple of network.patch",
        )


def load_vit(shape: ViTShape, tensors: Mapping[str, Tensor], side: int, placement: Placement) -> ViT:
    """A network with weights, ready for pictures of ``side`` pixels on a device.

    Raises Misconfigured ``bad_weights`` or ``bad_preprocess``.
    """
    check_side(shape, side)
    network = blank_vit(shape)
    fill(network, tensors)
    network.pos_embed = nn.Parameter(positions_for(network.pos_embed, side // shape.patch, shape.positions))
    network.to(placement.device).make_ready(placement)
    return network


def positions_for(positions: Tensor, grid: int, how: str) -> Tensor:
    """Position embeddings (1, 1 + old², width) for another grid, as their authors bring them there.

    ``offset``: the scale that DINO's code gives to torch, (grid + 0.1) / old, without antialiasing;
    ``antialias``: the size itself with antialiasing, as DINOv2's models with registers do.
    """
    old = round((positions.shape[1] - 1) ** 0.5)
    if grid == old:
        return positions
    patches = positions[:, 1:].float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
    if how == "antialias":
        scaled = functional.interpolate(patches, size=(grid, grid), mode="bicubic", antialias=True)
    else:
        factor = (grid + 0.1) / old
        scaled = functional.interpolate(patches, scale_factor=(factor, factor), mode="bicubic")
    return torch.cat([positions[:, :1].float(), scaled.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
