"""Hiera (Ryali et al. 2023) as SAM 2 uses it, under the official key names, with its tokens in one order throughout.

Every window and every pooled cell of every stage is a run of neighbouring tokens in that order, so that no block
cuts the picture into windows and puts it together again, as the authors' code does. It also lets the first
two stages, whose windows know nothing of each other, go through the processor's cache a piece at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from app.encoders.device import Placement
from app.encoders.linear import Linear
from app.encoders.table import ManifestTable

POOLED = 4
"""Tokens that become one at the start of a stage: a cell of 2 x 2."""
PATCH_STEP = 4
"""Pixels from one token of the first stage to the next."""
_PIECE = 8192  # tokens of the first stage that go through the local blocks at once on a CPU
_ROWS = 1024  # tokens whose hidden units are held at once on a CPU


class HieraShape(ManifestTable):
    """What a manifest's ``[network]`` says of SAM 2's image encoder: four stages, each half the side of the last.

    ``width`` and ``heads`` belong to the first stage and double with each; ``windows`` are sides in tokens of the
    stage; ``global_blocks`` see the whole picture; ``background`` is the side of the stored positions.
    """

    table = "network"

    width: int = Field(gt=0)
    heads: int = Field(gt=0)
    blocks: tuple[int, int, int, int]
    windows: tuple[int, int, int, int]
    global_blocks: tuple[int, ...]
    background: int = Field(gt=0)

    @model_validator(mode="after")
    def _fits_one_order(self) -> Self:
        first, second, third, fourth = self.windows
        if self.width % self.heads:
            raise ValueError("width must be a multiple of heads")
        if first % 8 or first != 2 * second or third != 2 * fourth or (4 * third) % first:
            raise ValueError("windows must lie within each other")
        if min(self.blocks) < 1 or any(block <= self.local for block in self.global_blocks):
            raise ValueError("the first two stages must be local")
        return self

    @property
    def local(self) -> int:
        """The last block whose windows are those of the first two stages; it opens the third."""
        return self.blocks[0] + self.blocks[1]

    def stage(self, block: int) -> int:
        """The stage, 0..3, that a block belongs to."""
        return next(stage for stage in range(4) if block < sum(self.blocks[: stage + 1]))

    def runs(self, block: int, side: int) -> tuple[Run, ...]:
        """The windows of a block in a picture of ``side`` pixels; a window at the edge may reach beyond it."""
        # The first block of a stage still has the tokens and the windows of the stage before.
        stage = self.stage(max(0, block - 1))
        grid, window = side // PATCH_STEP >> stage, self.windows[stage]
        if block in self.global_blocks:
            return (Run(1, grid * grid, 0),)
        whole, rest = divmod(grid, window)
        sizes = ((whole * whole, window * window), (2 * whole, window * rest), (1, rest * rest))
        return tuple(Run(count, length, window * window - length) for count, length in sizes if count and length)


class Run(NamedTuple):
    """Windows of one size that follow each other: how many, tokens in each, and tokens missing beyond the edge."""

    windows: int
    length: int
    missing: int


def token_order(shape: HieraShape, side: int) -> NDArray[np.int64]:
    """The order of the first stage's tokens: row-major numbers (side / 4)², as every stage wants its windows.

    Windows of the last stages come first by size, then by place; within them those of the first stages; within
    those the cells that are pooled, from the largest down.
    """
    grid, outer = side // PATCH_STEP, 4 * shape.windows[2]
    rows, columns = (axis.ravel() for axis in np.indices((grid, grid)))
    height, width = (
        np.minimum(axis // outer * outer + outer, grid) - axis // outer * outer for axis in (rows, columns)
    )
    places = [rows // unit * grid + columns // unit for unit in (2, 4, 8, shape.windows[0], outer)]
    return np.lexsort([*places, -height * width])  # the last key counts first; equals keep their order


class Hiera(nn.Module):
    """Pictures (n, 3, side, side) to the tokens of the third and of the fourth stage.

    Blank, it holds the tensors of an official file under their names; ``make_ready`` is called once it is filled.
    """

    order: Tensor
    positions: Tensor

    def __init__(self, shape: HieraShape) -> None:
        super().__init__()
        self.shape = shape
        self.patch_embed = PatchEmbed(shape.width)
        self.pos_embed = nn.Parameter(torch.zeros(1, shape.width, shape.background, shape.background))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, shape.width, shape.windows[0], shape.windows[0]))
        self.blocks = nn.ModuleList(_block(shape, number) for number in range(sum(shape.blocks)))

    def make_ready(self, side: int, placement: Placement) -> None:
        """Take the placement's precision inside, and lay out tokens and positions for pictures of ``side`` pixels."""
        self.side = side
        order = torch.from_numpy(token_order(self.shape, side)).to(placement.device)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("positions", self._positions(side // PATCH_STEP)[order], persistent=False)
        self.patch_embed.proj.to(placement.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for module in self.modules():
            if isinstance(module, Linear):
                module.pack(placement.dtype)
            elif isinstance(module, nn.LayerNorm) and not placement.is_cpu:
                module.to(placement.dtype)  # only CPUs take float32 factors to tokens of another type

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures to tokens (n, (side / 16)², 4 width) and (n, (side / 32)², 8 width), in this module's order."""
        patches = self.patch_embed(pictures)
        third = torch.cat([self._local(patches, *piece) for piece in self._pieces(patches)], dim=1)
        fourth_opens = sum(self.shape.blocks[:3])
        for number in range(self.shape.local + 1, fourth_opens):
            third = self.blocks[number](third, self.shape.runs(number, self.side))
        fourth = third
        for number in range(fourth_opens, len(self.blocks)):
            fourth = self.blocks[number](fourth, self.shape.runs(number, self.side))
        return third, fourth

    def _pieces(self, patches: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
        """Order and positions of some whole windows at a time where that saves memory traffic, else of all."""
        window = self.shape.windows[0] ** 2
        step = max(1, _PIECE // window) * window if patches.is_cpu else len(self.order)
        return zip(torch.split(self.order, step), torch.split(self.positions, step), strict=True)

    def _local(self, patches: Tensor, order: Tensor, positions: Tensor) -> Tensor:
        """Some whole windows through the blocks of the first two stages, and through the one that opens the third."""
        tokens = (patches.index_select(1, order) + positions).to(patches.dtype)
        for number in range(self.shape.local + 1):
            length = self.shape.runs(number, self.side)[0].length
            tokens = self.blocks[number](tokens, (Run(tokens.shape[1] // length, length, 0),))
        return tokens

    def _positions(self, grid: int) -> Tensor:
        """Positions (grid², width), row by row: a background scaled to the grid, and a window repeated over it."""
        background = functional.interpolate(self.pos_embed, size=(grid, grid), mode="bicubic")
        repeats = grid // self.shape.windows[0]
        return (background + self.pos_embed_window.tile(1, 1, repeats, repeats))[0].flatten(1).t()


class PatchEmbed(nn.Module):
    """Overlapping patches of 7 x 7 pixels as tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, 7, stride=PATCH_STEP, padding=3)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (n, 3, side, side) to tokens (n, (side / 4)², width), row by row."""
        pictures = pictures.to(self.proj.weight.dtype, memory_format=torch.channels_last)
        return self.proj(pictures).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention within windows and a small network, each on normalised tokens beside a shortcut.

    A block that opens a stage widens the tokens and pools each cell to one.
    """

    def __init__(self, width: int, out: int, heads: int, *, pools: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, out, heads, pools=pools)
        self.norm2 = nn.LayerNorm(out, eps=1e-6)
        self.mlp = MLP(out)
        self.proj = Linear(width, out) if pools else None

    def forward(self, tokens: Tensor, runs: Sequence[Run]) -> Tensor:
        """Tokens (n, t, width) in windows to tokens (n, t, out), or (n, t / 4, out) where the block pools."""
        inputs = self.norm1(tokens)
        if self.proj is not None:
            tokens = _pooled(self.proj(inputs), 1)
        tokens = self.attn(inputs, runs, tokens)
        return self.mlp(self.norm2(tokens), tokens)  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Self-attention within windows, one fused projection: rows of ``qkv`` are q, k, v in equal thirds."""

    def __init__(self, width: int, out: int, heads: int, *, pools: bool) -> None:
        super().__init__()
        self.heads = heads
        self.pools = pools
        self.qkv = Linear(width, 3 * out)
        self.proj = Linear(out, out)

    def forward(self, tokens: Tensor, runs: Sequence[Run], residual: Tensor) -> Tensor:
        """The residual plus what attention makes of tokens (n, t, width) in windows."""
        parts = torch.split(self.qkv(tokens), [run.windows * run.length for run in runs], dim=1)
        mixed = [self._mixed(part, run) for part, run in zip(parts, runs, strict=True)]
        return self.proj(mixed[0] if len(mixed) == 1 else torch.cat(mixed, dim=1), residual=residual)  # type: ignore[no-any-return]

    def _mixed(self, fused: Tensor, run: Run) -> Tensor:
        """Attention within the windows of one size: (n, t, 3 out) to (n, t, out), or a quarter of the tokens."""
        count = len(fused)
        query, key, value = fused.reshape(count * run.windows, run.length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if self.pools:
            query = _pooled(query, 2)
        if run.missing:
            key, value = self._completed(key, value, run.missing)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return mixed.transpose(1, 2).reshape(count, -1, self.proj.in_features)

    def _completed(self, key: Tensor, value: Tensor, missing: int) -> tuple[Tensor, Tensor]:
        """Keys and values with those of tokens beyond the edge: they are zeros, which leaves the projection's bias."""
        _, keys, values = self.qkv.bias.view(3, 1, self.heads, 1, -1).expand(-1, len(key), -1, missing, -1)
        return torch.cat([key, keys], dim=2), torch.cat([value, values], dim=2)


class MLP(nn.Module):
    """Two layers with an exact GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Linear(width, 4 * width), Linear(4 * width, width)])

    def forward(self, tokens: Tensor, residual: Tensor) -> Tensor:
        """The residual plus what the layers make of tokens (n, t, width)."""
        first, second = self.layers
        step = _ROWS if tokens.is_cpu else tokens.shape[1]
        pieces = zip(torch.split(tokens, step, dim=1), torch.split(residual, step, dim=1), strict=True)
        return torch.cat([second(first(piece, "gelu"), residual=beside) for piece, beside in pieces], dim=1)


def _block(shape: HieraShape, number: int) -> Block:
    stage, before = shape.stage(number), shape.stage(max(0, number - 1))
    return Block(shape.width << before, shape.width << stage, shape.heads << stage, pools=stage > before)


def _pooled(tokens: Tensor, dim: int) -> Tensor:
    """The largest of each cell's tokens, which follow each other along ``dim``."""
    cells = tokens.view(*tokens.shape[:dim], -1, POOLED, *tokens.shape[dim + 1 :])
    first, second, third, fourth = cells.unbind(dim + 1)
    # In pairs and not with amax, which takes twice as long in bfloat16 on a CPU.
    return torch.maximum(torch.maximum(first, second), torch.maximum(third, fourth))
