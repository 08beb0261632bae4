"""DINO (Caron et al. 2021) and DINOv2 (Oquab et al. 2023) from their official backbone files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from app.encoders.checkpoint import check_layout, read_checkpoint, state_dict
from app.encoders.device import Placement
from app.encoders.manifest import EncoderManifest
from app.encoders.network_encoder import NetworkEncoder
from app.encoders.transform import Transform
from app.encoders.vit import ViTShape, blank_vit, check_side, load_vit
from app.encoders.weights import WeightsFolder
from app.errors import BadInput

UNUSED = frozenset({"mask_token"})
"""Tensors of official files that only training needs (DINOv2's)."""


def convert_dino(manifest: EncoderManifest, files: Mapping[str, Path]) -> dict[str, Tensor]:
    """The tensors of an official backbone file; raises BadInput where it is another file."""
    shape = ViTShape.parse(manifest.network)
    check_side(shape, Transform.parse(manifest.preprocess).size)
    (path,) = files.values()
    content = read_checkpoint(path)
    _refuse_training_checkpoint(content)
    tensors = state_dict(path, content)
    return check_layout(tensors, blank_vit(shape), manifest.name, UNUSED)


def layout_dino(manifest: EncoderManifest) -> dict[str, Tensor]:
    """The tensors that are served, without memory."""
    return blank_vit(ViTShape.parse(manifest.network)).state_dict()


def open_dino(found: WeightsFolder, placement: Placement) -> NetworkEncoder:
    """The encoder of an installed folder; raises Misconfigured where weights or manifest are unusable."""
    manifest = found.manifest
    transform = Transform.parse(manifest.preprocess)
    shape = ViTShape.parse(manifest.network)
    network = load_vit(shape, found.tensors(), transform.size, placement)
    return NetworkEncoder(manifest, transform, network, placement)


def _refuse_training_checkpoint(content: Mapping[str, object]) -> None:
    if {"teacher", "student"} & set(content) or any(key.startswith("blocks.0.0.") for key in content):
        raise BadInput(
            "training_checkpoint",
            "this is a checkpoint of a training run, with a teacher and a student in it",
            hint="take the backbone file, whose name ends in _pretrain.pth: docs/models.md lists them",
        )
