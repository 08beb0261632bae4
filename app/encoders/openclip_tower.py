"""The tensors of an OpenCLIP image tower under the names of our vision transformer, and the shape they have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from app.encoders.checkpoint import read_checkpoint, state_dict
from app.errors import BadInput

_OWN = (
    (r"^conv1\.weight$", "patch_embed.proj.weight"),
    (r"^class_embedding$", "cls_token"),
    (r"^positional_embedding$", "pos_embed"),
    (r"^ln_pre\.", "pos_drop."),
    (r"^ln_post\.", "norm."),
    (r"^proj$", "proj.weight"),
    (r"^transformer\.resblocks\.", "blocks."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.ls_([12])\.", r".ls\1."),
    (r"\.attn\.in_proj_", ".attn.qkv."),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)
_TIMM = (
    (r"^trunk\.norm_pre\.", "pos_drop."),
    (r"^trunk\.", ""),
    (r"^head\.proj\.", "proj."),
)


def read_tower(path: Path) -> dict[str, Tensor]:
    """The image tower of a whole model, or a tower alone, under our names."""
    content = read_checkpoint(path)
    tensors = state_dict(path, content, *(["state_dict"] if "state_dict" in content else []))
    if all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): tensor for key, tensor in tensors.items()}
    whole = any(key.startswith("visual.") for key in tensors)
    tower = {
        key.removeprefix("visual."): tensor for key, tensor in tensors.items() if key.startswith("visual.") or not whole
    }
    if not {"class_embedding", "trunk.cls_token"} & set(tower):
        raise BadInput(
            "wrong_checkpoint",
            "the weights hold no vision transformer of OpenCLIP with a class token",
            hint="the weights of visual.transformer and visual.trunk with a class token can be used; "
            "for SigLIP take the Hugging Face folder",
        )
    return _renamed(tower)


def _renamed(tower: Mapping[str, Tensor]) -> dict[str, Tensor]:
    own = "class_embedding" in tower
    renamed = {}
    for key, tensor in tower.items():
        name = key
        for pattern, ours in _OWN if own else _TIMM:
            name = re.sub(pattern, ours, name)
        renamed[name] = tensor
    if own:
        renamed["cls_token"] = renamed["cls_token"].reshape(1, 1, -1)
        for key in ("pos_embed", "proj.weight"):
            if key in renamed and renamed[key].ndim == 2:  # theirs multiplies from the right, and has no batch
                renamed[key] = renamed[key].T.contiguous() if key == "proj.weight" else renamed[key][None]
    return renamed


def measured_shape(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the tensors themselves say of a shape."""
    try:
        width, _, patch, _ = tensors["patch_embed.proj.weight"].shape
        hidden = tensors["blocks.0.mlp.fc1.weight"].shape[0]
        grid = round((tensors["pos_embed"].shape[1] - 1) ** 0.5)
    except (KeyError, ValueError, IndexError) as error:
        raise BadInput(
            "wrong_checkpoint",
            "the weights hold no vision transformer of OpenCLIP: patches, positions or blocks are missing",
            hint="compare the file with that of the place it comes from",
        ) from error
    return {
        "width": width,
        "depth": 1 + max(int(key.split(".")[1]) for key in tensors if re.match(r"blocks\.\d+\.", key)),
        "patch": patch,
        "grid": grid,
        "hidden": hidden,
        "layer_scale": "blocks.0.ls1.gamma" in tensors,
        "norm_before": "pos_drop.weight" in tensors,
        "patch_bias": "patch_embed.proj.bias" in tensors,
        "positions": "antialias",
    }
