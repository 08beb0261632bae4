"""The plain vision transformer against a second, slow writing-down of the same formulas."""

import math

import pytest
import torch
from official import random_tensors
from torch.nn import functional

from app.encoders import linear
from app.encoders.device import choose_placement
from app.encoders.vit import ViT, ViTShape, load_vit, positions_for
from app.errors import Misconfigured

SIDE = 42
SHAPES = {
    "dino": {},
    "dinov2": {"layer_scale": True, "grid": 37},
    "registers": {"layer_scale": True, "registers": 4, "grid": 37, "positions": "antialias"},
    "giant": {"layer_scale": True, "mlp": "swiglu", "hidden": 96},
    "clip": {"mlp": "quick_gelu", "norm_before": True, "patch_bias": False, "projection": 32, "output": "projected"},
    "before the norm": {"output": "cls_before_norm"},
    "mean of the patches": {"output": "mean", "registers": 4},
}


def shape_of(**options):
    return ViTShape.parse({"width": 128, "depth": 2, "patch": 14, "grid": 3, **options})


def slow_features(shape, weights, pictures):
    """One picture at a time in float64, one head at a time, nothing fused or folded."""
    w = {key: tensor.double() for key, tensor in weights.items()}
    return torch.stack([_slow(shape, w, picture.double()) for picture in pictures]).float()


def _norm(w, key, x, shape):
    centred = x - x.mean(-1, keepdim=True)
    return (
        centred / (centred.square().mean(-1, keepdim=True) + shape.epsilon).sqrt() * w[f"{key}.weight"]
        + w[f"{key}.bias"]
    )


def _layer(w, key, x):
    return x @ w[f"{key}.weight"].T + w[f"{key}.bias"]


def _slow(shape, w, picture):
    side = SIDE // shape.patch
    cut = picture.reshape(3, side, shape.patch, side, shape.patch).permute(1, 3, 0, 2, 4).reshape(side * side, -1)
    x = cut @ w["patch_embed.proj.weight"].flatten(1).T + w.get("patch_embed.proj.bias", 0.0)
    positions = positions_for(w["pos_embed"].float(), side, shape.positions)[0].double()
    x = torch.cat([w["cls_token"][0], x]) + positions
    if shape.registers:
        x = torch.cat([x[:1], w["register_tokens"][0], x[1:]])
    if shape.norm_before:
        x = _norm(w, "pos_drop", x, shape)
    for number in range(shape.depth):
        block = f"blocks.{number}"
        x = x + _scaled(w, f"{block}.ls1", _attention(w, block, _norm(w, f"{block}.norm1", x, shape)))
        x = x + _scaled(w, f"{block}.ls2", _mlp(shape, w, f"{block}.mlp", _norm(w, f"{block}.norm2", x, shape)))
    if shape.output == "cls_before_norm":
        return x[0]
    normed = _norm(w, "norm", x, shape)
    if shape.output == "mean":
        return normed[1 + shape.registers :].mean(0)
    return w["proj.weight"] @ normed[0] if shape.output == "projected" else normed[0]


def _scaled(w, key, x):
    return x * w.get(f"{key}.gamma", 1.0)


def _attention(w, block, x):
    query, key, value = _layer(w, f"{block}.attn.qkv", x).chunk(3, dim=-1)
    heads = []
    for start in range(0, x.shape[1], 64):
        part = slice(start, start + 64)
        weights = (query[:, part] @ key[:, part].T / math.sqrt(64)).softmax(-1)
        heads.append(weights @ value[:, part])
    return _layer(w, f"{block}.attn.proj", torch.cat(heads, dim=-1))


def _mlp(shape, w, key, x):
    if shape.mlp == "swiglu":
        gate, values = _layer(w, f"{key}.w12", x).chunk(2, dim=-1)
        return _layer(w, f"{key}.w3", gate * torch.sigmoid(gate) * values)
    inner = _layer(w, f"{key}.fc1", x)
    active = inner * torch.sigmoid(1.702 * inner) if shape.mlp == "quick_gelu" else functional.gelu(inner)
    return _layer(w, f"{key}.fc2", active)


def pictures():
    return torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(9))


@pytest.fixture(params=[True, False], ids=["packed", "plain"])
def packing(request, monkeypatch):
    if not request.param:  # as on a GPU, or on a processor without what oneDNN needs
        monkeypatch.setattr(linear, "onednn_computes", lambda _dtype: False)
    return request.param


@pytest.mark.parametrize("options", SHAPES.values(), ids=SHAPES)
def test_every_option_gives_what_its_formula_says(options, packing):
    shape = shape_of(**options)
    weights = random_tensors(ViT(shape))
    network = load_vit(shape, weights, SIDE, choose_placement("cpu", "fp32"))
    assert (network.blocks[0].attn.qkv.packed is not None) == packing
    with torch.inference_mode():
        ours = network(pictures())
    torch.testing.assert_close(ours, slow_features(shape, weights, pictures()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_stays_close_and_answers_in_float32(precision, packing):
    shape = shape_of(layer_scale=True)
    weights = random_tensors(ViT(shape))
    exact = slow_features(shape, weights, pictures())
    with torch.inference_mode():
        ours = load_vit(shape, weights, SIDE, choose_placement("cpu", precision))(pictures())
    assert ours.dtype == torch.float32
    cosines = functional.cosine_similarity(ours, exact)
    assert 0.999 < cosines.min() < 1 - 1e-9


def test_making_ready_leaves_the_given_tensors_alone(packing):
    shape = shape_of(layer_scale=True, mlp="quick_gelu")
    weights = random_tensors(ViT(shape))
    before = {key: tensor.clone() for key, tensor in weights.items()}
    load_vit(shape, weights, SIDE, choose_placement("cpu", "fp32"))
    assert all(torch.equal(weights[key], before[key]) for key in before)


def test_positions_stay_at_home_and_differ_by_recipe():
    stored = torch.randn(1, 1 + 9, 128)
    assert positions_for(stored, 3, "offset") is stored
    by_offset, by_size = (positions_for(stored, 5, how) for how in ("offset", "antialias"))
    assert by_offset.shape == by_size.shape == (1, 26, 128)
    assert torch.equal(by_offset[:, 0], stored[:, 0])
    assert (by_offset - by_size).abs().max() > 1e-3


@pytest.mark.parametrize("fault", [{"width": 100}, {"depth": 0}, {"mlp": "relu"}, {"heads": 3}])
def test_a_bad_network_table_names_its_keys(fault):
    with pytest.raises(Misconfigured) as caught:
        shape_of(**fault)
    assert caught.value.code == "bad_network"
    assert next(iter(fault)) in caught.value.hint


@pytest.mark.parametrize("fault", [{"width": 64}, {"depth": 1}, {"registers": 4}])
def test_tensors_of_another_network_are_refused_in_words(fault):
    weights = random_tensors(ViT(shape_of()))
    with pytest.raises(Misconfigured) as caught:
        load_vit(shape_of(**fault), weights, SIDE, choose_placement("cpu", "fp32"))
    assert caught.value.code == "bad_weights"
