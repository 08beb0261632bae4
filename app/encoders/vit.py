"""One plain vision transformer under the official key names of DINO, DINOv2 and DreamSim's towers.

Dosovitskiy et al. 2021, with the options of its descendants: registers, layer scale and SwiGLU (DINOv2),
a norm before the blocks, a projection and QuickGELU (CLIP).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn
from torch.nn import functional

from app.errors import Misconfigured

HEAD = 64
"""Width of one attention head."""


class ViTShape(BaseModel):
    """What a manifest's ``[network]`` says of a vision transformer.

    ``grid`` is the side, in patches, that the stored positions are for; ``positions`` says how they are brought
    to another one. ``output`` is what is taken of the tokens: the class token after the final norm (``cls``),
    before it (``cls_before_norm``), after norm and projection (``projected``), the mean of the patches after the
    norm (``mean``), or all tokens after the last block (``tokens``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(gt=0, multiple_of=HEAD)
    depth: int = Field(gt=0)
    patch: int = Field(gt=0)
    grid: int = Field(gt=0)
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

    @classmethod
    def parse(cls, table: Mapping[str, object]) -> Self:
        """The checked table of a manifest; raises Misconfigured ``bad_network``."""
        try:
            return cls.model_validate(dict(table))
        except ValidationError as error:
            raise Misconfigured(
                "bad_network",
                "the [network] table of a manifest cannot be used",
                hint=f"check these keys: {', '.join(str(part) for f in error.errors() for part in f['loc'][:1])}",
            ) from error

    @property
    def mlp_width(self) -> int:
        """Hidden units of a block."""
        return self.hidden or 4 * self.width


class ViT(nn.Module):
    """Pictures (n, 3, side, side) to what ``shape.output`` says.

    Products are computed in the type of the weights; norms, sums and tokens stay in float32.
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

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures to features (n, dim), or to tokens (n, 1 + registers + patches, width)."""
        tokens = self.tokens(pictures)
        output, skipped = self.shape.output, 1 + self.shape.registers
        if output == "tokens":
            return tokens
        if output == "cls_before_norm":
            return tokens[:, 0]
        if output == "mean":
            return self.norm(tokens)[:, skipped:].mean(dim=1)  # type: ignore[no-any-return]
        features: Tensor = self.norm(tokens[:, 0])
        if output == "projected":
            projected: Tensor = self.proj(features.to(self.proj.weight.dtype))
            return projected
        return features

    def tokens(self, pictures: Tensor) -> Tensor:
        """All tokens after the last block: the class token, registers, patches row by row."""
        patches = self.patch_embed(pictures)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed
        if self.shape.registers:
            registers = self.register_tokens.expand(len(patches), -1, -1)
            tokens = torch.cat([tokens[:, :1], registers, tokens[:, 1:]], dim=1)
        tokens = self.pos_drop(tokens)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens  # type: ignore[no-any-return]


class PatchEmbed(nn.Module):
    """Each patch as a token."""

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, shape.width, shape.patch, stride=shape.patch, bias=shape.patch_bias)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (n, 3, side, side) to tokens (n, patches, width), row by row."""
        maps = self.proj(pictures.to(self.proj.weight.dtype))
        return maps.flatten(2).transpose(1, 2).float()  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and a small network, each on normalised tokens beside a shortcut."""

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.attn = Attention(shape.width)
        self.ls1 = LayerScale(shape.width) if shape.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.mlp = SwiGLU(shape) if shape.mlp == "swiglu" else MLP(shape)
        self.ls2 = LayerScale(shape.width) if shape.layer_scale else nn.Identity()

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (n, t, width) to tokens of the same shape."""
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        return tokens + self.ls2(self.mlp(self.norm2(tokens)))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Multi-head self-attention with one fused projection: rows of ``qkv`` are q, k, v in equal thirds."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (n, t, width) to tokens of the same shape."""
        count, length, width = tokens.shape
        fused = self.qkv(tokens.to(self.qkv.weight.dtype))
        query, key, value = fused.view(count, length, 3, width // HEAD, HEAD).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(count, length, width))  # type: ignore[no-any-return]


class MLP(nn.Module):
    """Two layers with a GELU between them, exact or OpenAI's quick one."""

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.fc1 = nn.Linear(shape.width, shape.mlp_width)
        self.fc2 = nn.Linear(shape.mlp_width, shape.width)
        self._activation: Callable[[Tensor], Tensor] = _quick_gelu if shape.mlp == "quick_gelu" else functional.gelu

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (n, t, width) to tokens of the same shape."""
        return self.fc2(self._activation(self.fc1(tokens.to(self.fc1.weight.dtype))))  # type: ignore[no-any-return]


class SwiGLU(nn.Module):
    """Gated layers (Shazeer 2020): ``w12`` gives the gate, then the values."""

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.w12 = nn.Linear(shape.width, 2 * shape.mlp_width)
        self.w3 = nn.Linear(shape.mlp_width, shape.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (n, t, width) to tokens of the same shape."""
        gate, values = self.w12(tokens.to(self.w12.weight.dtype)).chunk(2, dim=-1)
        return self.w3(functional.silu(gate) * values)  # type: ignore[no-any-return]


class LayerScale(nn.Module):
    """A factor per channel (Touvron et al. 2021)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens times the factors."""
        return tokens * self.gamma


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


def load_vit(shape: ViTShape, tensors: Mapping[str, Tensor], side: int, dtype: torch.dtype) -> ViT:
    """A network with weights, for pictures of ``side`` pixels, its products in ``dtype``."""
    check_side(shape, side)
    network = blank_vit(shape)
    network.load_state_dict(dict(tensors), strict=True, assign=True)
    network.pos_embed = nn.Parameter(positions_for(network.pos_embed, side // shape.patch, shape.positions))
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(dtype)
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


def _quick_gelu(values: Tensor) -> Tensor:
    return values * torch.sigmoid(1.702 * values)
