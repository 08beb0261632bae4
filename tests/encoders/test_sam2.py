"""SAM 2 against transformers' own, and what is taken and refused of its official files."""

import numpy as np
import pytest
import torch
from official import random_tensors, write_manifest
from PIL import Image
from torch.nn import functional

from app.domain import Frame, ImageFacts
from app.encoders.adding import add_model
from app.encoders.base import embed
from app.encoders.device import Placement
from app.encoders.float_transform import FloatTransform
from app.encoders.registry import layout, open_encoder
from app.encoders.sam2 import Sam2, Sam2Shape, load_sam2
from app.encoders.weights import WeightStore
from app.errors import BadInput, Misconfigured

TINY = {
    "width": 16,
    "heads": 1,
    "blocks": [1, 2, 3, 2],
    "windows": [8, 4, 14, 7],
    "global_blocks": [4],
    "background": 7,
    "release": "2.1",
}
OTHER_PARTS = {"memory_attention.norm.weight": torch.ones(3), "no_obj_embed_spatial": torch.ones(1, 64)}
RENAMED = [
    ("image_encoder.trunk.", "backbone."),
    ("image_encoder.neck.", "neck."),
    (".conv.", "."),
    ("patch_embed.proj.", "patch_embed.projection."),
    (".norm1.", ".layer_norm1."),
    (".norm2.", ".layer_norm2."),
    ("mlp.layers.0.", "mlp.proj_in."),
    ("mlp.layers.1.", "mlp.proj_out."),
]


def official_tensors(network=TINY):
    """What the image encoder of an official file holds, all four levels of the neck."""
    return random_tensors(Sam2(Sam2Shape.parse(network), levels=4))


def ours(tensors, side, precision="fp32", network=TINY):
    shape = Sam2Shape.parse(network)
    served = {key: tensors[key].clone() for key in Sam2(shape).state_dict()}
    return load_sam2(shape, served, side, Placement(torch.device("cpu"), precision)).eval()


def theirs(tensors, pictures, network=TINY):
    """The mean of the image embedding, with transformers' layers and the neck that we do without."""
    from transformers.models.sam2 import Sam2HieraDetConfig, Sam2VisionConfig, Sam2VisionModel

    shape = Sam2Shape.parse(network)
    widths = [shape.width << stage for stage in range(4)]
    trunk = Sam2HieraDetConfig(
        hidden_size=shape.width,
        blocks_per_stage=list(shape.blocks),
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[shape.heads << stage for stage in range(4)],
        window_size_per_stage=list(shape.windows),
        global_attention_blocks=list(shape.global_blocks),
        window_positional_embedding_background_size=[shape.background] * 2,
    )
    model = Sam2VisionModel(Sam2VisionConfig(backbone_config=trunk, backbone_channel_list=widths[::-1])).eval()
    assert {module.eps for module in model.modules() if isinstance(module, torch.nn.LayerNorm)} == {1e-6}
    renamed = dict(tensors)
    no_memory = renamed.pop("no_mem_embed")
    for old, new in RENAMED:
        renamed = {key.replace(old, new): value for key, value in renamed.items()}
    model.load_state_dict(renamed, strict=True)
    return model(pictures).fpn_hidden_states[-1].mean(dim=(2, 3)) + no_memory[0]


def pictures(side, count=3):
    generator = torch.Generator().manual_seed(5)
    return functional.interpolate(torch.randn(count, 3, 9, 9, generator=generator), size=(side, side), mode="bilinear")


def unit(features):
    return functional.normalize(features, dim=1)


@pytest.mark.parametrize(
    ("side", "network"),
    [
        (256, TINY),  # a whole window of the later stages, two that reach beyond the edge, and the corner
        (96, TINY),  # less than one
        (256, TINY | {"windows": [8, 4, 16, 8], "heads": 2, "background": 14}),  # no edge
    ],
)
@torch.no_grad()
def test_the_embedding_is_that_of_transformers_layers(side, network):
    tensors = official_tensors(network)
    seen = unit(ours(tensors, side, network=network)(pictures(side)))
    expected = unit(theirs(tensors, pictures(side), network))
    assert (expected[0] @ expected[1]).item() < 0.995  # other pictures are told apart
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-5)
    tensors["no_mem_embed"] = torch.zeros(1, 1, 256)
    without = unit(ours(tensors, side, network=network)(pictures(side)))
    assert abs(without - expected).max() > 1e-3


@torch.no_grad()
def test_a_picture_larger_than_one_piece_is_put_together_again(monkeypatch):
    tensors = official_tensors()
    whole = ours(tensors, 256)(pictures(256))
    monkeypatch.setattr("app.encoders.sam2_hiera._PIECE", 100)  # no whole number of windows
    monkeypatch.setattr("app.encoders.sam2_hiera._ROWS", 48)
    torch.testing.assert_close(ours(tensors, 256)(pictures(256)), whole, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_half_precision_stays_near():
    tensors = official_tensors()
    exact = ours(tensors, 256)(pictures(256))
    near = ours(tensors, 256, "bf16")(pictures(256))
    assert near.dtype == torch.float32
    assert functional.cosine_similarity(near, exact).min() > 0.9995
    assert not torch.equal(near, exact)


@pytest.mark.parametrize("shape", [(480, 640), (180, 200), (96, 96)])
def test_pictures_are_scaled_as_fractions(shape):
    grey = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    colour = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    table = {"size": 96, "fit": "stretch", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    transform = FloatTransform.parse(table | {"resample": "bilinear"})
    for picture, rgb in ((grey, np.stack([grey] * 3, axis=2)), (colour, colour)):
        planes = torch.from_numpy(rgb).permute(2, 0, 1).contiguous().float().div(255)[None]
        scaled = functional.interpolate(planes, size=(96, 96), mode="bilinear", align_corners=False, antialias=True)[0]
        mean, std = torch.tensor(table["mean"])[:, None, None], torch.tensor(table["std"])[:, None, None]
        expected = ((planes[0] if shape == (96, 96) else scaled) - mean) / std
        np.testing.assert_array_equal(transform.tensor(picture), expected.numpy())
    bytewise = np.asarray(Image.fromarray(grey).resize((96, 96), Image.Resampling.BILINEAR)) / 255
    assert (abs(transform.tensor(grey)[0] * 0.229 + 0.485 - bytewise).max() > 1e-3) == (shape != (96, 96))
    with pytest.raises(Misconfigured):
        FloatTransform.parse(table | {"resample": "bicubic"})


def test_fractions_are_cropped_and_padded_too():
    table = {"size": 64, "mean": [0, 0, 0], "std": [1, 1, 1], "resample": "bilinear"}
    white = np.full((100, 200), 255, np.uint8)
    padded = FloatTransform.parse(table | {"fit": "pad"}).tensor(white)
    np.testing.assert_allclose(padded[0, :, 0], [0.0] * 16 + [1.0] * 32 + [0.0] * 16, rtol=1e-6)
    np.testing.assert_allclose(FloatTransform.parse(table | {"fit": "crop"}).tensor(white), 1, rtol=1e-6)


@pytest.fixture
def store(tmp_path):
    table = {"fit": "stretch", "resample": "bilinear", "size": 96, "resize": 96}
    write_manifest(tmp_path / "shipped", "tiny", kind="sam2", dim=256, source=("tiny.pt",), network=TINY, **table)
    return WeightStore(tmp_path / "installed", tmp_path / "shipped")


@pytest.fixture
def official(tmp_path):
    path = tmp_path / "tiny.pt"
    torch.save({"model": {**official_tensors(), **OTHER_PARTS}}, path)
    return path


def frames(count=2):
    random = np.random.default_rng(0)
    facts = ImageFacts(sha256="", format="png", width=50, height=40)
    return [Frame(random.integers(0, 256, (40, 50), dtype=np.uint8), facts) for _ in range(count)]


def test_of_an_official_file_only_what_is_needed_is_kept(store, official):
    added = add_model(store, "tiny", official, allow_unknown_digest=True)
    assert set(added.tensors()) == set(layout(added.manifest))
    assert not any(key.startswith(("memory", "no_obj", "image_encoder.neck.convs.2")) for key in added.tensors())
    vectors = embed(open_encoder("tiny", store), frames())
    assert vectors.shape == (2, 256)
    network = ours(torch.load(official)["model"], 96)
    prepared = torch.from_numpy(np.stack([open_encoder("tiny", store).pre(frame) for frame in frames()]))
    with torch.no_grad():
        np.testing.assert_allclose(vectors, unit(network(prepared)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda tensors: tensors.pop("no_mem_embed"), "missing: no_mem_embed"),
        (lambda tensors: tensors.pop("image_encoder.neck.convs.3.conv.bias"), "missing: image_encoder.neck.convs.3"),
        (lambda tensors: tensors.update({"image_encoder.trunk.blocks.9.x": torch.ones(1)}), "unexpected: image_enc"),
        (lambda tensors: tensors.update(head=torch.ones(1)), "unexpected: head"),
        (lambda tensors: tensors.update({"no_mem_embed": torch.ones(1, 1, 64)}), "no_mem_embed is (1, 1, 64)"),
        (lambda tensors: tensors.pop("no_obj_embed_spatial"), "this file is of SAM 2.0, not of SAM 2.1"),
    ],
)
def test_every_key_of_the_image_encoder_is_checked(store, official, change, says):
    tensors = torch.load(official)["model"]
    change(tensors)
    torch.save({"model": tensors}, official)
    with pytest.raises(BadInput) as caught:
        add_model(store, "tiny", official, allow_unknown_digest=True)
    assert caught.value.code == "wrong_checkpoint"
    assert says in caught.value.detail
    assert not store.find("tiny").installed


def test_a_file_without_the_outer_table_is_refused(store, official):
    torch.save(torch.load(official)["model"], official)
    with pytest.raises(BadInput) as caught:
        add_model(store, "tiny", official, allow_unknown_digest=True)
    assert caught.value.code == "not_a_checkpoint"


def test_another_size_is_another_encoder(store, official):
    plain = add_model(store, "tiny", official, allow_unknown_digest=True)
    large = add_model(store, "tiny", official, allow_unknown_digest=True, under="large", size=256)
    assert large.manifest.digest("fp32") != plain.manifest.digest("fp32")
    assert large.manifest.weights.sha256 == plain.manifest.weights.sha256
    encoder = open_encoder("large", store)
    prepared = torch.from_numpy(np.stack([encoder.pre(frame) for frame in frames()]))
    with torch.no_grad():
        expected = unit(theirs(official_tensors(), prepared))
    assert prepared.shape == (2, 3, 256, 256)
    torch.testing.assert_close(torch.from_numpy(embed(encoder, frames())), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(Misconfigured) as caught:
        add_model(store, "tiny", official, allow_unknown_digest=True, under="odd", size=100)
    assert caught.value.code == "bad_preprocess"


@pytest.mark.parametrize(
    "change",
    [{"windows": [8, 8, 14, 7]}, {"windows": [8, 4, 14, 8]}, {"global_blocks": [2]}, {"release": "3.0"}, {"heads": 3}],
)
def test_a_network_that_no_order_of_tokens_fits_is_refused(change):
    with pytest.raises(Misconfigured) as caught:
        Sam2Shape.parse(TINY | change)
    assert caught.value.code == "bad_network"


@pytest.mark.parametrize("change", [{"width": 32}, {"blocks": [1, 2, 2, 2]}])
def test_tensors_of_another_network_are_refused_in_words(change):
    weights = random_tensors(Sam2(Sam2Shape.parse(TINY)))
    with pytest.raises(Misconfigured) as caught:
        load_sam2(Sam2Shape.parse(TINY | change), weights, 96, Placement(torch.device("cpu"), "fp32"))
    assert caught.value.code == "bad_weights"


def test_the_shipped_manifests_count_what_is_served(tmp_path):
    shipped = WeightStore(tmp_path)
    names = [name for name in shipped.names() if name.startswith("sam2") and shipped.find(name).manifest.kind == "sam2"]
    assert len(names) == 8
    for name in names:
        manifest = shipped.find(name).manifest
        assert sum(tensor.numel() for tensor in layout(manifest).values()) == manifest.parameters
        assert (manifest.network["release"] == "2.1") == name.startswith("sam2.1-")
        assert manifest.source[0].file.startswith("sam2.1_") == name.startswith("sam2.1-")
