"""DreamSim's official files with tiny towers, and manifests that belong to them."""

import io
import json
import zipfile

import tomli_w
import torch
from official import random_tensors
from safetensors.torch import save

from app.encoders.dreamsim_files import BASES
from app.encoders.vit import ViTShape, blank_vit

SIZE = 28
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
CLIP = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
DINO_SHAPE = {"width": 64, "depth": 2, "patch": 14, "grid": 2, "output": "cls_before_norm"}
CLIP_SHAPE = {**DINO_SHAPE, "norm_before": True, "projection": 32, "epsilon": 1e-5, "output": "projected"}
ENSEMBLE = (
    {"name": "dino_vitb16", **IMAGENET, "shape": DINO_SHAPE},
    {"name": "clip_vitb16", **CLIP, "shape": {**CLIP_SHAPE, "mlp": "quick_gelu"}},
    {"name": "open_clip_vitb16", **CLIP, "shape": CLIP_SHAPE},
)
ZIP = "dreamsim_tiny_checkpoint.zip"
CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 2, "target_modules": ["qkv"], "bias": "none", "lora_dropout": 0.3}
RANK = CONFIG["r"]
DIM = 64 + 32 + 32


def write_tiny_manifest(root, name="dreamsim-ensemble", branches=ENSEMBLE, dim=DIM, **network):
    """A manifest of tiny towers in a folder of shipped models."""
    beside = [BASES[branch["name"]].file for branch in branches if branch["name"].startswith("dino")]
    manifest = {
        "name": name,
        "kind": "dreamsim",
        "dim": dim,
        "parameters": 1,
        "licence": "MIT",
        "description": "tiny",
        "source": [{"file": file, "url": f"https://weights.example/{file}"} for file in (ZIP, *beside)],
        "preprocess": {"size": SIZE, "fit": "stretch", "mean": [0.0] * 3, "std": [1.0] * 3},
        "network": {"branches": list(branches), **network},
    }
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "manifest.toml").write_text(tomli_w.dumps(manifest), encoding="utf-8")


def base_tensors(branches=ENSEMBLE, seed=0):
    """The tensors of each branch's backbone under the names of our network."""
    return [
        random_tensors(blank_vit(ViTShape.parse(branch["shape"])), seed + number)
        for number, branch in enumerate(branches)
    ]


def lora_tensors(branches=ENSEMBLE, seed=0):
    """An adapter as peft names its tensors; no factor is zero."""
    generator = torch.Generator().manual_seed(100 + seed)
    return {
        f"base_model.model.extractor_list.{number}.model.blocks.{block}.attn.qkv.lora_{side}.weight": 0.3
        * torch.randn(shape, generator=generator)
        for number, branch in enumerate(branches)
        for block in range(branch["shape"]["depth"])
        for side, shape in (("A", (RANK, branch["shape"]["width"])), ("B", (3 * branch["shape"]["width"], RANK)))
    }


def members_of(branches=ENSEMBLE, adapter="ensemble_lora", seed=0):
    """Name -> bytes of what the official zip holds."""
    members = {
        f"{adapter}/adapter_config.json": json.dumps(CONFIG).encode(),
        f"{adapter}/adapter_model.safetensors": save(lora_tensors(branches, seed)),
        "dino_vitb16_pretrain.pth": b"a projection head that no embedding uses",
    }
    for branch, tensors in zip(branches, base_tensors(branches, seed), strict=True):
        base = BASES[branch["name"]]
        if not branch["name"].startswith("dino"):
            members[base.file] = saved(_nested(base, _official(tensors)))
    return members


def write_official(folder, branches=ENSEMBLE, members=None, seed=0):
    """A folder with the zip and the backbones that stand beside it."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / ZIP, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in (members or members_of(branches, seed=seed)).items():
            archive.writestr(name, content)
    for branch, tensors in zip(branches, base_tensors(branches, seed), strict=True):
        if branch["name"].startswith("dino"):
            torch.save(tensors, folder / BASES[branch["name"]].file)
    return folder


def _official(tensors):
    """CLIP's projection is stored as tokens are multiplied with it."""
    return {"proj" if key == "proj.weight" else key: value.T if key == "proj.weight" else value
            for key, value in tensors.items()}  # fmt: skip


def _nested(base, tensors):
    content = {base.prefix + key: value.clone() for key, value in tensors.items()}
    for key in reversed(base.keys):
        content = {key: content, "epoch": 7}
    return content


def saved(content):
    """What ``torch.save`` writes."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()
