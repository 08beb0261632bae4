"""One encoder made from official files, ours beside the authors'."""

import os

import numpy as np
import torch

from app.encoders.adding import add_model, source_files
from app.encoders.device import Placement
from app.encoders.manifest import write_manifest
from app.encoders.original import embed_singly, original_encoder
from app.encoders.parity import compare
from app.encoders.registry import open_folder
from app.encoders.weights import WeightStore

TABLE = os.environ.get("SONOSEEK_PARITY_TABLE")
"""A file for the table of all comparisons, with bfloat16 beside float32; without one there is no time for it."""


class Bench:
    """A shipped encoder whose official files are written by the test; their vectors are computed once."""

    def __init__(self, folder, frames, name, write, **network):
        self.frames = frames
        self.official = folder / "official"
        self.official.mkdir()
        manifest = WeightStore(folder).find(name).manifest
        self.manifest = _without_digests(manifest, network)
        (folder / "shipped" / name).mkdir(parents=True)
        write_manifest(self.manifest, folder / "shipped" / name)
        self.store = WeightStore(folder / "installed", folder / "shipped")
        write(self.official, self.manifest)
        self._original = {}

    def add(self, under=None, **changes):
        """Install the official files as ours."""
        return add_model(
            self.store, self.manifest.name, self.official, allow_unknown_digest=True, under=under, **changes
        )

    def variant(self, under, *, tensors=None, preprocess=None, **network):
        """What was added, with another way to read or to prepare it."""
        found = self.store.find(self.manifest.name)
        changed = found.manifest.model_copy(
            update={
                "name": under,
                "network": {**found.manifest.network, **network},
                "preprocess": {**found.manifest.preprocess, **(preprocess or {})},
            }
        )
        return self.store.install(changed, {**found.tensors(), **(tensors or {})})

    def original(self, manifest=None):
        """The authors' vectors (n, dim) of the frames."""
        manifest = manifest or self.manifest
        key = str(manifest.preprocess)  # all that a caller may change
        if key not in self._original:
            encoder = original_encoder(manifest, source_files(manifest, self.official))
            self._original[key] = embed_singly(encoder, self.frames)
        return self._original[key]

    def judge(self, record, family, what, found, original=None):
        """An encoder that must be the authors' own."""
        record(family, self.manifest.name, what, self.parity(found, original=original))
        if TABLE:  # random weights exaggerate the error of bfloat16, so nothing is asked of it here
            record(family, self.manifest.name, f"{what}, bf16", self.parity(found, "bf16", original), None)

    def parity(self, found, precision="fp32", original=None):
        """An installed encoder of ours beside the authors'."""
        encoder = open_folder(found, Placement(torch.device("cpu"), precision))
        theirs = self.original(original)
        ours = embed_singly(encoder, self.frames)
        assert np.isfinite(theirs).all()
        return compare(ours, theirs)


def _without_digests(manifest, network):
    return manifest.model_copy(
        update={
            "source": tuple(source.model_copy(update={"bytes": None, "sha256": None}) for source in manifest.source),
            "network": {**manifest.network, **network},
        }
    )
