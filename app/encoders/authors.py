"""Encoders as their authors' own packages build and feed them, from the official files.

``dreamsim`` (its own network, and DINO's as Facebook Research wrote it), ``sam2``, and ``timm`` for DINOv2, whose
authors publish no package. They come with the extra ``original`` and are imported only when asked for.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from app.encoders.checkpoint import read_checkpoint, state_dict
from app.encoders.dreamsim_files import open_official
from app.encoders.manifest import EncoderManifest
from app.errors import BadInput, Misconfigured

_TIMM_SIZES = {384: "small", 768: "base", 1024: "large", 1536: "giant"}
_SAM2_CONFIGS = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}
_THEIR_WAY: Mapping[str, Mapping[str, object]] = {
    "dino": {"fit": "crop"},
    "sam2": {"fit": "stretch"},
    "dreamsim": {"fit": "stretch", "size": 224},
}
"""What of a manifest's preprocessing cannot be another with the authors' code; another size can."""

_TORCHVISION_OPERATORS = ("nms", "qnms")
_kept: list[Any] = []  # a declaration lives as long as its library


class Authors(NamedTuple):
    """``prepare`` makes a tensor (3, side, side) of an RGB picture, ``network`` features (n, dim) of a batch."""

    prepare: Callable[[Image.Image], Tensor]
    network: nn.Module


def authors_encoder(manifest: EncoderManifest, files: Mapping[str, Path], device: str = "cpu") -> Authors:
    """The authors' encoder from the official files; raises BadInput or Misconfigured."""
    family = manifest.kind.removesuffix("-package")
    _refuse_other_preparation(family, manifest.preprocess)
    if family not in _BUILDERS:
        raise Misconfigured(
            "no_original",
            f"there is no package of the authors for encoders of the kind {manifest.kind!r}",
            hint=f"there is one for: {', '.join(_BUILDERS)}",
        )
    with warnings.catch_warnings(action="ignore"):  # of packages that nobody here can change
        import_torchvision()
        try:
            return _BUILDERS[family](manifest, files, device)
        except ImportError as error:
            raise _packages_missing(error) from error
        except (RuntimeError, KeyError, OSError, pickle.UnpicklingError) as error:
            raise BadInput(
                "original_refuses",
                f"the authors' package cannot use the official files of {manifest.name!r} ({type(error).__name__})",
                hint="take the official files as they were published",
            ) from error


def _refuse_other_preparation(family: str, table: Mapping[str, Any]) -> None:
    """The packages prepare pictures in their own way, whatever a manifest says."""
    other = [key for key, value in _THEIR_WAY.get(family, {}).items() if table.get(key) != value]
    if other:
        raise Misconfigured(
            "no_original",
            f"the authors' code does not prepare pictures with {', '.join(f'{key} = {table[key]!r}' for key in other)}",
            hint="leave --fit and --size out; only an encoder with the official preparation can be compared",
        )


@cache
def import_torchvision() -> None:
    """Import torchvision, also where its build has no operators that fit this torch; nobody here calls them."""
    os.environ.setdefault("XFORMERS_DISABLED", "1")
    try:
        import torchvision
    except ImportError as error:
        raise _packages_missing(error) from error
    except RuntimeError:  # torchvision::nms does not exist
        library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for name in _TORCHVISION_OPERATORS:
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept.append(library)
        import torchvision  # noqa: F401


def _dino(manifest: EncoderManifest, files: Mapping[str, Path], _: str) -> Authors:
    (path,) = files.values()
    tensors = state_dict(path, read_checkpoint(path))
    build = _dinov2 if "blocks.0.ls1.gamma" in tensors else _dino_network
    size = manifest.preprocess["size"]
    return Authors(_resize_and_crop(manifest), build(manifest.network, tensors, size))


def _dino_network(shape: Mapping[str, Any], tensors: dict[str, Tensor], _: int) -> nn.Module:
    from dreamsim.feature_extraction.vision_transformer import VisionTransformer

    network = VisionTransformer(
        img_size=[shape["grid"] * shape["patch"]],
        patch_size=shape["patch"],
        embed_dim=shape["width"],
        depth=shape["depth"],
        num_heads=shape["width"] // 64,
        qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    network.load_state_dict(tensors)
    return network  # type: ignore[no-any-return]


def _dinov2(shape: Mapping[str, Any], tensors: dict[str, Tensor], size: int) -> nn.Module:
    """The network of timm: the same but for positions, which it resizes as only files with registers want it."""
    import timm
    from timm.models.vision_transformer import checkpoint_filter_fn

    kind = "reg4_dinov2" if "register_tokens" in tensors else "dinov2"
    name = f"vit_{_TIMM_SIZES[shape['width']]}_patch{shape['patch']}_{kind}"
    network: nn.Module = timm.create_model(name, img_size=size, depth=shape["depth"], num_classes=0)
    if kind == "dinov2":
        tensors["pos_embed"] = _authors_positions(tensors["pos_embed"], shape["patch"], size)
    tensors.setdefault("mask_token", torch.zeros(1))  # timm knows DINOv2's files by it
    network.load_state_dict(checkpoint_filter_fn(tensors, network))
    return network


def _authors_positions(positions: Tensor, patch: int, size: int) -> Tensor:
    """Positions for pictures of another size, by DINO's code; DINOv2's does the same but in files with registers."""
    from dreamsim.feature_extraction.vision_transformer import VisionTransformer

    module = SimpleNamespace(pos_embed=positions, patch_embed=SimpleNamespace(patch_size=patch))
    tokens = torch.empty(1, 1 + (size // patch) ** 2, positions.shape[-1])
    with torch.no_grad():
        scaled: Tensor = VisionTransformer.interpolate_pos_encoding(module, tokens, size, size)
    return scaled


def _resize_and_crop(manifest: EncoderManifest) -> Callable[[Image.Image], Tensor]:
    """The published transform of DINO and DINOv2."""
    from torchvision import transforms

    table = manifest.preprocess
    return transforms.Compose(  # type: ignore[no-any-return]
        [
            transforms.Resize(table["resize"], interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(table["size"]),
            transforms.ToTensor(),
            transforms.Normalize(table["mean"], table["std"]),
        ]
    )


class _Sam2(nn.Module):
    """What ``SAM2ImagePredictor.set_image`` keeps as the image's embedding, its mean over the map."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, pictures: Tensor) -> Tensor:
        _, features, _, _ = self.model._prepare_backbone_features(self.model.forward_image(pictures))
        top: Tensor = features[-1]  # (pixels, n, channels)
        if self.model.directly_add_no_mem_embed:
            top = top + self.model.no_mem_embed
        return top.mean(dim=0)


def _sam2(manifest: EncoderManifest, files: Mapping[str, Path], device: str) -> Authors:
    from sam2.build_sam import build_sam2
    from sam2.utils.transforms import SAM2Transforms

    ((name, path),) = files.items()
    read_checkpoint(path)  # refuses with a reason what the package would only fail at
    version, size = re.fullmatch(r"(sam2(?:\.1)?)_hiera_(\w+)\.pt", name).groups()  # type: ignore[union-attr]
    config = f"configs/{version}/{version}_hiera_{_SAM2_CONFIGS[size]}.yaml"
    side = manifest.preprocess["size"]
    model = build_sam2(config, str(path), device, hydra_overrides_extra=[f"++model.image_size={side}"])
    return Authors(SAM2Transforms(side, mask_threshold=0.0), _Sam2(model))


class _DreamSim(nn.Module):
    """``embed`` of the authors' model; the patch variants' tokens are pooled as its ``forward`` does it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, pictures: Tensor) -> Tensor:
        embedded: Tensor = self.model.embed(pictures)
        if embedded.ndim == 2:
            return embedded
        return torch.cat([embedded[:, 0], embedded[:, 1:].mean(dim=1)], dim=-1)


def _dreamsim(manifest: EncoderManifest, files: Mapping[str, Path], device: str) -> Authors:
    from dreamsim import dreamsim

    name = re.fullmatch(r"dreamsim_(\w+)_checkpoint\.zip", next(n for n in files if n.endswith(".zip"))).group(1)  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory(prefix="sonoseek-") as folder, _instead_of_torch_hub(manifest, files):
        with open_official(files) as official:
            official.copy_for_package(Path(folder))
        _put_beside(files, Path(folder))
        with contextlib.redirect_stdout(io.StringIO()):
            model, prepare = dreamsim(
                device=device,
                cache_dir=folder,
                normalize_embeds=manifest.network["normalise"] == "centred",
                dreamsim_type=name.removesuffix("_patch"),
                use_patch_model=name.endswith("_patch"),
            )
    return Authors(lambda picture: prepare(picture)[0], _DreamSim(model))


def _put_beside(files: Mapping[str, Path], folder: Path) -> None:
    """Backbones where the package looks for them, lest it takes the zip for incomplete and downloads it again."""
    for name, path in files.items():
        if name.endswith(".pth") and not (folder / name).exists():
            (folder / name).symlink_to(path.resolve())


@contextlib.contextmanager
def _instead_of_torch_hub(manifest: EncoderManifest, files: Mapping[str, Path]) -> Iterator[None]:
    """DreamSim takes its DINO backbones, and their code, through torch.hub: here they come from the files."""
    hub: Any = torch.hub
    was = hub.load, hub.set_dir, hub.download_url_to_file
    hub.load = lambda _, name: _backbone(name, manifest, files)
    hub.set_dir = lambda _: None
    hub.download_url_to_file = _refuse_download
    try:
        yield
    finally:
        hub.load, hub.set_dir, hub.download_url_to_file = was


def _refuse_download(*_: object, **__: object) -> None:
    raise FileNotFoundError("a member of the zip is missing")


def _backbone(name: str, manifest: EncoderManifest, files: Mapping[str, Path]) -> nn.Module:
    path = next(path for file, path in files.items() if file.endswith(".pth"))
    tensors = state_dict(path, read_checkpoint(path))
    (shape,) = (branch["shape"] for branch in manifest.network["branches"] if branch["name"] == name)
    build = _dinov2 if name.startswith("dinov2") else _dino_network
    return build(shape, tensors, manifest.preprocess["size"])


def _packages_missing(error: ImportError) -> Misconfigured:
    return Misconfigured(
        "original_missing",
        f"the authors' packages are not installed (no {error.name})",
        hint="make test-reference builds .venv-reference with them; run .venv-reference/bin/python -m app",
    )


_BUILDERS: Mapping[str, Callable[[EncoderManifest, Mapping[str, Path], str], Authors]] = {
    "dino": _dino,
    "sam2": _sam2,
    "dreamsim": _dreamsim,
}
