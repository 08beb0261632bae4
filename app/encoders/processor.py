"""From the image processor of a Hugging Face folder to our own transform, or a refusal that names the field."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import model_validator
from torch.nn import functional

from app.domain import Pixels
from app.encoders.json_file import read_json
from app.encoders.transform import Transform
from app.encoders.transformers_model import offline_transformers, transformers_unusable
from app.errors import BadInput

PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")

_RESAMPLE = {Image.Resampling.BILINEAR: "bilinear", Image.Resampling.BICUBIC: "bicubic"}
_DINOV3 = "DINOv3ViTImageProcessor"
_DINOV3_DEFAULTS = {
    "do_resize": True,
    "size": {"height": 224, "width": 224},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


class ProcessorTransform(Transform):
    """A ``[preprocess]`` table that follows transformers: the middle of a crop is rounded down.

    ``float_resize`` stretches values of 0..1 instead of bytes, with antialiasing, as DINOv3's processor does.
    """

    float_resize: bool = False

    @model_validator(mode="after")
    def _float_stretches(self) -> Self:
        if self.float_resize and (self.fit, self.resample) != ("stretch", "bilinear"):
            raise ValueError("float_resize goes with stretch and bilinear only")
        return self

    def tensor(self, pixels: Pixels) -> NDArray[np.float32]:
        """A picture (height, width[, 3]) as normalised float32 (3, size, size)."""
        return self._stretched(pixels) if self.float_resize else super().tensor(pixels)

    def _stretched(self, pixels: Pixels) -> NDArray[np.float32]:
        planes = torch.from_numpy(pixels.astype(np.float32)).reshape(*pixels.shape[:2], -1).permute(2, 0, 1)
        square = functional.interpolate(
            planes[None] * (1 / 255), size=(self.size, self.size), mode="bilinear", antialias=True
        )
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        values: NDArray[np.float32] = ((square[0].expand(3, -1, -1) - mean) / std).numpy()
        return values

    @staticmethod
    def _middle(room: int) -> int:
        return room // 2


def preprocess_of(folder: Path) -> dict[str, Any]:
    """The ``[preprocess]`` table that equals a folder's processor; raises BadInput ``unsupported_processor``.

    Equal means transformers' PIL backend, which resizes bytes as the models' first processors did; its torchvision
    backend resizes tensors and differs by a grey level here and there. DINOv3 has the latter only.
    """
    facts = _facts(folder)
    _require("do_resize", facts, facts.get("do_resize") is True)
    _require("do_rescale", facts, facts.get("do_rescale") is True)
    _require("rescale_factor", facts, abs(float(facts.get("rescale_factor") or 0) - 1 / 255) < 1e-9)
    _require("do_pad", facts, not facts.get("do_pad"))
    _require("resample", facts, facts.get("resample") in _RESAMPLE)
    normalised = bool(facts.get("do_normalize"))
    return {
        **_geometry(facts),
        "resample": _RESAMPLE[facts["resample"]],
        "mean": _colour("image_mean", facts) if normalised else [0.0] * 3,
        "std": _colour("image_std", facts) if normalised else [1.0] * 3,
    }


def _facts(folder: Path) -> dict[str, Any]:
    """What the processor of a folder does, with the defaults of its class filled in."""
    given = _given(folder)
    if _is_dinov3(given):
        return {**_DINOV3_DEFAULTS, **{key: value for key, value in given.items() if value is not None}}
    return _completed(folder)


def _given(folder: Path) -> dict[str, Any]:
    for name in reversed(PROCESSOR_FILES):  # transformers looks for the nested one first
        if not (folder / name).is_file():
            continue
        given = read_json(folder / name)
        nested = given.get("image_processor") if name == "processor_config.json" else given
        if isinstance(nested, dict):
            return nested
    raise BadInput(
        "files_missing",
        "the folder says nothing about the preparation of pictures",
        hint=f"put the model's {PROCESSOR_FILES[0]} into it",
    )


def _completed(folder: Path) -> dict[str, Any]:
    offline_transformers()
    try:
        from transformers import AutoImageProcessor
        from transformers.image_processing_backends import PilBackend
    except ImportError as error:
        raise transformers_unusable(error) from error
    try:
        processor = AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]
            str(folder), backend="pil", local_files_only=True, trust_remote_code=False
        )
    except (ValueError, TypeError, KeyError, AttributeError, ImportError, OSError) as error:
        raise _unsupported("image_processor_type", f"transformers does not know it ({type(error).__name__})") from error
    steps = ("_preprocess", "resize", "center_crop", "rescale", "normalize")
    if any(getattr(type(processor), step, None) is not getattr(PilBackend, step) for step in steps):
        raise _unsupported(
            "image_processor_type", f"{type(processor).__name__} does more than resize, crop and normalise"
        )
    return dict(processor.to_dict())


def _geometry(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Size and fit: a short side and a crop, or a stretch to a square; DINOv3's stretch has fractions."""
    size = {key: value for key, value in dict(facts.get("size") or {}).items() if value is not None}
    in_fractions = _is_dinov3(facts)
    crop = facts.get("crop_size") if facts.get("do_center_crop") else None
    if set(size) == {"height", "width"} and size["height"] == size["width"]:
        _require("crop_size", facts, crop is None or set(crop.values()) == {size["height"]})
        stretch = {"size": size["height"], "fit": "stretch"}
        if not in_fractions:
            return stretch
        _require("resample", facts, facts["resample"] == Image.Resampling.BILINEAR)
        return {**stretch, "float_resize": True}
    _require("size", facts, not in_fractions and set(size) == {"shortest_edge"} and crop is not None)
    sides = set(dict(crop or {}).values())
    _require("crop_size", facts, len(sides) == 1 and max(sides) <= size["shortest_edge"])
    return {"size": sides.pop(), "resize": size["shortest_edge"], "fit": "crop"}


def _is_dinov3(facts: Mapping[str, Any]) -> bool:
    return str(facts.get("image_processor_type")).removesuffix("Fast") == _DINOV3


def _colour(field: str, facts: Mapping[str, Any]) -> list[float]:
    values = facts.get(field)
    _require(field, facts, isinstance(values, list | tuple) and len(values) == 3)
    return [float(value) for value in values or ()]


def _require(field: str, facts: Mapping[str, Any], possible: bool) -> None:
    if not possible:
        raise _unsupported(field, f"it is {facts.get(field)!r}")


def _unsupported(field: str, why: str) -> BadInput:
    return BadInput(
        "unsupported_processor",
        f"the folder's preparation of pictures cannot be followed exactly: {field}, {why}",
        hint="resize (bilinear or bicubic) to a square, or short side and centre crop, values by 255, mean and std: "
        f"a {PROCESSOR_FILES[0]} that says no more than that can be used",
    )
