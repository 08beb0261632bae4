"""The manifest of an encoder: what its weights are, how a frame is prepared for them, whose they are."""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from app.errors import Misconfigured

MANIFEST = "manifest.toml"


class WeightsFile(BaseModel):
    """The file that holds the tensors and its sha256 (hex)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    sha256: str


class SourceFile(BaseModel):
    """An official file that the weights are made from; size and sha256 only where they were seen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    url: str
    bytes: int | None = None
    sha256: str | None = None


class EncoderManifest(BaseModel):
    """``models/NAME/manifest.toml``; tables that only people read are kept but not interpreted.

    ``weights`` is missing while the weights are not installed. ``parameters`` counts what is served,
    ``published_parameters`` the whole published model (the paper's Tables 1-3 count that). Of an installed one,
    ``official`` holds the official values of what the user changed in ``preprocess``, ``converted_from`` the
    floating types of the official files where they are not float32.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    kind: str
    dim: int
    parameters: int
    published_parameters: int | None = None
    licence: str
    description: str
    weights: WeightsFile | None = None
    official: dict[str, Any] = {}
    converted_from: tuple[str, ...] = ()
    source: tuple[SourceFile, ...] = ()
    preprocess: dict[str, Any]
    network: dict[str, Any] = {}

    def digest(self, precision: str) -> str:
        """sha256 over weights, network, preprocessing and precision: only equal digests may be compared."""
        facts = {
            "kind": self.kind,
            "weights": self.weights.sha256 if self.weights else None,
            "preprocess": self.preprocess,
            "precision": precision,
        }
        if self.network:
            facts["network"] = self.network
        return "sha256:" + hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> EncoderManifest:
    """The manifest in a folder; raises Misconfigured ``bad_manifest``."""
    path = folder / MANIFEST
    try:
        return EncoderManifest.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise Misconfigured(
            "bad_manifest",
            f"the manifest of encoder {folder.name!r} cannot be read ({type(error).__name__})",
            hint=f"check {path}, or delete what was installed under that name: sonoseek models remove {folder.name}",
        ) from error


def write_manifest(manifest: EncoderManifest, folder: Path) -> None:
    """Write a manifest into a folder."""
    text = tomli_w.dumps(manifest.model_dump(exclude_none=True, exclude_defaults=True))
    (folder / MANIFEST).write_text(text, encoding="utf-8")
