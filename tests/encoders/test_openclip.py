"""Both layouts of OpenCLIP's image towers: how names are mapped, what a JSON decides, what is refused.

The vectors of OpenCLIP itself are compared in tests/reference.
"""

import json

import numpy as np
import pytest
import torch
from official import random_tensors
from torch.nn import functional

from app.domain import Frame, ImageFacts
from app.encoders.adding import add_model
from app.encoders.base import embed
from app.encoders.registry import layout, open_encoder
from app.encoders.transform import Transform
from app.encoders.vit import ViT, ViTShape
from app.encoders.weights import WeightStore
from app.errors import BadInput

VISION = {"image_size": 28, "layers": 2, "width": 64, "patch_size": 14}
TIMM = {"timm_model_name": "vit_tiny_patch14_28", "timm_pool": "", "timm_proj": "linear", "image_size": 28}
SHAPE = {"width": 64, "depth": 2, "patch": 14, "grid": 2, "projection": 32, "output": "projected"}
OWN_NAMES = {
    "patch_embed.proj.": "conv1.",
    "pos_drop.": "ln_pre.",
    "norm.": "ln_post.",
    "blocks.": "transformer.resblocks.",
    ".norm1.": ".ln_1.",
    ".norm2.": ".ln_2.",
    ".ls1.": ".ls_1.",
    ".ls2.": ".ls_2.",
    "attn.qkv.": "attn.in_proj_",
    "attn.proj.": "attn.out_proj.",
    "mlp.fc1.": "mlp.c_fc.",
    "mlp.fc2.": "mlp.c_proj.",
}


@pytest.fixture
def store(tmp_path):
    return WeightStore(tmp_path / "installed", tmp_path / "shipped")


def own_tower(**shape):
    """Our tensors, and the same under OpenCLIP's names with its shapes."""
    ours = random_tensors(ViT(ViTShape.parse({**SHAPE, "norm_before": True, "patch_bias": False, **shape})))
    theirs = {}
    for key, tensor in ours.items():
        name = key
        for mine, other in OWN_NAMES.items():
            name = other + name.removeprefix(mine) if name.startswith(mine) else name.replace(mine, other)
        theirs[f"visual.{name}"] = tensor
    theirs["visual.class_embedding"] = theirs.pop("visual.cls_token")[0, 0]
    theirs["visual.positional_embedding"] = theirs.pop("visual.pos_embed")[0]
    theirs["visual.proj"] = theirs.pop("visual.proj.weight").T.contiguous()
    return ours, theirs


def timm_tower(**shape):
    """Our tensors, and the same under timm's names inside OpenCLIP."""
    ours = random_tensors(ViT(ViTShape.parse({**SHAPE, **shape})))
    theirs = {
        "visual.head.proj.weight" if key == "proj.weight" else f"visual.trunk.{key}".replace("pos_drop", "norm_pre"): t
        for key, t in ours.items()
    }
    return ours, theirs


def write(folder, tensors, vision=VISION, *, model=None, preprocess=None, file="open_clip_pytorch_model.bin"):
    """A folder as OpenCLIP publishes it."""
    folder.mkdir(exist_ok=True)
    text = {"positional_embedding": torch.ones(8, 64), "token_embedding.weight": torch.ones(9, 64)}
    torch.save({**text, "logit_scale": torch.tensor(4.6), **tensors}, folder / file)
    content = {
        "model_cfg": {"embed_dim": 32, "vision_cfg": vision, **(model or {})},
        "preprocess_cfg": preprocess or {},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def frame(seed=0, shape=(40, 53, 3)):
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return Frame(pixels, ImageFacts(sha256="", format="png", width=shape[1], height=shape[0]))


def test_openclips_own_layout(store, tmp_path):
    ours, theirs = own_tower(layer_scale=True)
    added = add_model(store, "fetal", write(tmp_path / "folder", theirs), licence="CC BY-NC 4.0")
    stored = added.tensors()
    assert stored.keys() == ours.keys() == layout(added.manifest).keys()
    assert all(torch.equal(stored[key], ours[key]) for key in ours)
    assert (added.manifest.dim, added.manifest.licence) == (32, "CC BY-NC 4.0")
    assert added.manifest.parameters == sum(tensor.numel() for tensor in ours.values())
    assert added.manifest.network == {
        **SHAPE,
        "head": 64,
        "hidden": 256,
        "mlp": "gelu",
        "layer_scale": True,
        "norm_before": True,
        "patch_bias": False,
        "positions": "antialias",
        "epsilon": 1e-5,
    }
    assert embed(open_encoder("fetal", store), [frame(), frame(1, (40, 53))]).shape == (2, 32)


def test_an_independent_forward_gives_the_same_vector(store, tmp_path):
    _, theirs = own_tower()
    add_model(store, "plain", write(tmp_path / "folder", theirs, model={"quick_gelu": True}), licence="MIT")
    encoder = open_encoder("plain", store)
    picture = torch.from_numpy(encoder.pre(frame()))[None]
    tower = {key.removeprefix("visual."): tensor for key, tensor in theirs.items()}

    def norm(tokens, name):
        return functional.layer_norm(tokens, (64,), tower[f"{name}.weight"], tower[f"{name}.bias"], 1e-5)

    tokens = functional.conv2d(picture, tower["conv1.weight"], stride=14).flatten(2).transpose(1, 2)
    tokens = torch.cat([tower["class_embedding"].expand(1, 1, -1), tokens], dim=1) + tower["positional_embedding"]
    tokens = norm(tokens, "ln_pre")
    for number in range(2):
        block = f"transformer.resblocks.{number}"
        attention = torch.nn.MultiheadAttention(64, 1, batch_first=True)
        prefix = f"{block}.attn."
        attention.load_state_dict({k.removeprefix(prefix): v for k, v in tower.items() if k.startswith(prefix)})
        inside = norm(tokens, f"{block}.ln_1")
        tokens = tokens + attention(inside, inside, inside, need_weights=False)[0]
        inside = functional.linear(
            norm(tokens, f"{block}.ln_2"), tower[f"{block}.mlp.c_fc.weight"], tower[f"{block}.mlp.c_fc.bias"]
        )
        inside = inside * torch.sigmoid(1.702 * inside)
        tokens = tokens + functional.linear(
            inside, tower[f"{block}.mlp.c_proj.weight"], tower[f"{block}.mlp.c_proj.bias"]
        )
    expected = functional.normalize(norm(tokens[:, 0], "ln_post") @ tower["proj"], dim=1).detach()
    torch.testing.assert_close(torch.from_numpy(embed(encoder, [frame()])), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "shape", "epsilon", "mlp"),
    [
        ("vit_tiny_patch14_28", {}, 1e-6, "gelu"),
        ("vit_base_patch14_clip_28", {"norm_before": True, "patch_bias": False}, 1e-5, "gelu"),
        ("vit_base_patch14_clip_quickgelu_28.openai", {"norm_before": True, "patch_bias": False}, 1e-5, "quick_gelu"),
    ],
)
def test_timms_layout(store, tmp_path, name, shape, epsilon, mlp):
    ours, theirs = timm_tower(**shape)
    vision = {**TIMM, "timm_model_name": name}
    folder = write(tmp_path / "folder", theirs, vision, model={"quick_gelu": True})  # which timm's towers ignore
    added = add_model(store, "biomed", folder, licence="MIT")
    stored = added.tensors()
    assert stored.keys() == ours.keys()
    assert all(torch.equal(stored[key], ours[key]) for key in ours)
    assert (added.manifest.network["epsilon"], added.manifest.network["mlp"]) == (epsilon, mlp)
    assert embed(open_encoder("biomed", store), [frame()]).shape == (1, 32)


def test_a_tower_alone_and_a_training_file_will_do_and_names_are_free(store, tmp_path):
    _, theirs = own_tower()
    whole = add_model(store, "whole", write(tmp_path / "whole", theirs), licence="MIT").manifest.weights.sha256
    alone = {key.removeprefix("visual."): tensor for key, tensor in theirs.items()}
    for number, content in enumerate(
        (alone, {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in theirs.items()}})
    ):
        folder = tmp_path / f"free-{number}"
        folder.mkdir()
        torch.save(content, folder / "Fetal_weights.pt")
        (folder / "Fetal_config.json").write_text(json.dumps({"embed_dim": 32, "vision_cfg": VISION}), encoding="utf-8")
        (folder / "vocab.json").write_text("[1, 2]", encoding="utf-8")
        path = folder / "Fetal_weights.pt"
        assert add_model(store, f"free-{number}", path, licence="MIT").manifest.weights.sha256 == whole


@pytest.mark.parametrize(
    ("output", "dim", "taken"), [("cls", 64, "cls"), ("mean", 64, "mean"), ("pooled", 32, "projected")]
)
def test_outputs(store, tmp_path, output, dim, taken):
    folder = write(tmp_path / "folder", own_tower()[1])
    manifest = add_model(store, "one", folder, licence="MIT", output=output).manifest
    assert (manifest.dim, manifest.network["output"]) == (dim, taken)
    assert embed(open_encoder("one", store), [frame()]).shape == (1, dim)


def test_the_preparation_follows_the_json(store, tmp_path):
    _, theirs = own_tower()

    def prepared(**preprocess):
        folder = write(tmp_path / "folder", theirs, preprocess=preprocess)
        return Transform.parse(add_model(store, "one", folder, licence="MIT").manifest.preprocess)

    plain = prepared(size=999)  # OpenCLIP takes the tower's size
    assert (plain.size, plain.fit, plain.resample) == (28, "crop", "bicubic")
    assert plain.mean == (0.48145466, 0.4578275, 0.40821073)
    assert plain.std == (0.26862954, 0.26130258, 0.27577711)
    other = prepared(resize_mode="squash", interpolation="bilinear", mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.2])
    assert (other.fit, other.resample, other.mean) == ("stretch", "bilinear", (0.5, 0.4, 0.3))
    assert prepared(resize_mode="longest", fill_color=0).fit == "pad"


def refusal(store, folder, **options):
    with pytest.raises(BadInput) as caught:
        add_model(store, "refused", folder, **{"licence": "MIT", **options})
    assert store.names() == []
    return caught.value


@pytest.mark.parametrize(
    ("vision", "preprocess", "field"),
    [
        ({"attentional_pool": True}, {}, "vision_cfg.attentional_pool"),
        ({"pool_type": "avg"}, {}, "vision_cfg.pool_type"),
        ({"act_kwargs": {"approximate": "tanh"}}, {}, "vision_cfg.act_kwargs"),
        ({"norm_kwargs": {"elementwise_affine": False}}, {}, "vision_cfg.norm_kwargs"),
        ({"layers": [3, 4, 6, 3]}, {}, "vision_cfg.layers"),
        ({"image_size": [28, 42]}, {}, "vision_cfg.image_size"),
        ({}, {"resize_mode": "longest", "fill_color": 127}, "preprocess_cfg.fill_color"),
        ({}, {"interpolation": "nearest"}, "preprocess_cfg.interpolation"),
        ({}, {"resize_mode": "widest"}, "preprocess_cfg.resize_mode"),
        ({**TIMM, "timm_model_name": "vit_base_patch16_siglip_224"}, {}, "vision_cfg.timm_model_name"),
        ({**TIMM, "timm_model_name": "vit_base_patch16_rope_224"}, {}, "vision_cfg.timm_model_name"),
        ({**TIMM, "timm_pool": "avg"}, {}, "vision_cfg.timm_pool"),
        ({**TIMM, "timm_proj": "mlp"}, {}, "vision_cfg.timm_pool and timm_proj"),
        ({**TIMM, "timm_proj_bias": True}, {}, "vision_cfg.timm_proj_bias"),
    ],
)
def test_what_cannot_be_equalled_is_refused_with_its_field(store, tmp_path, vision, preprocess, field):
    tensors = timm_tower()[1] if "timm_model_name" in vision else own_tower()[1]
    error = refusal(store, write(tmp_path / "folder", tensors, {**VISION, **vision}, preprocess=preprocess))
    assert error.code == "unsupported_model"
    assert field in error.detail


def test_tensors_that_do_not_belong_are_named(store, tmp_path):
    _, theirs = own_tower()
    del theirs["visual.ln_post.bias"]
    theirs["visual.extra"] = torch.ones(2)
    error = refusal(store, write(tmp_path / "folder", theirs, {**VISION, "layers": 3}))
    assert error.code == "wrong_checkpoint"
    assert "missing: blocks.2." in error.detail
    assert "unexpected: extra" in error.detail
    resnet = {"visual.layer1.0.conv1.weight": torch.ones(2, 2, 1, 1)}
    assert refusal(store, write(tmp_path / "folder", resnet)).code == "wrong_checkpoint"


def test_one_file_of_weights_is_asked_for(store, tmp_path):
    folder = write(tmp_path / "folder", own_tower()[1], file="a.pt")
    assert add_model(store, "one", folder, licence="MIT").installed
    write(folder, {}, file="b.pt")
    store.remove("one")
    assert refusal(store, folder).code == "files_missing"


def test_a_file_is_the_weights_whatever_lies_beside_it(store, tmp_path):
    published, tuned = own_tower()[1], own_tower()[1]
    tuned["visual.ln_post.bias"] = tuned["visual.ln_post.bias"] + 1
    folder = write(tmp_path / "folder", tuned, file="tuned.pt")
    write(folder, published)  # open_clip_pytorch_model.bin
    for file, tensors in (("tuned.pt", tuned), ("open_clip_pytorch_model.bin", published)):
        added = add_model(store, "one", folder / file, licence="MIT")
        assert torch.equal(added.tensors()["norm.bias"], tensors["visual.ln_post.bias"])
        assert {file, "open_clip_config.json"} == {
            part["file"] for part in added.manifest.model_extra["installed_from"]
        }
