"""SAM 2 (Ravi et al. 2024): its image embedding, averaged over the picture, from the official files.

Files of the releases 2.0 and 2.1 hold one and the same image encoder with other weights; they differ only in parts
that are not served (``no_obj_embed_spatial`` came with 2.1), by which a file of the other release is recognised.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.encoders.checkpoint import check_layout, fill, read_checkpoint, state_dict
from app.encoders.device import Placement
from app.encoders.float_transform import FloatTransform
from app.encoders.manifest import EncoderManifest
from app.encoders.network_encoder import NetworkEncoder
from app.encoders.sam2_hiera import Hiera, HieraShape
from app.encoders.weights import WeightsFolder
from app.errors import BadInput, Misconfigured

_LEVELS = 4  # of the neck's lateral convolutions, from the last stage to the first
_USED_LEVELS = 2  # the image embedding takes in the last two stages
_NEW_IN_2_1 = frozenset({"no_obj_embed_spatial", "obj_ptr_tpos_proj"})
_NOT_SERVED = _NEW_IN_2_1 | {
    "mask_downsample",
    "maskmem_tpos_enc",
    "memory_attention",
    "memory_encoder",
    "no_mem_pos_enc",
    "no_obj_ptr",
    "obj_ptr_proj",
    "sam_mask_decoder",
    "sam_prompt_encoder",
}


class Sam2Shape(HieraShape):
    """What a manifest's ``[network]`` says: the image encoder, the channels of its neck, and the release."""

    channels: int = 256
    release: Literal["2.0", "2.1"]


class Sam2(nn.Module):
    """Pictures (n, 3, side, side) to the mean over the picture of SAM 2's image embedding, float32 (n, channels).

    The embedding is the lateral convolution of the third stage, plus that of the fourth scaled up by repeating,
    plus ``no_mem_embed``. Neither convolution nor repeating changes what a mean is, so means alone go through them.
    """

    def __init__(self, shape: Sam2Shape, levels: int = _USED_LEVELS) -> None:
        super().__init__()
        self.image_encoder = ImageEncoder(shape, levels)
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, shape.channels))

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures to features."""
        # One at a time on a CPU: a picture is 65,536 tokens, and more of them only leave the cache sooner.
        batches = torch.split(pictures, 1) if pictures.is_cpu else (pictures,)
        return torch.cat([self.image_encoder(batch) for batch in batches]) + self.no_mem_embed[0]


class ImageEncoder(nn.Module):
    """Pictures (n, 3, side, side) to the mean (n, channels) of the neck's map at a sixteenth of their side."""

    def __init__(self, shape: Sam2Shape, levels: int) -> None:
        super().__init__()
        self.trunk = Hiera(shape)
        self.neck = nn.Module()
        self.neck.convs = nn.ModuleList(Lateral(shape.width << 3 - level, shape.channels) for level in range(levels))

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures to features."""
        third, fourth = self.trunk(pictures)
        of_fourth, of_third = self.neck.convs  # type: ignore[misc]
        return of_third(third) + of_fourth(fourth)  # type: ignore[no-any-return]


class Lateral(nn.Module):
    """The mean of a convolution of 1 x 1 over a map."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, channels, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (n, t, width) of a map to float32 (n, channels)."""
        means = tokens.mean(dim=1, dtype=torch.float32)
        return functional.linear(means, self.conv.weight[:, :, 0, 0], self.conv.bias)


def convert_sam2(manifest: EncoderManifest, files: Mapping[str, Path]) -> dict[str, Tensor]:
    """The tensors of an official file that the image embedding needs; raises BadInput where it is another file.

    The whole image encoder is checked, with the two levels of its neck that are not served.
    """
    shape = Sam2Shape.parse(manifest.network)
    _check_side(FloatTransform.parse(manifest.preprocess).size)
    (path,) = files.values()
    tensors = state_dict(path, read_checkpoint(path), "model")
    parts = {key.partition(".")[0] for key in tensors}
    encoder = {key: tensor for key, tensor in tensors.items() if key.partition(".")[0] not in _NOT_SERVED}
    checked = check_layout(encoder, _blank(shape, _LEVELS), manifest.name)
    _refuse_other_release(shape, parts)
    return {key: checked[key] for key in _blank(shape).state_dict()}


def layout_sam2(manifest: EncoderManifest) -> dict[str, Tensor]:
    """The tensors that are served, without memory."""
    return _blank(Sam2Shape.parse(manifest.network)).state_dict()


def open_sam2(found: WeightsFolder, placement: Placement) -> NetworkEncoder:
    """The encoder of an installed folder; raises Misconfigured where weights or manifest are unusable."""
    manifest = found.manifest
    transform = FloatTransform.parse(manifest.preprocess)
    network = load_sam2(Sam2Shape.parse(manifest.network), found.tensors(), transform.size, placement)
    return NetworkEncoder(manifest, transform, network, placement)


def load_sam2(shape: Sam2Shape, tensors: Mapping[str, Tensor], side: int, placement: Placement) -> Sam2:
    """A network with weights, ready for pictures of ``side`` pixels on a device.

    Raises Misconfigured ``bad_weights`` or ``bad_preprocess``.
    """
    _check_side(side)
    network = _blank(shape)
    fill(network, tensors)
    network.to(placement.device).image_encoder.trunk.make_ready(side, placement)
    return network


def _blank(shape: Sam2Shape, levels: int = _USED_LEVELS) -> Sam2:
    """A network whose tensors have shapes but no memory yet."""
    with torch.device("meta"):
        return Sam2(shape, levels)


def _check_side(side: int) -> None:
    if side % 32:
        raise Misconfigured(
            "bad_preprocess",
            f"pictures of {side} pixels cannot be halved by SAM 2's four stages",
            hint="take a size that is a multiple of 32: 1024 is the official one",
        )


def _refuse_other_release(shape: Sam2Shape, parts: set[str]) -> None:
    release = "2.1" if parts & _NEW_IN_2_1 else "2.0"
    if release != shape.release:
        raise BadInput(
            "wrong_checkpoint",
            f"this file is of SAM {release}, not of SAM {shape.release}",
            hint="the names of the files and of the encoders begin with sam2_ and sam2- or with sam2.1_ and sam2.1-",
        )
