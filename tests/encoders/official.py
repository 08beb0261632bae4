"""Tiny checkpoints in official file layout, with seeded random weights that hide no mistake."""

import torch

from app.encoders.vit import ViT, ViTShape

TINY = {"width": 64, "depth": 2, "patch": 14, "grid": 37}
"""The smallest network that has everything: one head, two blocks."""


def random_tensors(network, seed=0):
    """The network's tensors, none of them trivial: norms and layer scales are away from 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for key, value in network.state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        if key.endswith("norm.weight") or "norm1.weight" in key or "norm2.weight" in key or "gamma" in key:
            tensors[key] = 1 + 0.3 * noise
        elif value.ndim > 1:
            tensors[key] = noise * (2 / value[0].numel()) ** 0.5
        else:
            tensors[key] = 0.2 * noise
    return tensors


def write_vit(path, shape=None, seed=0, **extra):
    """An official backbone file of a vision transformer; ``extra`` tensors are added."""
    tensors = random_tensors(ViT(ViTShape.parse(shape or TINY)), seed)
    torch.save({**tensors, **extra}, path)
    return tensors


def write_manifest(root, name, *, kind="dino", dim=64, source=("tiny.pth",), network=None, digests=None, **preprocess):
    """A manifest of a tiny encoder in a folder of shipped models."""
    sources = "\n".join(
        f'[[source]]\nfile = "{file}"\nurl = "https://weights.example/{file}"\n'
        + (f'sha256 = "{digests[file]}"\n' if digests and file in digests else "")
        for file in source
    )
    table = {"size": 28, "resize": 32, "fit": "crop", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "manifest.toml").write_text(
        f'name = "{name}"\nkind = "{kind}"\ndim = {dim}\nparameters = 1\nlicence = "Apache-2.0"\n'
        f'description = "tiny"\n{sources}\n[preprocess]\n{_lines({**table, **preprocess})}\n'
        f"[network]\n{_lines(TINY if network is None else network)}\n",
        encoding="utf-8",
    )
    return folder


def _lines(table):
    return "\n".join(
        f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}" for key, value in table.items()
    )
