"""The image towers of OpenCLIP models, in both of its layouts, as one plain vision transformer.

``visual.transformer.*`` is OpenCLIP's own tower, ``visual.trunk.*`` one of timm's, whose names are ours. The
text tower of a whole model is left out. What decides an embedding beside the weights stands in the model's
JSON (``open_clip_config.json``), which therefore has to lie beside them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from app.encoders.checkpoint import check_layout
from app.encoders.device import Placement
from app.encoders.dino import layout_dino, open_dino
from app.encoders.json_file import read_json
from app.encoders.manifest import EncoderManifest
from app.encoders.network_encoder import NetworkEncoder
from app.encoders.openclip_tower import measured_shape, read_tower
from app.encoders.transform import Transform
from app.encoders.vit import HEAD, ViTShape, blank_vit, check_side
from app.encoders.weights import WeightsFolder
from app.errors import BadInput

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")

_TIMM_NAME = re.compile(
    r"^vit_(?:tiny|xsmall|small|medium|betwixt|base|large|huge|giant|gigantic)"
    r"_patch\d+(?:_plus)?(_clip)?(_quickgelu)?_\d+$"
)
_CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
_CLIP_STD = [0.26862954, 0.26130258, 0.27577711]
_FITS = {"shortest": "crop", "longest": "pad", "squash": "stretch"}
_PLAIN: dict[str, tuple[object, ...]] = {
    "attentional_pool": (False, None),
    "pool_type": ("tok",),
    "act_kwargs": (None, {}),
    "block_type": (None, "default"),
    "qk_norm": (False,),
    "scaled_cosine_attn": (False,),
    "scale_heads": (False,),
    "scale_attn_inner": (False,),
    "scale_attn": (False,),
    "scale_fc": (False,),
}
"""Values of ``vision_cfg`` that a plain tower has; other ones are refused."""


def files_of(folder: Path, weights: Path | None = None) -> dict[str, Path] | None:
    """The model's JSON and its weights by the names that are used here, or None where a folder has no such JSON.

    FetalCLIP and others name both files freely, so any JSON with a ``vision_cfg`` will do. Raises BadInput where
    no ``weights`` are given and there is not exactly one file of them.
    """
    config = next((path for path in _jsons(folder) if _model_config(path) is not None), None)
    if config is None:
        return None
    if weights is not None:
        return {CONFIG: config, "weights": weights}
    named = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    found = named[:1] or sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    if len(found) != 1:
        raise BadInput(
            "files_missing",
            f"beside {config.name} there should be one file of weights, not {len(found)}",
            hint=f"put {' or '.join(WEIGHTS)} into the folder",
        )
    return {CONFIG: config, "weights": found[0]}


def describe_openclip(name: str, files: Mapping[str, Path], licence: str, output: str) -> EncoderManifest:
    """The manifest of an image tower; raises BadInput where it cannot be served exactly."""
    config = _model_config(files[CONFIG]) or {}
    vision = dict(config.get("vision_cfg") or {})
    tensors = read_tower(files["weights"])
    shape = _timm_shape(vision, tensors) if vision.get("timm_model_name") else _own_shape(config, vision, tensors)
    network = {**shape, **_output(output, tensors)}
    preprocess = _preprocess(vision, dict(read_json(files[CONFIG]).get("preprocess_cfg") or {}))
    blank = blank_vit(ViTShape.parse(network))
    return EncoderManifest(
        name=name,
        kind="openclip",
        dim=network.get("projection") or network["width"],
        parameters=sum(tensor.numel() for tensor in blank.state_dict().values()),
        licence=licence,
        description=f"image tower of a local OpenCLIP model, output {output}",
        preprocess=preprocess,
        network=network,
    )


def convert_openclip(manifest: EncoderManifest, files: Mapping[str, Path]) -> dict[str, Tensor]:
    """The image tower's tensors under our names; raises BadInput where something is missing."""
    shape = ViTShape.parse(manifest.network)
    check_side(shape, Transform.parse(manifest.preprocess).size)
    unused = frozenset() if shape.projection else frozenset({"proj.weight"})
    return check_layout(read_tower(files["weights"]), blank_vit(shape), manifest.name, unused)


def layout_openclip(manifest: EncoderManifest) -> dict[str, Tensor]:
    """The tensors that are served, on torch's ``meta`` device."""
    return dict(layout_dino(manifest))


def open_openclip(found: WeightsFolder, placement: Placement) -> NetworkEncoder:
    """The encoder of an installed folder: the same network as DINO's."""
    return open_dino(found, placement)


def _jsons(folder: Path) -> list[Path]:
    named = folder / CONFIG
    return [named] if named.is_file() else sorted(folder.glob("*.json"))


def _model_config(path: Path) -> dict[str, Any] | None:
    """The part of a JSON that describes the model, or None; some files have nothing else in them."""
    try:
        content = read_json(path)
    except BadInput:  # a vocabulary, say
        return None
    model = content.get("model_cfg", content)
    return model if isinstance(model, dict) and isinstance(model.get("vision_cfg"), dict) else None


def _own_shape(config: Mapping[str, Any], vision: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """``[network]`` of OpenCLIP's own tower, with the defaults of its configuration."""
    for field, plain in _PLAIN.items():
        if vision.get(field, plain[0]) not in plain:
            raise _unsupported(f"vision_cfg.{field}", vision[field])
    norm = dict(vision.get("norm_kwargs") or {})
    if set(norm) - {"eps"}:
        raise _unsupported("vision_cfg.norm_kwargs", norm)
    if isinstance(vision.get("layers"), list):
        raise _unsupported("vision_cfg.layers", "that of a ResNet")
    return {
        **measured_shape(tensors),
        "width": int(vision.get("width", 768)),
        "depth": int(vision.get("layers", 12)),
        "patch": int(vision.get("patch_size", 16)),
        "head": int(vision.get("head_width", HEAD)),
        "mlp": "quick_gelu" if config.get("quick_gelu") else "gelu",
        "epsilon": float(norm.get("eps", 1e-5)),
    }


def _timm_shape(vision: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """``[network]`` of a timm tower: its name decides on activation and norm, not ``quick_gelu``."""
    name = str(vision["timm_model_name"]).split(".")[0]
    known = _TIMM_NAME.match(name)
    if known is None or (known[2] and not known[1]):
        raise _unsupported("vision_cfg.timm_model_name", name)
    pool, projection = vision.get("timm_pool", "avg"), vision.get("timm_proj", "linear")
    if (pool, projection) not in {("", "linear"), ("token", "linear"), ("token", "none")}:
        raise _unsupported("vision_cfg.timm_pool and timm_proj", f"{pool!r} and {projection!r}")
    if vision.get("timm_proj_bias"):
        raise _unsupported("vision_cfg.timm_proj_bias", vision["timm_proj_bias"])
    shape = measured_shape(tensors)
    return {
        **shape,
        "head": HEAD if shape["width"] <= 1024 else shape["width"] // 16,
        "mlp": "quick_gelu" if known[2] else "gelu",
        "epsilon": 1e-5 if known[1] else 1e-6,
    }


def _output(output: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    if output == "pooled":
        projection = tensors.get("proj.weight")
        return {"output": "cls"} if projection is None else {"output": "projected", "projection": projection.shape[0]}
    if output in ("cls", "mean"):
        return {"output": output}
    raise BadInput("no_such_output", f"there is no output {output!r}", hint="choose --output cls, pooled or mean")


def _preprocess(vision: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """``[preprocess]`` with OpenCLIP's defaults; the size is always the tower's."""
    size = _side(vision.get("image_size", 224))
    mode, resample = given.get("resize_mode") or "shortest", given.get("interpolation") or "bicubic"
    if mode not in _FITS:
        raise _unsupported("preprocess_cfg.resize_mode", mode)
    if resample not in ("bicubic", "bilinear", "random"):
        raise _unsupported("preprocess_cfg.interpolation", resample)
    if mode == "longest" and given.get("fill_color"):
        raise _unsupported("preprocess_cfg.fill_color", given["fill_color"])
    return {
        "size": size,
        "fit": _FITS[mode],
        "resample": "bilinear" if resample == "bilinear" else "bicubic",
        "mean": _colour(given.get("mean"), _CLIP_MEAN),
        "std": _colour(given.get("std"), _CLIP_STD),
    }


def _side(size: object) -> int:
    sides = set(size) if isinstance(size, list) else {size}
    side = sides.pop() if len(sides) == 1 else None
    if not isinstance(side, int):
        raise _unsupported("vision_cfg.image_size", size)
    return side


def _colour(given: object, default: list[float]) -> list[float]:
    if isinstance(given, list):
        return [float(value) for value in given]
    return [float(given)] * 3 if isinstance(given, int | float) and given else default


def _unsupported(field: str, value: object) -> BadInput:
    return BadInput(
        "unsupported_model",
        f"this OpenCLIP model cannot be served exactly: {field} is {value!r}",
        hint="plain vision transformers with a class token can be used; "
        "where the same model is published as a Hugging Face folder, take that",
    )
