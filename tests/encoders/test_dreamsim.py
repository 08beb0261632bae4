"""DreamSim from tiny files in official layout: what it computes, what it refuses, and the shipped manifests."""

import json
import os
import resource
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save
from tiny_dreamsim import (
    CONFIG,
    DIM,
    DINO_SHAPE,
    ENSEMBLE,
    IMAGENET,
    RANK,
    SIZE,
    ZIP,
    base_tensors,
    lora_tensors,
    members_of,
    saved,
    write_official,
    write_tiny_manifest,
)
from torch.nn import functional

from app.domain import Frame, ImageFacts
from app.encoders.adding import add_model
from app.encoders.base import embed
from app.encoders.device import choose_placement
from app.encoders.dreamsim_files import open_official
from app.encoders.registry import layout, open_encoder
from app.encoders.weights import WeightStore, shipped_models
from app.errors import BadInput, Misconfigured, SonoSeekError

NAME = "dreamsim-ensemble"
SYNCLR = {"name": "synclr_vitb16", **IMAGENET, "shape": DINO_SHAPE}
PATCH = {"name": "dino_vitb16", **IMAGENET, "shape": {**DINO_SHAPE, "output": "tokens"}}


@pytest.fixture
def store(tmp_path):
    return WeightStore(tmp_path / "installed", tmp_path / "shipped")


def pictures():
    random = np.random.default_rng(0)
    shapes = [(40, 50), (28, 28), (61, 33, 3), (90, 120), (30, 200, 3), (55, 54)]
    return [random.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]


def frames():
    return [Frame(pixels, ImageFacts(sha256="", format="png", width=1, height=1)) for pixels in pictures()]


def install(store, tmp_path, branches=ENSEMBLE, *, name=NAME, members=None, dim=DIM, **network):
    write_tiny_manifest(tmp_path / "shipped", name, branches, dim, **network)
    official = write_official(tmp_path / "official", branches, members)
    return add_model(store, name, official, allow_unknown_digest=True)


def vectors_of(name, store):
    # One thread: two that wait for each other are slow on a busy machine, and these networks are tiny.
    return embed(open_encoder(name, store, choose_placement("cpu", "fp32", threads=1)), frames())


# -- what the published code computes, written down once more without any class ---------------------------


def tokens_of(tensors, branch, number, pixels, *, scale=CONFIG["lora_alpha"] / RANK, quick=None, clip_colours=None):
    """The tokens of one picture after the last block, the adapter beside the weights and not merged into them."""
    shape, lora = branch["shape"], lora_tensors(ENSEMBLE if branch in ENSEMBLE else (branch,))
    colours = branch if clip_colours is None else clip_colours
    whole = np.asarray(Image.fromarray(pixels).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    values = torch.from_numpy(whole.copy()).permute(2, 0, 1) / 255
    values = (values - torch.tensor(colours["mean"])[:, None, None]) / torch.tensor(colours["std"])[:, None, None]
    epsilon, width = shape.get("epsilon", 1e-6), shape["width"]

    def norm(name, tokens):
        return functional.layer_norm(tokens, (width,), tensors[f"{name}.weight"], tensors[f"{name}.bias"], epsilon)

    def linear(name, tokens):
        return tokens @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def activated(values):
        fast = shape.get("mlp") == "quick_gelu" if quick is None else quick
        return values * torch.sigmoid(1.702 * values) if fast else functional.gelu(values)

    patches = functional.conv2d(
        values[None], tensors["patch_embed.proj.weight"], tensors["patch_embed.proj.bias"], stride=shape["patch"]
    )
    tokens = torch.cat([tensors["cls_token"][0], patches[0].flatten(1).T]) + tensors["pos_embed"][0]
    tokens = norm("pos_drop", tokens) if shape.get("norm_before") else tokens
    for block in range(shape["depth"]):
        at = f"blocks.{block}"
        key = f"base_model.model.extractor_list.{number}.model.{at}.attn.qkv"
        inner = norm(f"{at}.norm1", tokens)
        adapted = inner @ lora[f"{key}.lora_A.weight"].T @ lora[f"{key}.lora_B.weight"].T
        fused = linear(f"{at}.attn.qkv", inner) + scale * adapted
        query, key, value = fused.chunk(3, dim=1)
        mixed = torch.softmax(query @ key.T / width**0.5, dim=1) @ value
        tokens = tokens + linear(f"{at}.attn.proj", mixed)
        tokens = tokens + linear(f"{at}.mlp.fc2", activated(linear(f"{at}.mlp.fc1", norm(f"{at}.norm2", tokens))))
    if branch["shape"]["output"] == "projected":
        return norm("norm", tokens)[:1] @ tensors["proj.weight"].T
    return tokens


def normalised(features, *, centred=True):
    features = features - features.mean(dim=-1, keepdim=True) if centred else features
    return features / features.norm(dim=-1, keepdim=True)


def ensemble_vectors(centred=True, **mistake):
    rows = []
    for pixels in pictures():
        towers = enumerate(zip(base_tensors(), ENSEMBLE, strict=True))
        features = [tokens_of(tensors, branch, number, pixels, **mistake)[0] for number, (tensors, branch) in towers]
        rows.append(normalised(torch.cat(features), centred=centred))
    return torch.stack(rows)


def centred_cosine(a, b):
    return functional.cosine_similarity(a - a.mean(0), b - b.mean(0)).min().item()


def test_the_ensemble_equals_the_published_recipe(store, tmp_path):
    added = install(store, tmp_path)
    ours = torch.from_numpy(vectors_of(NAME, store))
    theirs = ensemble_vectors()
    assert ours.shape == (len(frames()), DIM)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert centred_cosine(ours, theirs) >= 0.99999
    assert [entry["file"] for entry in added.manifest.model_extra["installed_from"]] == [
        ZIP,
        "dino_vitbase16_pretrain.pth",
    ]
    assert {key.split(".")[0] for key in added.tensors()} == {branch["name"] for branch in ENSEMBLE}


@pytest.mark.parametrize(
    "mistake",
    [{"scale": 0.0}, {"quick": False}, {"clip_colours": IMAGENET}, {"centred": False}],
    ids=["without LoRA", "exact GELU everywhere", "ImageNet colours everywhere", "not centred"],
)
def test_a_wrong_recipe_is_seen(store, tmp_path, mistake):
    install(store, tmp_path)
    ours = torch.from_numpy(vectors_of(NAME, store))
    with pytest.raises(AssertionError):
        torch.testing.assert_close(ours, ensemble_vectors(**mistake), rtol=1e-4, atol=1e-5)


def test_vectors_of_before_the_centring_are_another_encoder(store, tmp_path):
    centred = install(store, tmp_path).manifest
    older = install(store, tmp_path, name="dreamsim-older", normalise="l2").manifest
    torch.testing.assert_close(
        torch.from_numpy(vectors_of("dreamsim-older", store)),
        ensemble_vectors(centred=False),
        rtol=1e-4,
        atol=1e-5,
    )
    assert older.weights.sha256 == centred.weights.sha256
    assert older.digest("fp32") != centred.digest("fp32")


def test_patches_are_normalised_one_by_one_and_averaged(store, tmp_path):
    members = members_of((PATCH,), "dino_vitb16_patch_lora")
    install(store, tmp_path, (PATCH,), name="dreamsim-patch", members=members, dim=128)
    ours = torch.from_numpy(vectors_of("dreamsim-patch", store))
    (tensors,) = base_tensors((PATCH,))
    rows = [normalised(tokens_of(tensors, PATCH, 0, pixels)) for pixels in pictures()]
    theirs = torch.stack([torch.cat([tokens[0], tokens[1:].mean(dim=0)]) for tokens in rows])
    torch.testing.assert_close(ours, functional.normalize(theirs, dim=1), rtol=1e-4, atol=1e-5)


def test_a_single_branch_out_of_a_training_file_with_an_adapter_of_the_old_format(store, tmp_path):
    members = members_of((SYNCLR,), "synclr_vitb16_single_lora")
    del members["synclr_vitb16_single_lora/adapter_model.safetensors"]
    members["synclr_vitb16_single_lora/adapter_model.bin"] = saved(lora_tensors((SYNCLR,)))
    install(store, tmp_path, (SYNCLR,), name="dreamsim-synclr", members=members, dim=64)
    ours = torch.from_numpy(vectors_of("dreamsim-synclr", store))
    (tensors,) = base_tensors((SYNCLR,))
    theirs = torch.stack([normalised(tokens_of(tensors, SYNCLR, 0, pixels)[0]) for pixels in pictures()])
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_layout_is_that_of_what_is_installed(store, tmp_path):
    added = install(store, tmp_path)
    expected = {key: tuple(tensor.shape) for key, tensor in layout(added.manifest).items()}
    assert {key: tuple(tensor.shape) for key, tensor in added.tensors().items()} == expected


# -- what is refused --------------------------------------------------------------------------------------


def refused(store, tmp_path, members, code):
    with pytest.raises(SonoSeekError) as caught:
        install(store, tmp_path, members=members)
    assert caught.value.code == code, caught.value.detail
    assert not store.find(NAME).installed
    return caught.value


@pytest.mark.parametrize(
    "part",
    [
        "clip_vitb16_pretrain.pth.tar",
        "open_clip_vitb16_pretrain.pth.tar",
        "ensemble_lora/adapter_model.safetensors",
        "ensemble_lora/adapter_config.json",
    ],
)
def test_a_part_that_is_missing_is_named(store, tmp_path, part):
    members = members_of()
    del members[part]
    assert part in refused(store, tmp_path, members, "part_missing").detail


def test_the_backbone_beside_the_zip_is_asked_for(store, tmp_path):
    write_tiny_manifest(tmp_path / "shipped")
    official = write_official(tmp_path / "official")
    (official / "dino_vitbase16_pretrain.pth").unlink()
    with pytest.raises(BadInput) as caught:
        add_model(store, NAME, official / ZIP, allow_unknown_digest=True)
    assert caught.value.code == "files_missing"
    assert "dino_vitbase16_pretrain.pth" in caught.value.detail


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"use_rslora": True}, "use_rslora"),
        ({"modules_to_save": ["mlp"]}, "modules_to_save"),
        ({"rank_pattern": {"blocks.0": 8}}, "rank_pattern"),
        ({"alpha_pattern": {"blocks.0": 8}}, "alpha_pattern"),
        ({"layers_to_transform": [0]}, "layers_to_transform"),
        ({"loftq_config": {"loftq_bits": 4}}, "loftq_config"),
        ({"target_modules": ["qkv", "proj"]}, "target_modules"),
        ({"target_modules": None}, "target_modules"),
        ({"bias": "all"}, "bias"),
        ({"peft_type": "LOHA"}, "peft_type"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"of_a_later_version": 1}, "of_a_later_version"),
        ({"r": 0}, "lacks r"),
        ({"lora_alpha": None}, "lora_alpha"),
    ],
)
def test_adapters_of_another_kind_are_refused(store, tmp_path, change, named):
    config = json.dumps({**CONFIG, **change}).encode()
    members = {**members_of(), "ensemble_lora/adapter_config.json": config}
    assert named in refused(store, tmp_path, members, "bad_adapter").detail


def test_settings_of_training_and_empty_ones_do_not_matter(store, tmp_path):
    config = {
        **CONFIG, "target_modules": "qkv", "rank_pattern": {}, "modules_to_save": None, "use_dora": False,
        "megatron_core": "megatron.core", "qalora_group_size": 16, "inference_mode": True, "loftq_config": {"a": None},
    }  # fmt: skip
    members = {**members_of(), "ensemble_lora/adapter_config.json": json.dumps(config).encode()}
    assert install(store, tmp_path, members=members).installed


@pytest.mark.parametrize("config", [b"{", b"[]", b"\xff"])
def test_a_configuration_that_is_none(store, tmp_path, config):
    refused(store, tmp_path, {**members_of(), "ensemble_lora/adapter_config.json": config}, "bad_adapter")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lora, key: lora.pop(key), "missing: lora_A of block 1 of branch 2"),
        (
            lambda lora, key: lora.update({key.replace(".2.", ".3."): lora[key].clone()}),
            "unexpected: lora_A of block 1",
        ),
        (lambda lora, key: lora.update({"lm_head.weight": lora[key].clone()}), "unexpected: lm_head.weight"),
        (lambda lora, key: lora.update({key: lora[key].T.contiguous()}), "is (64, 4), not (4, 64)"),
    ],
)
def test_every_factor_of_the_adapter_is_checked(store, tmp_path, change, says):
    lora = lora_tensors()
    change(lora, "base_model.model.extractor_list.2.model.blocks.1.attn.qkv.lora_A.weight")
    members = {**members_of(), "ensemble_lora/adapter_model.safetensors": save(lora)}
    assert says in refused(store, tmp_path, members, "wrong_checkpoint").detail


def test_a_backbone_of_another_shape_is_refused_by_name(store, tmp_path):
    (_, clip, _) = base_tensors()
    clip["proj"] = clip.pop("proj.weight")  # not transposed
    members = {**members_of(), "clip_vitb16_pretrain.pth.tar": saved({"state_dict": clip})}
    detail = refused(store, tmp_path, members, "wrong_checkpoint").detail
    assert "clip_vitb16" in detail
    assert "proj.weight is (64, 32)" in detail


def test_zips_of_dreamsim_0_1_get_a_hint(store, tmp_path):
    members = members_of()
    for end in ("config.json", "model.safetensors"):
        members[f"dino_vitb16_lora/adapter_{end}"] = members.pop(f"ensemble_lora/adapter_{end}")
    problem = refused(store, tmp_path, members, "other_dreamsim")
    assert "DreamSim 0.1" in problem.detail
    assert "v0.2.0" in problem.hint


def test_code_in_a_member_does_not_run(store, tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    members = {**members_of(), "clip_vitb16_pretrain.pth.tar": saved({"state_dict": {"a": Payload()}})}
    refused(store, tmp_path, members, "unsafe_checkpoint")
    assert not (tmp_path / "ran").exists()


def test_members_that_want_to_lie_elsewhere_are_never_written(store, tmp_path):
    members = {"../../escaped": b"x", f"{tmp_path}/absolute": b"x", **members_of()}
    assert install(store, tmp_path, members=members).installed
    assert not list(tmp_path.parent.rglob("escaped"))
    assert not (tmp_path / "absolute").exists()


def test_the_authors_package_gets_the_members_that_it_knows(tmp_path):
    member = "dino_vitb16_pretrain.pth"
    members = {**members_of(), member: saved({"a": torch.ones(2)}), "../out": b"a", "sitecustomize.py": b"b"}
    write_official(tmp_path / "official", members=members)
    (tmp_path / "package").mkdir()
    with open_official({ZIP: tmp_path / "official" / ZIP}) as official:
        official.copy_for_package(tmp_path / "package")
    written = {str(path.relative_to(tmp_path / "package")) for path in (tmp_path / "package").rglob("*.*")}
    assert written == set(members) - {"../out", "sitecustomize.py"}
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "package" / member).read_bytes() == members[member]


@pytest.mark.parametrize("size", [0, 1000, 60_000])
def test_a_zip_that_is_cut_short_is_refused(store, tmp_path, size):
    write_tiny_manifest(tmp_path / "shipped")
    official = write_official(tmp_path / "official")
    assert (official / ZIP).stat().st_size > size
    os.truncate(official / ZIP, size)
    with pytest.raises(BadInput) as caught:
        add_model(store, NAME, official, allow_unknown_digest=True)
    assert caught.value.code == "not_a_zip"


def test_a_zip_with_flipped_bits_is_refused(store, tmp_path):
    write_tiny_manifest(tmp_path / "shipped")
    path = write_official(tmp_path / "official") / ZIP
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("clip_vitb16_pretrain.pth.tar").header_offset + 5000
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(BadInput) as caught:
        add_model(store, NAME, path.parent, allow_unknown_digest=True)
    assert caught.value.code == "not_a_zip"


def test_no_room_for_a_member_is_said(store, tmp_path):
    write_tiny_manifest(tmp_path / "shipped")
    official = write_official(tmp_path / "official")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))  # no file may grow further, as on a full disk
    try:
        with pytest.raises(Misconfigured) as caught:
            add_model(store, NAME, official, allow_unknown_digest=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.code == "no_scratch_room"
    assert not (tmp_path / "installed").exists()


def test_no_temporary_folder_is_said(store, tmp_path, monkeypatch):
    write_tiny_manifest(tmp_path / "shipped")
    official = write_official(tmp_path / "official")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(Misconfigured) as caught:
        add_model(store, NAME, official, allow_unknown_digest=True)
    assert caught.value.code == "no_scratch_room"


@pytest.mark.parametrize(
    "network",
    [
        {"normalise": "none"},
        {"branches": []},
        {"branches": [{**ENSEMBLE[0], "name": "resnet50"}]},
        {"branches": [PATCH, ENSEMBLE[1]]},
    ],
)
def test_a_network_table_that_makes_no_sense(store, tmp_path, network):
    write_tiny_manifest(tmp_path / "shipped", **network)
    with pytest.raises(Misconfigured) as caught:
        add_model(store, NAME, write_official(tmp_path / "official"), allow_unknown_digest=True)
    assert caught.value.code == "bad_network"


def test_shipped_manifests_say_what_their_networks_are():
    store = WeightStore(shipped_models())
    names = [name for name in store.names() if name.startswith("dreamsim-")]
    assert len(names) == 8
    for name in names:
        manifest = store.find(name).manifest
        tensors = layout(manifest)
        assert manifest.parameters == sum(tensor.numel() for tensor in tensors.values()), name
        widths = [
            branch["shape"].get("projection", branch["shape"]["width"] * (2 if name.endswith("patch") else 1))
            for branch in manifest.network["branches"]
        ]
        assert manifest.dim == sum(widths), name
        assert sum(source.file.endswith(".zip") for source in manifest.source) == 1
        assert manifest.preprocess["fit"] == "stretch"
    assert store.find(NAME).manifest.dim == 1792
