"""Checkpoints in the layout of the official files, full size, with seeded random weights that hide no mistake."""

import json
import tempfile
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file

RANK = 16
OLD_PEFT = {  # as the release's adapters were written, by a peft that knew fewer options
    "base_model_name_or_path": None,
    "bias": "none",
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "lora_dropout": 0.3,
    "modules_to_save": None,
    "peft_type": "LORA",
    "r": RANK,
    "target_modules": ["qkv"],
    "task_type": None,
}


def random_tensors(shapes, seed=0):
    """Tensors of some names and shapes; norms and layer scales are away from 0 and 1, positions matter."""
    generator = torch.Generator().manual_seed(seed)
    return {key: _random(key, tuple(shape), generator) for key, shape in shapes.items()}


def _random(key, shape, generator):
    noise = torch.randn(shape, generator=generator)
    if key.endswith("gamma") or (noise.ndim == 1 and key.endswith("weight")):
        return 1 + 0.3 * noise
    if key == "no_mem_embed":  # the same for every picture: only a large one moves their directions
        return 5 * noise
    if "pos_embed" in key or "token" in key:
        return 0.3 * noise
    if key == "proj":  # tokens are multiplied with it from the left
        return noise * shape[0] ** -0.5
    return noise * (2 / noise[0].numel()) ** 0.5 if noise.ndim > 1 else 0.2 * noise


def vit_shapes(width, depth, patch, grid, *, registers=0, layer_scale=False, mlp="gelu", clip=False, **_):
    """Names and shapes of a backbone file; ``clip`` is the layout of DreamSim's CLIP towers."""
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + grid**2, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
    }
    if registers:
        shapes["register_tokens"] = (1, registers, width)
    if layer_scale:
        shapes["mask_token"] = (1, width)
    if clip:
        shapes |= {"pos_drop.weight": (width,), "pos_drop.bias": (width,), "proj": (width, 512)}
    for block in range(depth):
        shapes |= {f"blocks.{block}.{key}": shape for key, shape in _block(width, mlp, layer_scale).items()}
    return shapes | {"norm.weight": (width,), "norm.bias": (width,)}


def _block(width, mlp, layer_scale):
    linear = {"attn.qkv": (3 * width, width), "attn.proj": (width, width)}
    if mlp == "swiglu":
        hidden = (int(4 * width * 2 / 3) + 7) // 8 * 8
        linear |= {"mlp.w12": (2 * hidden, width), "mlp.w3": (width, hidden)}
    else:
        linear |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
    shapes = {f"{key}.weight": shape for key, shape in linear.items()}
    shapes |= {f"{key}.bias": shape[:1] for key, shape in linear.items()}
    shapes |= {f"{norm}.{part}": (width,) for norm in ("norm1", "norm2") for part in ("weight", "bias")}
    return shapes | ({"ls1.gamma": (width,), "ls2.gamma": (width,)} if layer_scale else {})


def write_backbone(folder, manifest):
    """A file of DINO or DINOv2."""
    torch.save(random_tensors(vit_shapes(**manifest.network)), folder / manifest.source[0].file)


def write_sam2(folder, manifest):
    """A whole file of SAM 2, with the names and shapes that the authors' own model has."""
    from sam2.build_sam import build_sam2

    ((name, size),) = {source.file: source.file.split("hiera_")[1][:-3] for source in manifest.source}.items()
    release = name.split("_hiera")[0]
    letter = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}[size]
    model = build_sam2(f"configs/{release}/{release}_hiera_{letter}.yaml", None, "cpu")
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    torch.save({"model": random_tensors(shapes)}, folder / name)


def write_dreamsim(folder, manifest, *, alpha=0.5, tuned=True):
    """The zip of a DreamSim and the backbone beside it; not ``tuned``: an adapter that changes nothing."""
    branches = manifest.network["branches"]
    archive = next(source.file for source in manifest.source if source.file.endswith(".zip"))
    patch = "_patch" if archive.endswith("_patch_checkpoint.zip") else "_single"
    adapter = "ensemble_lora" if len(branches) > 1 else f"{branches[0]['name']}{patch}_lora"
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(folder / archive, "w") as file:
        for seed, branch in enumerate(branches):
            _write_base(folder, Path(scratch), file, branch, seed)
        save_file(_adapter(branches, 1.5 / alpha if tuned else 0), Path(scratch) / "adapter")
        file.write(Path(scratch) / "adapter", f"{adapter}/adapter_model.safetensors")
        file.writestr(f"{adapter}/adapter_config.json", json.dumps({**OLD_PEFT, "lora_alpha": alpha}))


def _write_base(folder, scratch, archive, branch, seed):
    name, shape = branch["name"], branch["shape"]
    tensors = random_tensors(vit_shapes(**shape, clip="clip" in name), seed)
    if name == "dinov2_vitb14":
        torch.save(tensors, folder / "dinov2_vitb14_pretrain.pth")
        return
    if name == "dino_vitb16":
        torch.save(tensors, folder / "dino_vitbase16_pretrain.pth")
        content, member = {"student": _projection_head()}, "dino_vitb16_pretrain.pth"
    elif name == "synclr_vitb16":
        content = {"model": {f"module.visual.{key}": value for key, value in tensors.items()}}
        member = "synclr_vit_b_16.pth"
    else:
        content, member = {"state_dict": tensors}, f"{name}_pretrain.pth.tar"
    torch.save(content, scratch / member)
    archive.write(scratch / member, member)


def _projection_head():
    """What the release keeps of DINO's head: nobody uses it."""
    layers = [f"mlp.{number}.{part}" for number in (0, 2, 4) for part in ("weight", "bias")]
    return {f"module.head.{key}": torch.ones(2, 2) for key in [*layers, "last_layer.weight"]}


def _adapter(branches, size):
    generator = torch.Generator().manual_seed(7)
    factors = {}
    for number, branch in enumerate(branches):
        width = branch["shape"]["width"]
        for block in range(branch["shape"]["depth"]):
            key = f"base_model.model.extractor_list.{number}.model.blocks.{block}.attn.qkv.lora"
            factors[f"{key}_A.weight"] = torch.randn(RANK, width, generator=generator) * width**-0.5
            factors[f"{key}_B.weight"] = size * torch.randn(3 * width, RANK, generator=generator)
    return factors
