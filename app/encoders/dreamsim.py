"""DreamSim (Fu et al. 2023): towers tuned to what people find alike, their features centred and joined."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from app.encoders.checkpoint import check_layout
from app.encoders.device import Placement
from app.encoders.dino import UNUSED
from app.encoders.dreamsim_files import BASES, open_official
from app.encoders.lora import Adapter
from app.encoders.manifest import EncoderManifest
from app.encoders.network_encoder import NetworkEncoder
from app.encoders.table import ManifestTable
from app.encoders.transform import Colour, Transform
from app.encoders.vit import ViT, ViTShape, blank_vit, check_side, load_vit
from app.encoders.weights import WeightsFolder


class Branch(BaseModel):
    """One tower: its name, how it wants values of 0..1 normalised, its shape."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    mean: Colour
    std: Colour
    shape: ViTShape

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.name not in BASES:
            raise ValueError("no such branch")
        return self


class DreamSimShape(ManifestTable):
    """What a manifest's ``[network]`` says: the branches in order, and how their joined features are normalised.

    ``centred`` (DreamSim 0.2.1) takes a vector's own mean off before it divides by the length, ``l2`` (before)
    does not. A branch whose output is ``tokens`` gives the class token beside the mean of the patches, each
    token normalised before.
    """

    table = "network"

    normalise: Literal["centred", "l2"] = "centred"
    branches: tuple[Branch, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _tokens_alone(self) -> Self:
        if len(self.branches) > 1 and any(branch.shape.output == "tokens" for branch in self.branches):
            raise ValueError("the tokens of several branches cannot be joined")
        return self

    @property
    def adapter(self) -> str:
        """The folder of the adapter in the official zip."""
        if len(self.branches) > 1:
            return "ensemble_lora"
        (branch,) = self.branches
        return f"{branch.name}_{'patch' if branch.shape.output == 'tokens' else 'single'}_lora"


class DreamSim(nn.Module):
    """Pictures (n, 3, side, side) of values 0..1 to features (n, dim)."""

    _mean: Tensor
    _std: Tensor

    def __init__(self, shape: DreamSimShape, towers: list[ViT]) -> None:
        super().__init__()
        self.towers = nn.ModuleList(towers)
        self._centred = shape.normalise == "centred"
        for name in ("mean", "std"):
            colours = torch.tensor([getattr(branch, name) for branch in shape.branches])
            self.register_buffer(f"_{name}", colours[:, None, :, None, None], persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Every tower's features side by side, normalised once over all of them."""
        views = (pictures - self._mean) / self._std
        features = [tower(view).float() for tower, view in zip(self.towers, views, strict=True)]
        joined = self._normalised(torch.cat(features, dim=-1))
        if joined.ndim == 2:
            return joined
        return torch.cat([joined[:, 0], joined[:, 1:].mean(dim=1)], dim=-1)

    def _normalised(self, features: Tensor) -> Tensor:
        if self._centred:
            features = features - features.mean(dim=-1, keepdim=True)
        lengths: Tensor = features.norm(dim=-1, keepdim=True)
        return features / lengths


def convert_dreamsim(manifest: EncoderManifest, files: Mapping[str, Path]) -> dict[str, Tensor]:
    """The towers of the official zip and of the backbones beside it, adapters merged, prefixed by branch.

    Raises BadInput where a part is missing or another one, Misconfigured for the manifest.
    """
    plan = DreamSimShape.parse(manifest.network)
    side = Transform.parse(manifest.preprocess).size
    shapes = [branch.shape for branch in plan.branches]
    for shape in shapes:
        check_side(shape, side)
    served: dict[str, Tensor] = {}
    with open_official(files) as official:
        adapter = Adapter.read(*official.adapter(plan.adapter), shapes)
        for number, branch in enumerate(plan.branches):
            blank, what = blank_vit(branch.shape), f"{branch.name} of {manifest.name}"
            tensors = check_layout(official.base(branch.name), blank, what, UNUSED)
            merged = adapter.merge(number, tensors, branch.shape.depth)
            served.update({f"{branch.name}.{key}": tensor for key, tensor in merged.items()})
    return served


def layout_dreamsim(manifest: EncoderManifest) -> dict[str, Tensor]:
    """The tensors that are served, without memory."""
    return {
        f"{branch.name}.{key}": tensor
        for branch in DreamSimShape.parse(manifest.network).branches
        for key, tensor in blank_vit(branch.shape).state_dict().items()
    }


def open_dreamsim(found: WeightsFolder, placement: Placement) -> NetworkEncoder:
    """The encoder of an installed folder; raises Misconfigured where weights or manifest are unusable."""
    manifest = found.manifest
    transform = Transform.parse(manifest.preprocess)
    plan = DreamSimShape.parse(manifest.network)
    tensors = found.tensors()
    towers = [
        load_vit(branch.shape, _of_branch(tensors, branch), transform.size, placement) for branch in plan.branches
    ]
    return NetworkEncoder(manifest, transform, DreamSim(plan, towers), placement)


def _of_branch(tensors: Mapping[str, Tensor], branch: Branch) -> dict[str, Tensor]:
    start = f"{branch.name}."
    return {key.removeprefix(start): tensor for key, tensor in tensors.items() if key.startswith(start)}
