"""The manifest of an encoder: what its weights are, how a frame is prepared for them, whose they are."""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from app.errors import Misconfigured


class WeightsFile(BaseModel):
    """The file that holds the tensors and its sha256 (hex)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    sha256: str


class EncoderManifest(BaseModel):
    """``models/NAME/manifest.toml``; tables that only people read are kept but not interpreted."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    kind: str
    dim: int
    parameters: int
    licence: str
    description: str
    weights: WeightsFile
    preprocess: dict[str, Any]

    def digest(self, precision: str) -> str:
        """sha256 over weights, preprocessing and precision: only equal digests may be compared."""
        facts = {
            "kind": self.kind,
            "weights": self.weights.sha256,
            "preprocess": self.preprocess,
            "precision": precision,
        }
        return "sha256:" + hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> EncoderManifest:
    """The manifest in a folder; raises Misconfigured ``bad_manifest``."""
    path = folder / "manifest.toml"
    try:
        return EncoderManifest.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise Misconfigured(
            "bad_manifest",
            f"the manifest of encoder {folder.name!r} cannot be read ({type(error).__name__})",
            hint=f"check {path}",
        ) from error
