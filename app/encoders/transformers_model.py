"""A transformers model from a config and tensors: complete, the image tower only, no code of others, no network."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from app.encoders.checkpoint import as_float32, named_faults, read_checkpoint
from app.encoders.json_file import read_json
from app.errors import BadInput, Misconfigured

if TYPE_CHECKING:
    from types import ModuleType

    from transformers import PreTrainedConfig, PreTrainedModel

os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when Hugging Face's library is imported

_TOWERS = {
    "clip": "CLIPVisionModelWithProjection",
    "clip_vision_model": "CLIPVisionModelWithProjection",
    "siglip": "SiglipVisionModel",
    "siglip_vision_model": "SiglipVisionModel",
}
"""Image towers by the ``model_type`` of the config; all other models are taken whole."""

_OF_TEXT = ("text_model.", "text_projection.", "logit_scale", "logit_bias")
_PROJECTION = "visual_projection.weight"
_COUNTER = "num_batches_tracked"
"""A whole number of batch normalisation: no embedding needs it, but without it a model counts as incomplete."""

_SHAPES_VARY = ("siglip2", "siglip2_vision_model")
_BORROWED = ("backbone", "use_timm_backbone", "use_pretrained_backbone")
"""Fields of a config by which transformers takes a part of the network from a hub."""


def offline_transformers() -> ModuleType:
    """The package transformers, which asks no network; raises Misconfigured ``transformers_unusable``."""
    try:
        import transformers
        from huggingface_hub import constants
    except ImportError as error:
        raise transformers_unusable(error) from error
    constants.HF_HUB_OFFLINE = True  # also where something imported it before us
    return transformers


def transformers_unusable(error: ImportError) -> Misconfigured:
    """The refusal where transformers, or what it needs, cannot be imported."""
    return Misconfigured(
        "transformers_unusable",
        f"the package transformers cannot be used in this installation ({type(error).__name__})",
        hint="run the command where SonoSeek itself is installed, not in an environment for other packages",
    )


def refuse_borrowed(config_file: Path) -> None:
    """Raise BadInput ``unsupported_model`` where a config takes a part of its network from elsewhere.

    Comes before transformers sees the config: it would download that part while it builds the model.
    """
    for field, value in _fields(read_json(config_file)):
        if field in _BORROWED and value:
            raise unsupported_model(f"{field} in its config.json takes a part of the network from elsewhere")


def _fields(content: object) -> Iterator[tuple[str, object]]:
    """Every field of a JSON at any depth."""
    if isinstance(content, dict):
        yield from content.items()
    if isinstance(content, dict | list):
        for inner in content.values() if isinstance(content, dict) else content:
            yield from _fields(inner)


def image_tensors(files: Mapping[str, Path]) -> dict[str, Tensor]:
    """Floating tensors as float32 and counters, without a text tower and without buffers of indices."""
    tensors: dict[str, Tensor] = {}
    for name, path in files.items():
        if name.endswith(".safetensors"):
            tensors.update(read_checkpoint(path))
    return {
        key: as_float32(tensor) if tensor.is_floating_point() else tensor
        for key, tensor in tensors.items()
        if (tensor.is_floating_point() or key.endswith(_COUNTER)) and not key.startswith(_OF_TEXT)
    }


def build_model(config_file: Path, tensors: Mapping[str, Tensor], output: str) -> PreTrainedModel:
    """The model of a config with these tensors, complete and nothing else; raises BadInput."""
    refuse_borrowed(config_file)
    logging = offline_transformers().utils.logging
    # What it would report is refused below, in our own words.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
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
    faults = named_faults({"missing": missing, "unexpected": unexpected, "other shape": odd})
    if faults or report["error_msgs"]:
        raise BadInput(
            "wrong_checkpoint",
            f"the weights do not belong to the folder's config.json; {faults}",
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
