"""A manifest for a folder that no shipped manifest knows: a Hugging Face model or an OpenCLIP one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from app.encoders.json_file import read_json
from app.encoders.manifest import EncoderManifest
from app.encoders.weights import check_name
from app.errors import BadInput

DESCRIBED_KINDS = ("huggingface", "openclip")
"""Kinds whose manifests are made from what a user brings."""


class Recognised(NamedTuple):
    """The kind of a folder, and the files that its encoder is made from, by the names we use."""

    kind: str
    files: Mapping[str, Path]


def recognise(path: Path) -> Recognised | None:
    """What a folder holds, or a file of weights with the JSON beside it; None for what cannot be described.

    A folder with both layouts, as some hubs have it, is read as OpenCLIP's: that network starts faster.
    """
    from app.encoders import huggingface, openclip

    if not path.exists():
        return None
    folder = path if path.is_dir() else path.parent
    weights = path if path.is_file() and path.suffix != ".json" else None
    config = folder / huggingface.CONFIG
    is_huggingface = config.is_file() and "model_type" in read_json(config)
    has_openclip_weights = (
        any((folder / name).is_file() for name in openclip.WEIGHTS)
        if weights is None
        else path.name in openclip.WEIGHTS
    )
    if has_openclip_weights or not is_huggingface:
        files = openclip.files_of(folder, weights)
        if files is not None:
            return Recognised("openclip", files)
    return Recognised("huggingface", huggingface.files_of(folder, weights)) if is_huggingface else None


def describe_folder(name: str, path: Path, *, licence: str, output: str = "pooled") -> EncoderManifest:
    """The manifest of a folder under a name that the user chose, with the licence that he states.

    ``output`` is ``cls`` (class token), ``pooled`` (the model's own pooling or projection) or ``mean`` (of the
    patches). Raises BadInput where the folder cannot be served exactly.
    """
    from app.encoders import huggingface, openclip

    check_name(name)
    if not licence.strip():
        raise BadInput(
            "licence_missing",
            "nobody has stated the licence of these weights",
            hint='look it up where they come from and state it: --licence "CC BY-NC 4.0"',
        )
    found = _found(path)
    describe = openclip.describe_openclip if found.kind == "openclip" else huggingface.describe_huggingface
    return describe(name, found.files, licence.strip(), output)


def folder_files(path: Path) -> Mapping[str, Path]:
    """The files that the encoder of a folder is made from; raises BadInput ``unknown_layout``."""
    return _found(path).files


def _found(path: Path) -> Recognised:
    found = recognise(path)
    if found is None:
        raise BadInput(
            "unknown_layout",
            "this is no folder of a Hugging Face or OpenCLIP model",
            hint="it should hold config.json with model.safetensors, or open_clip_config.json with its weights",
        )
    return found
