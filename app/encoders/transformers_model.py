"""A transformers model from a config and tensors: complete, the image tower only, and no code of others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from app.encoders.checkpoint import read_checkpoint
from app.encoders.json_file import read_json
from app.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_TOWERS = {
    "clip": "CLIPVisionModelWithProjection",
    "clip_vision_model": "CLIPVisionModelWithProjection",
    "siglip": "SiglipVisionModel",
    "siglip_vision_model": "SiglipVisionModel",
}
"""Image towers by the ``model_type`` of the config; all other models are taken whole."""

_OF_TEXT = ("text_model.", "text_projection.", "logit_scale", "logit_bias")
_PROJECTION = "visual_projection.weight"
_SHAPES_VARY = ("siglip2", "siglip2_vision_model")
_SHOWN = 8  # keys named in an error


def image_tensors(files: Mapping[str, Path]) -> dict[str, Tensor]:
    """Floating tensors as float32, without a text tower and without buffers of indices."""
    tensors: dict[str, Tensor] = {}
    for name, path in files.items():
        if name.endswith(".safetensors"):
            tensors.update(read_checkpoint(path))
    return {
        key: tensor.float()
        for key, tensor in tensors.items()
        if tensor.is_floating_point() and not key.startswith(_OF_TEXT)
    }


def build_model(config_file: Path, tensors: Mapping[str, Tensor], output: str) -> PreTrainedModel:
    """The model of a config with these tensors, complete and nothing else; raises BadInput."""
    from transformers.utils import logging

    # What it would report is refused below, in our own words.
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        config, kind = _class_of(config_file, tensors)
        model, report = kind.from_pretrained(
            None,
            config=config,
            state_dict=_of_base_model(tensors, kind.__name__, kind.base_model_prefix),
            dtype=torch.float32,
            attn_implementation="sdpa" if kind._supports_sdpa else "eager",
            ignore_mismatched_sizes=True,  # reported and refused below, all at once
            output_loading_info=True,
            local_files_only=True,
        )
    except BadInput:
        raise
    except Exception as error:  # a config of anybody's making may fail anywhere in there
        raise unsupported_model(f"transformers cannot build it ({type(error).__name__})") from error
    _refuse_incomplete(report, output)
    return model.eval().requires_grad_(requires_grad=False)  # type: ignore[no-any-return]


def _class_of(config_file: Path, tensors: Mapping[str, Tensor]) -> tuple[PreTrainedConfig, Any]:
    import transformers

    given = read_json(config_file)
    kind = str(given.get("model_type"))
    if kind in _SHAPES_VARY:
        raise unsupported_model(
            "a NaFlex SigLIP 2 takes pictures of varying shape; its fixed-size versions can be used"
        )
    config = transformers.AutoConfig.for_model(**given)
    if kind not in _TOWERS:
        whole = transformers.MODEL_MAPPING.get(type(config), None)
        if hasattr(config, "vision_config") or getattr(whole, "main_input_name", None) != "pixel_values":
            raise unsupported_model(f"how to take an image tower out of {kind!r} is not known")
        return config, whole
    config = getattr(config, "vision_config", config)
    name = _TOWERS[kind]
    if _PROJECTION in tensors:
        config.projection_dim = tensors[_PROJECTION].shape[0]  # the whole model's, which its parts need not repeat
    else:
        name = name.removesuffix("WithProjection")
    return config, getattr(transformers, name)


def _of_base_model(tensors: Mapping[str, Tensor], kind: str, base: str) -> dict[str, Tensor]:
    """Without the head of a model that was trained for something else, such as a classifier."""
    inside = {key: tensor for key, tensor in tensors.items() if key.startswith(f"{base}.")}
    return inside if inside and kind not in _TOWERS.values() else dict(tensors)


def _refuse_incomplete(report: Mapping[str, Any], output: str) -> None:
    unused = ("pooler.", "mask_token") if output != "pooled" else ("mask_token",)
    missing = sorted(key for key in report["missing_keys"] if not any(part in key for part in unused))
    unexpected = sorted(report["unexpected_keys"])
    odd = [f"{key} is {tuple(given)}, not {tuple(wanted)}" for key, given, wanted in sorted(report["mismatched_keys"])]
    faults = [
        f"{label}: {', '.join(keys[:_SHOWN])}{f' and {len(keys) - _SHOWN} more' if len(keys) > _SHOWN else ''}"
        for label, keys in (("missing", missing), ("unexpected", unexpected), ("other shape", odd))
        if keys
    ]
    if faults or report["error_msgs"]:
        raise BadInput(
            "wrong_checkpoint",
            f"the weights do not belong to the folder's config.json; {'; '.join(faults)}",
            hint="fetch both from the same place; a missing pooler goes with --output cls or mean",
        )


def unsupported_model(why: str) -> BadInput:
    """The refusal of a folder, with the reason."""
    return BadInput(
        "unsupported_model",
        f"this folder cannot be served: {why}",
        hint="vision models that transformers knows can be used, and the image towers of CLIP and SigLIP; "
        "no code from a folder is run",
    )
