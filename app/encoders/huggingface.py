"""Any vision model of a local Hugging Face folder, served through transformers: no network, no code of others.

Of models with a text tower only the image tower is kept. Weights are read from safetensors only.
"""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from app.encoders.device import Placement
from app.encoders.json_file import read_json
from app.encoders.manifest import EncoderManifest
from app.encoders.network_encoder import NetworkEncoder
from app.encoders.processor import PROCESSOR_FILES, ProcessorTransform, preprocess_of
from app.encoders.table import ManifestTable
from app.encoders.transformers_model import build_model, image_tensors, refuse_borrowed, unsupported_model
from app.encoders.weights import WeightsFolder, sha256_of
from app.errors import BadInput, Misconfigured

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
_SAFE = ".safetensors"

_CLASS_TOKENS = ("cls_token", "class_embedding")
_REGISTERS = ("register_tokens", "distillation_token")
_SHOWN = 8


class FolderNetworkTable(ManifestTable):
    """What ``[network]`` says: the config's sha256, what is taken, and how many tokens stand before the patches."""

    table = "network"

    config: str
    output: Literal["cls", "pooled", "mean"]
    prefix: int = 0


class FolderNetwork(nn.Module):
    """Pictures (n, 3, side, side) to features (n, dim).

    ``cls`` is the class token of the last hidden state, ``pooled`` the model's own pooling (the projected
    features of a CLIP), ``mean`` the mean of the patch tokens without class token and registers.
    """

    def __init__(self, model: PreTrainedModel, table: FolderNetworkTable, side: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model
        self._table = table
        self._dtype = dtype
        other_size = side != getattr(model.config, "image_size", side)
        scalable = "interpolate_pos_encoding" in signature(model.forward).parameters
        self._options = {"interpolate_pos_encoding": True} if other_size and scalable else {}
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.to(dtype)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures to features; products in the placement's precision, all else in float32."""
        with torch.autocast(pictures.device.type, self._dtype, enabled=self._dtype != torch.float32):
            answer = self.model(pixel_values=pictures, **self._options)
        return self._taken(answer).float()

    def _taken(self, answer: Mapping[str, Tensor]) -> Tensor:
        if self._table.output == "pooled":
            return _pooled(answer).flatten(1)
        tokens = answer["last_hidden_state"]
        if self._table.output == "cls":
            return tokens[:, 0]
        return tokens.mean(dim=(2, 3)) if tokens.ndim == 4 else tokens[:, self._table.prefix :].mean(dim=1)


def files_of(folder: Path, weights: Path | None = None) -> dict[str, Path]:
    """The files of a folder that are read, by name, with all its weights or the file given.

    Raises BadInput where they are missing, or no safetensors.
    """
    if weights is not None and weights.suffix != _SAFE:
        raise _no_weights()
    parts = _weight_files(folder) if weights is None else [weights.name]
    names = [CONFIG, *(name for name in PROCESSOR_FILES if (folder / name).is_file()), *parts]
    return {name: folder / name for name in names}


def describe_huggingface(name: str, files: Mapping[str, Path], licence: str, output: str) -> EncoderManifest:
    """The manifest of a folder; raises BadInput where it cannot be served exactly."""
    config = files[CONFIG]
    refuse_borrowed(config)  # before transformers looks for a processor, and so at the config
    preprocess = preprocess_of(config.parent)
    model = build_model(config, image_tensors(files), output)
    table = FolderNetworkTable(
        config=sha256_of(config), output=_known_output(output), prefix=_tokens_before_patches(model)
    )
    return EncoderManifest(
        name=name,
        kind="huggingface",
        dim=_probed(model, table, preprocess["size"]),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        licence=licence,
        description=f"{type(model).__name__} of a local Hugging Face folder, output {output}",
        preprocess=preprocess,
        network=table.model_dump(),
    )


def convert_huggingface(manifest: EncoderManifest, files: Mapping[str, Path]) -> dict[str, Tensor]:
    """The image tower's tensors under the names of the file; raises BadInput where something is missing."""
    table = FolderNetworkTable.parse(manifest.network)
    tensors = image_tensors(files)
    model = build_model(files[CONFIG], tensors, table.output)
    _probed(model, table, ProcessorTransform.parse(manifest.preprocess).size)
    return tensors


def open_huggingface(found: WeightsFolder, placement: Placement) -> NetworkEncoder:
    """The encoder of an installed folder; raises Misconfigured where its files are unusable."""
    manifest = found.manifest
    table = FolderNetworkTable.parse(manifest.network)
    transform = ProcessorTransform.parse(manifest.preprocess)
    config = found.folder / CONFIG
    if not config.is_file() or sha256_of(config) != table.config:
        raise Misconfigured(
            "weights_changed",
            f"the {CONFIG} of encoder {manifest.name!r} is not that of its manifest (sha256 differs)",
            hint=f"install it again: sonoseek models add {manifest.name} PATH",
        )
    try:
        model = build_model(config, found.tensors(), table.output)
    except BadInput as error:  # transformers of another version than the one that added it
        raise Misconfigured(error.code, error.detail, hint=error.hint) from error
    return NetworkEncoder(manifest, transform, FolderNetwork(model, table, transform.size, placement.dtype), placement)


def _weight_files(folder: Path) -> list[str]:
    index = folder / f"{WEIGHTS}.index.json"
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    if index.is_file():
        shards = sorted({str(name) for name in dict(read_json(index).get("weight_map") or {}).values()})
        missing = [name for name in shards if name != Path(name).name or not (folder / name).is_file()]
        if shards and not missing:
            return shards
        raise BadInput(
            "files_missing",
            f"{index.name} names files that are not in the folder: {', '.join(missing[:_SHOWN]) or 'none'}",
            hint="copy all parts of the weights into the folder",
        )
    raise _no_weights()


def _no_weights() -> BadInput:
    return BadInput(
        "files_missing",
        f"the folder holds no {WEIGHTS}, or another file was given",
        hint="take the model's safetensors; pickled weights (pytorch_model.bin) are not read: "
        "convert them with transformers' save_pretrained",
    )


def _probed(model: PreTrainedModel, table: FolderNetworkTable, side: int) -> int:
    """Features of one grey picture: their number, after a check that the model has what is to be taken."""
    network = FolderNetwork(model, table, side, torch.float32)
    picture = torch.full((1, 3, side, side), 0.5)
    with torch.inference_mode():
        try:
            answer = model(pixel_values=picture, **network._options)
            _refuse_absent(answer, model, table, side)
            features = network(picture)
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
            raise unsupported_model(f"it does not take pictures of {side} pixels ({type(error).__name__})") from error
    return int(features.shape[1])


def _refuse_absent(answer: Mapping[str, Tensor], model: PreTrainedModel, table: FolderNetworkTable, side: int) -> None:
    if table.output == "pooled":
        if answer.get("image_embeds") is None and answer.get("pooler_output") is None:
            raise _no_output(table.output, "it has no pooling of its own", "--output cls or mean")
        return
    tokens = answer["last_hidden_state"]
    if table.output == "cls" and (tokens.ndim != 3 or not _tokens(model, _CLASS_TOKENS)):
        raise _no_output(table.output, "it has no class token", "--output pooled or mean")
    if tokens.ndim == 3 and tokens.shape[1] != table.prefix + _patches(model, side):
        raise _no_output(
            table.output, "its tokens are not class token, registers and one for each patch", "--output pooled"
        )


def _tokens_before_patches(model: PreTrainedModel) -> int:
    return _tokens(model, _CLASS_TOKENS) + _tokens(model, _REGISTERS)


def _tokens(model: PreTrainedModel, names: tuple[str, ...]) -> int:
    """How many tokens the model learned under such names."""
    found = (value for key, value in model.named_parameters() if key.rsplit(".", 1)[-1] in names)
    return sum(value.numel() // value.shape[-1] for value in found)


def _patches(model: PreTrainedModel, side: int) -> int:
    patch = getattr(model.config, "patch_size", None)
    return (side // patch) ** 2 if isinstance(patch, int) else -1


def _pooled(answer: Mapping[str, Tensor]) -> Tensor:
    embeds = answer.get("image_embeds")
    return answer["pooler_output"] if embeds is None else embeds


def _known_output(output: str) -> Literal["cls", "pooled", "mean"]:
    for known in ("cls", "pooled", "mean"):
        if output == known:
            return known
    raise _no_output(output, "there is no such output", "--output cls, pooled or mean")


def _no_output(output: str, why: str, instead: str) -> BadInput:
    return BadInput("no_such_output", f"{output!r} cannot be taken of this model: {why}", hint=f"choose {instead}")
