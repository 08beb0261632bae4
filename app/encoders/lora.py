"""Low-rank adaptations (Hu et al. 2021) as peft stores them, merged into the weights that they adapt."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from app.encoders.checkpoint import as_float32
from app.encoders.vit import ViTShape
from app.errors import BadInput

_READ = {"peft_type", "r", "lora_alpha", "target_modules", "bias", "init_lora_weights"}
# These say where the file comes from or how it was trained; once trained they change no number.
_HARMLESS = {
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "layers_pattern",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "task_type",
}
_INITIAL = (True, False, "gaussian")  # the others change the weights that are adapted
_KEY = re.compile(r"base_model\.model\.extractor_list\.(\d+)\.model\.blocks\.(\d+)\.attn\.qkv\.lora_([AB])\.weight")


@dataclass(frozen=True, slots=True)
class Adapter:
    """The factors of every branch's ``attn.qkv``: (branch, block, "A" or "B") -> tensor, and what scales them."""

    rank: int
    scale: float
    factors: Mapping[tuple[int, int, str], Tensor]

    @classmethod
    def read(cls, config: bytes, tensors: Mapping[str, Tensor], shapes: list[ViTShape]) -> Self:
        """An adapter of some towers; raises BadInput ``bad_adapter`` or ``wrong_checkpoint``."""
        rank, scale = _numbers(config)
        factors = {_place(key): tensor for key, tensor in tensors.items()}
        _check(factors, rank, shapes)
        return cls(rank, scale, factors)

    def merge(self, branch: int, tensors: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
        """The tensors of one tower with W + (alpha / r) B A in the place of each ``attn.qkv.weight`` W."""
        merged = dict(tensors)
        for block in range(depth):
            down, up = (as_float32(self.factors[branch, block, side]) for side in "AB")
            key = f"blocks.{block}.attn.qkv.weight"
            merged[key] = tensors[key] + self.scale * (up @ down)
        return merged


def _numbers(config: bytes) -> tuple[int, float]:
    """Rank and scale of an adapter_config.json that holds nothing but plain LoRA on ``qkv``."""
    facts = _parsed(config)
    targets = facts.get("target_modules")
    named = [targets] if isinstance(targets, str) else targets if isinstance(targets, list) else []
    odd = sorted(key for key, value in facts.items() if key not in _READ | _HARMLESS and _says_something(value))
    if not named or any(name not in ("qkv", "attn.qkv") for name in named):
        odd.append("target_modules")
    odd.extend(
        key
        for key, values in (("peft_type", ("LORA", None)), ("bias", ("none", None)), ("init_lora_weights", _INITIAL))
        if facts.get(key, values[0]) not in values
    )
    if odd:
        raise _bad_adapter(f"it asks for more than plain LoRA on qkv: {', '.join(odd)}")
    rank, alpha = facts.get("r"), facts.get("lora_alpha")
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise _bad_adapter("it lacks r or lora_alpha")
    return rank, alpha / rank


def _parsed(config: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(config)
    except ValueError:  # of which wrong JSON and wrong UTF-8 are kinds
        raise _bad_adapter("it is no JSON") from None
    if not isinstance(facts, dict):
        raise _bad_adapter("it is no table")
    return facts


def _says_something(value: object) -> bool:
    """Whether a setting differs from not being there; a table of empty settings does not."""
    return any(_says_something(inner) for inner in value.values()) if isinstance(value, dict) else bool(value)


def _place(key: str) -> tuple[int, int, str]:
    if found := _KEY.fullmatch(key):
        return int(found[1]), int(found[2]), found[3]
    raise _wrong(f"unexpected: {key}")


def _check(factors: Mapping[tuple[int, int, str], Tensor], rank: int, shapes: list[ViTShape]) -> None:
    expected = {
        (branch, block, side): (rank, shape.width) if side == "A" else (3 * shape.width, rank)
        for branch, shape in enumerate(shapes)
        for block in range(shape.depth)
        for side in "AB"
    }
    if missing := sorted(expected.keys() - factors.keys()):
        raise _wrong(f"missing: {_named(missing[0])} and {len(missing) - 1} more")
    if unexpected := sorted(factors.keys() - expected.keys()):
        raise _wrong(f"unexpected: {_named(unexpected[0])} and {len(unexpected) - 1} more")
    for place, shape in expected.items():
        if tuple(factors[place].shape) != shape or not torch.is_floating_point(factors[place]):
            raise _wrong(f"{_named(place)} is {tuple(factors[place].shape)}, not {shape}")


def _named(place: tuple[int, int, str]) -> str:
    branch, block, side = place
    return f"lora_{side} of block {block} of branch {branch}"


def _wrong(what: str) -> BadInput:
    return BadInput(
        "wrong_checkpoint",
        f"the adapter does not fit the networks that it adapts; {what}",
        hint="take the official zip that belongs to this name: docs/models.md lists them",
    )


def _bad_adapter(what: str) -> BadInput:
    return BadInput(
        "bad_adapter",
        f"adapter_config.json cannot be used: {what}",
        hint="take the official zip that belongs to this name: docs/models.md lists them",
    )
