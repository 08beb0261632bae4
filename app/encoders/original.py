"""The authors' own code behind the Encoder protocol: to prove ours against, and for whoever prefers it.

An encoder of a kind that ends in ``-package`` keeps its official files byte for byte in the store, and its authors'
package makes the network of them. It computes in float32 whatever the precision of the others.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from app.domain import Frame, Pixels, Vectors
from app.encoders.adding import source_files
from app.encoders.authors import Authors, authors_encoder
from app.encoders.base import Encoder, embed
from app.encoders.device import Placement
from app.encoders.manifest import EncoderManifest
from app.encoders.network_encoder import NetworkEncoder
from app.encoders.parity import Parity, compare
from app.encoders.registry import open_folder
from app.encoders.weights import WeightsFolder, WeightStore, sha256_of
from app.errors import BadInput

_CPU = Placement(torch.device("cpu"), "fp32")


class AuthorsTransform:
    """The authors' preparation of a picture."""

    def __init__(self, authors: Authors) -> None:
        self._prepare = authors.prepare

    def tensor(self, pixels: Pixels) -> NDArray[np.float32]:
        """A picture (height, width[, 3]) as float32 (3, side, side)."""
        prepared: NDArray[np.float32] = self._prepare(Image.fromarray(pixels).convert("RGB")).numpy()
        return prepared


def convert_original(manifest: EncoderManifest, files: Mapping[str, Path]) -> dict[str, Tensor]:
    """The bytes of the official files; raises BadInput where the authors' package cannot use them."""
    authors_encoder(manifest, files)
    return {
        name: torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
        for name, path in files.items()
    }


def open_original(found: WeightsFolder, placement: Placement) -> NetworkEncoder:
    """The authors' encoder of an installed folder; raises Misconfigured."""
    with tempfile.TemporaryDirectory(prefix="sonoseek-") as folder:
        contents = found.tensors()  # hashes all of them: once
        files = {name: Path(folder) / Path(name).name for name in contents}
        for name, content in contents.items():
            content.numpy().tofile(files[name])
        return original_encoder(found.manifest, files, placement)


def original_encoder(
    manifest: EncoderManifest, files: Mapping[str, Path], placement: Placement = _CPU
) -> NetworkEncoder:
    """The authors' encoder from the official files by their names; raises BadInput or Misconfigured."""
    authors = authors_encoder(manifest, files, str(placement.device))
    exact = dataclasses.replace(placement, precision="fp32")
    return NetworkEncoder(manifest, AuthorsTransform(authors), authors.network, exact)


def verify_against_original(store: WeightStore, name: str, path: Path, frames: list[Frame]) -> Parity:
    """Our encoder beside its authors' on some frames, both in float32 on the CPU.

    ``path`` leads to the official files that the encoder was installed from, since the store keeps what was made
    of them. Raises NotFound, Misconfigured, or BadInput ``other_files``.
    """
    found = store.find(name)
    found.verified_file()
    files = source_files(found.manifest, path)
    _check_same_files(found.manifest, files)
    ours = embed_singly(open_folder(found, _CPU), frames)
    return compare(ours, embed_singly(original_encoder(found.manifest, files), frames))


def embed_singly(encoder: Encoder, frames: list[Frame]) -> Vectors:
    """Unit vectors (n, dim), one picture at a time: the authors' code may need gigabytes for each."""
    return np.concatenate([embed(encoder, [frame]) for frame in frames])


def _check_same_files(manifest: EncoderManifest, files: Mapping[str, Path]) -> None:
    recorded = {part["file"]: part["sha256"] for part in (manifest.model_extra or {}).get("installed_from", ())}
    others = [file for file, path in files.items() if sha256_of(path) != recorded.get(file)]
    if others:
        raise BadInput(
            "other_files",
            f"encoder {manifest.name!r} was installed from other files than these: {', '.join(others)} differs",
            hint="give the files that it was installed from, or install it again from these",
        )
