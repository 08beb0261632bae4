"""A service whose models folder holds a tiny dreamsim-ensemble."""

import torch
from tiny_dreamsim import write_official, write_tiny_manifest

from app.encoders.adding import add_model
from app.encoders.weights import WeightStore
from app.search.dreamsim import ENCODER


def install_tiny_dreamsim(folder, *, broken=False):
    """``dreamsim-ensemble`` with tiny towers in ``folder/models``; ``broken`` makes embeddings that are no numbers."""
    write_tiny_manifest(folder / "tiny-shipped")
    store = WeightStore(folder / "models", folder / "tiny-shipped")
    official = write_official(folder / "official")
    found = add_model(store, ENCODER, official, allow_unknown_digest=True)
    if broken:
        tensors = {key: torch.full_like(value, torch.nan) for key, value in found.tensors().items()}
        store.install(found.manifest, tensors)
    return folder / "models"
