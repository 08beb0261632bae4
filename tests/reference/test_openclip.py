"""Image towers beside OpenCLIP itself: whole folders as hubs have them, its own loader and its own transform."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from app.encoders.adding import add_model
from app.encoders.authors import import_torchvision
from app.encoders.base import unit_length
from app.encoders.original import embed_singly
from app.encoders.parity import compare
from app.encoders.registry import open_encoder
from app.encoders.weights import WeightStore

import_torchvision()
open_clip = pytest.importorskip("open_clip")

TEXT = {"context_length": 8, "vocab_size": 64, "width": 64, "heads": 1, "layers": 1}
SMALL = {"image_size": 96, "layers": 3, "width": 128, "patch_size": 16}
BIOMEDCLIP = {"timm_model_name": "vit_base_patch16_224", "timm_pool": "", "timm_proj": "linear", "image_size": 224}
HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
TOWERS = {
    "small": (SMALL, {}, {}),
    "quick": (SMALL, {"quick_gelu": True}, {}),
    "big heads": ({**SMALL, "width": 160, "head_width": 80}, {}, {}),
    "narrow layers": ({**SMALL, "mlp_ratio": 2.5, "norm_kwargs": {"eps": 1e-6}}, {}, {}),
    "layer scale": ({**SMALL, "ls_init_value": 0.1, "no_ln_pre": True}, {}, {}),
    "squashed": (SMALL, {}, {"resize_mode": "squash", **HALF}),
    "padded": (SMALL, {}, {"resize_mode": "longest", "interpolation": "bilinear"}),
    "ViT-L/14 of FetalCLIP, two blocks": ({"image_size": 224, "layers": 2, "width": 1024, "patch_size": 14}, {}, {}),
    "BiomedCLIP": (BIOMEDCLIP, {}, {}),
    "timm's clip": ({**BIOMEDCLIP, "timm_model_name": "vit_xsmall_patch16_clip_224", "timm_pool": "token"}, {}, HALF),
    "timm's quick": (
        {**BIOMEDCLIP, "timm_model_name": "vit_base_patch32_clip_quickgelu_224", "timm_pool": "token"},
        {"quick_gelu": True},
        {},
    ),
    "timm's without projection": (
        {"timm_model_name": "vit_tiny_patch16_224", "timm_pool": "token", "timm_proj": "none", "image_size": 224},
        {},
        {"resize_mode": "squash"},
    ),
}


def write_folder(folder, vision, model=None, preprocess=None, *, pickled=False, seed=0):
    """A folder of OpenCLIP with seeded random weights, none of them trivial."""
    dim = 192 if vision.get("timm_proj") == "none" else 40
    config = {"embed_dim": dim, "vision_cfg": vision, "text_cfg": TEXT, **(model or {})}
    content = {"model_cfg": config, "preprocess_cfg": preprocess or {}}
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(content), encoding="utf-8")
    with torch.device("meta"):  # names and shapes only: filling them with OpenCLIP's own numbers takes long
        shapes = open_clip.CLIP(**config).state_dict()
    generator = torch.Generator().manual_seed(seed)
    tensors = {key: _random(key, value.shape, generator) for key, value in shapes.items()}
    if pickled:
        torch.save(tensors, folder / "open_clip_pytorch_model.bin")
    else:
        save_file(tensors, folder / "open_clip_model.safetensors")
    return folder


def _random(key, shape, generator):
    noise = torch.randn(shape, generator=generator)
    if "gamma" in key or (noise.ndim == 1 and key.endswith("weight")):
        return 1 + 0.3 * noise
    if "token" in key or ("embed" in key and "patch" not in key):
        return 0.3 * noise
    return noise * (2 / noise[0].numel()) ** 0.5 if noise.ndim > 1 else 0.2 * noise


def theirs(folder, frames, **options):
    """OpenCLIP's own vectors of the pictures."""
    network, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}", **options)
    pictures = [transform(Image.fromarray(frame.pixels).convert("RGB")) for frame in frames]
    with torch.inference_mode():
        rows = [network.eval().encode_image(picture[None]).numpy() for picture in pictures]
    return unit_length(np.concatenate(rows))


def ours(folder, frames, store, **options):
    """Ours, after the folder was added."""
    add_model(store, "tower", folder, licence="CC BY-NC 4.0", **options)
    return embed_singly(open_encoder("tower", store), frames)


@pytest.fixture
def some(frames):
    """Half of the pictures: of each shape one."""
    return frames[::2]


@pytest.fixture
def store(scratch):
    return WeightStore(scratch / "installed", scratch / "shipped")


@pytest.mark.parametrize("name", TOWERS)
def test_towers(name, some, scratch, store, record):
    folder = write_folder(scratch / "folder", *TOWERS[name], pickled=name == "BiomedCLIP")
    record("OpenCLIP", name, "as added", compare(ours(folder, some, store), theirs(folder, some)))


@pytest.mark.parametrize("vision", [SMALL, BIOMEDCLIP | {"timm_model_name": "vit_tiny_patch16_224"}])
def test_another_size(vision, some, scratch, store, record):
    folder = write_folder(scratch / "folder", vision)
    same = compare(ours(folder, some, store, size=128), theirs(folder, some, force_image_size=128))
    record("OpenCLIP", vision.get("timm_model_name", "small"), "at 128 pixels", same)


@pytest.mark.parametrize(
    ("what", "vision", "model", "preprocess"),
    [
        ("GELU for QuickGELU", SMALL, {"quick_gelu": False}, {}),
        ("squashed, not cropped", SMALL, {"quick_gelu": True}, {"resize_mode": "squash"}),
        ("another mean", SMALL, {"quick_gelu": True}, HALF),
    ],
)
def test_what_is_wrong_is_seen(what, vision, model, preprocess, some, scratch, store, record):
    right = write_folder(scratch / "right", vision, {"quick_gelu": True})
    wrong = write_folder(scratch / "wrong", vision, model, preprocess)
    record("OpenCLIP", "quick", what, compare(ours(wrong, some, store), theirs(right, some)), expected=False)
