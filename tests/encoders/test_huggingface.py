"""Local Hugging Face folders: the vectors of transformers itself, and plain refusals of what cannot be equalled."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
import transformers
from official import write_manifest
from PIL import Image
from safetensors.torch import load_file, save_file

from app.domain import Frame, ImageFacts
from app.encoders.adding import add_model
from app.encoders.base import embed
from app.encoders.device import choose_placement
from app.encoders.processor import ProcessorTransform, preprocess_of
from app.encoders.registry import open_encoder
from app.encoders.weights import WeightStore
from app.errors import BadInput, Conflict, Misconfigured, NotFound

BODY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
PICTURE = {"image_size": 32, "patch_size": 8}
TEXT = {**BODY, "vocab_size": 50, "max_position_embeddings": 8, "bos_token_id": 1, "eos_token_id": 2}
TOWERS = {"vision_config": {**BODY, **PICTURE}, "text_config": TEXT}
CROP = {
    "image_processor_type": "BitImageProcessor",
    "size": {"shortest_edge": 37},
    "crop_size": {"height": 32, "width": 32},
    "resample": 3,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "rescale_factor": 1 / 255,
}
STRETCH = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32}, "resample": 2}
FOLDERS = {
    "dinov2": (transformers.Dinov2Model, transformers.Dinov2Config(**BODY, image_size=40, patch_size=8), CROP),
    "dinov2-reg": (
        transformers.Dinov2WithRegistersModel,
        transformers.Dinov2WithRegistersConfig(**BODY, image_size=40, patch_size=8, num_register_tokens=3),
        CROP,
    ),
    "dinov3": (
        transformers.DINOv3ViTModel,
        transformers.DINOv3ViTConfig(**BODY, **PICTURE, num_register_tokens=4),
        {**STRETCH, "image_processor_type": "DINOv3ViTImageProcessorFast", "do_center_crop": None},
    ),
    "siglip": (transformers.SiglipModel, transformers.SiglipConfig(**TOWERS), STRETCH),
    "clip": (
        transformers.CLIPModel,
        transformers.CLIPConfig(**TOWERS, projection_dim=24),
        {"feature_extractor_type": "CLIPFeatureExtractor", "size": 33, "crop_size": 32, "resample": 3},
    ),
    "vit": (
        transformers.ViTForImageClassification,
        transformers.ViTConfig(**BODY, **PICTURE),
        {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}},
    ),
    "convnext": (
        transformers.ConvNextModel,
        transformers.ConvNextConfig(depths=[1, 1, 1, 1], hidden_sizes=[16, 16, 32, 32]),
        CROP,
    ),
    "resnet": (
        transformers.ResNetModel,
        transformers.ResNetConfig(
            embedding_size=16, hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 1, 1], layer_type="basic"
        ),
        CROP,
    ),
}


@pytest.fixture(scope="module", autouse=True)
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    transformers.utils.logging.disable_progress_bar()
    for name, (kind, config, processor) in FOLDERS.items():
        torch.manual_seed(1)
        model = kind(config)
        for parameter in model.parameters():  # no zeros, no ones: nothing that hides a mistake
            parameter.data += 0.1 * torch.randn_like(parameter)
        for norm in model.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.running_mean += 0.1 * torch.randn_like(norm.running_mean)
                norm.running_var *= 0.5 + torch.rand_like(norm.running_var)
                norm.num_batches_tracked += 7
        model.save_pretrained(root / name)
        (root / name / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return root


@pytest.fixture
def store(tmp_path):
    return WeightStore(tmp_path / "installed", tmp_path / "shipped")


@pytest.fixture
def copy(folders, tmp_path):
    return lambda name: shutil.copytree(folders / name, tmp_path / name)


def frames():
    """Odd sizes, so that every rounding matters; one is grey; nobody may write into them."""
    draw = np.random.default_rng(0)
    shapes = [(40, 53, 3), (97, 61, 3), (200, 180), (32, 32, 3), (33, 517, 3)]
    pictures = [draw.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    for pixels in pictures:
        pixels.setflags(write=False)
    facts = [ImageFacts(sha256="", format="png", width=shape[1], height=shape[0]) for shape in shapes]
    return [Frame(pixels, fact) for pixels, fact in zip(pictures, facts, strict=True)]


def their_picture(folder, pixels):
    """As the folder's own processor prepares it; DINOv3's needs torchvision, so its three steps stand here."""
    rgb = Image.fromarray(pixels).convert("RGB")
    given = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    if "DINOv3" not in given.get("image_processor_type", ""):
        processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
        return processor(rgb, return_tensors="pt")["pixel_values"]
    values = torch.from_numpy(np.array(rgb)).permute(2, 0, 1)[None] / 255
    values = torch.nn.functional.interpolate(values, size=(32, 32), mode="bilinear", antialias=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (values - mean[:, None, None]) / std[:, None, None]


def their_vectors(folder, name, output, prefix):
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    pictures = torch.cat([their_picture(folder, frame.pixels) for frame in frames()])
    with torch.inference_mode():
        if output == "pooled" and hasattr(model, "get_image_features"):
            features = model.get_image_features(pixel_values=pictures).pooler_output
        else:
            answer = getattr(model, "vision_model", model)(pixel_values=pictures)
            tokens = answer.last_hidden_state
            mean = tokens.mean(dim=(2, 3)) if tokens.ndim == 4 else tokens[:, prefix:].mean(dim=1)
            features = {"pooled": answer.pooler_output, "cls": tokens[:, 0], "mean": mean}[output]
    return torch.nn.functional.normalize(features.flatten(1), dim=1)


@pytest.mark.parametrize(
    ("name", "output", "prefix", "dim"),
    [
        ("dinov2", "cls", 1, 64),
        ("dinov2", "mean", 1, 64),
        ("dinov2-reg", "mean", 4, 64),
        ("dinov3", "pooled", 5, 64),
        ("dinov3", "mean", 5, 64),
        ("siglip", "pooled", 0, 64),
        ("siglip", "mean", 0, 64),
        ("clip", "pooled", 1, 24),
        ("clip", "cls", 1, 64),
        ("vit", "cls", 1, 64),
        ("convnext", "pooled", 0, 32),
        ("convnext", "mean", 0, 32),
        ("resnet", "pooled", 0, 40),
        ("resnet", "mean", 0, 40),
    ],
)
def test_vectors_equal_those_of_transformers(store, folders, name, output, prefix, dim):
    added = add_model(store, f"my-{name}", folders / name, licence="CC BY-NC 4.0", output=output)
    assert (added.manifest.dim, added.manifest.licence) == (dim, "CC BY-NC 4.0")
    assert added.manifest.network["prefix"] == prefix
    ours = torch.from_numpy(embed(open_encoder(f"my-{name}", store), frames()))
    theirs = their_vectors(folders / name, name, output, prefix)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    ours, theirs = ours - ours.mean(dim=0), theirs - theirs.mean(dim=0)
    assert torch.nn.functional.cosine_similarity(ours, theirs).min() >= 0.99999


@pytest.mark.parametrize("name", ["dinov2-reg", "dinov3", "siglip", "clip", "convnext", "resnet"])
def test_bf16_stays_near(store, folders, name):
    add_model(store, name, folders / name, licence="MIT", output="pooled")
    full = embed(open_encoder(name, store), frames())
    half = open_encoder(name, store, choose_placement("cpu", "bf16"))
    assert half.digest != open_encoder(name, store).digest
    assert (full * embed(half, frames())).sum(axis=1).min() > 0.9995


def test_a_text_tower_is_left_out_and_parts_are_put_together(store, copy):
    folder = copy("clip")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, keys in parts.items():
        save_file({key: tensors[key] for key in keys}, folder / file)
    weight_map = {key: file for file, keys in parts.items() for key in keys}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    added = add_model(store, "parts", folder, licence="MIT")
    assert not [key for key in added.tensors() if "text" in key or "logit" in key]
    assert {entry["file"] for entry in added.manifest.model_extra["installed_from"]} == {
        "config.json",
        "preprocessor_config.json",
        *parts,
    }
    (folder / "b.safetensors").unlink()
    assert refusal(store, folder).code == "files_missing"


def test_output_config_and_preparation_change_the_digest(store, folders, copy):
    digests = {
        add_model(store, "one", folders / "dinov2", licence="MIT", **options).manifest.digest("fp32")
        for options in ({}, {"output": "mean"}, {"fit": "pad"}, {"size": 48})
    }
    folder = copy("dinov2")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-3}), encoding="utf-8")
    digests.add(add_model(store, "one", folder, licence="MIT").manifest.digest("fp32"))
    assert len(digests) == 5
    assert embed(open_encoder("one", store), frames()).shape == (5, 64)


@pytest.mark.parametrize("name", ["dinov2", "siglip", "clip"])
def test_another_size_interpolates_positions_as_transformers_does(store, folders, name):
    add_model(store, name, folders / name, licence="MIT", size=64)
    encoder = open_encoder(name, store)
    pictures = np.stack([encoder.pre(frame) for frame in frames()])
    model = transformers.AutoModel.from_pretrained(folders / name).eval()
    options = {} if name == "dinov2" else {"interpolate_pos_encoding": True}
    with torch.inference_mode():
        features = getattr(model, "get_image_features", model)(pixel_values=torch.from_numpy(pictures), **options)
    torch.testing.assert_close(torch.from_numpy(encoder.core(pictures)), features.pooler_output, rtol=1e-4, atol=1e-5)


def test_a_config_that_was_changed_in_the_store_is_refused(store, folders):
    added = add_model(store, "mine", folders / "vit", licence="MIT", output="cls")
    with (added.folder / "config.json").open("a", encoding="utf-8") as file:
        file.write("\n")
    with pytest.raises(Misconfigured) as caught:
        open_encoder("mine", store)
    assert caught.value.code == "weights_changed"


def refusal(store, folder, **options):
    """The error that adding a folder gives, after a check that nothing was stored."""
    before = store.names()
    with pytest.raises(BadInput) as caught:
        add_model(store, "refused", folder, **{"licence": "MIT", **options})
    assert store.names() == before
    return caught.value


def test_a_licence_and_a_plain_name_are_asked_for(store, folders):
    assert refusal(store, folders / "clip", licence=None).code == "licence_missing"
    with pytest.raises(BadInput) as caught:
        add_model(store, "../clip", folders / "clip", licence="MIT")
    assert caught.value.code == "bad_encoder_name"
    with pytest.raises(NotFound):
        add_model(store, "unknown", folders, licence="MIT")


@pytest.mark.parametrize(
    ("name", "output", "says"),
    [
        ("siglip", "cls", "no class token"),
        ("convnext", "cls", "no class token"),
        ("vit", "pooled", "missing: pooler.dense.bias"),
        ("vit", "best", "no such output"),
    ],
)
def test_an_output_that_a_model_lacks_is_refused(store, folders, name, output, says):
    assert says in refusal(store, folders / name, output=output).detail


def test_tensors_that_do_not_belong_are_named(store, copy):
    folder = copy("dinov2")
    tensors = load_file(folder / "model.safetensors")
    del tensors["layernorm.bias"]
    tensors["layernorm.weight"] = torch.ones(8)
    save_file({**tensors, "extra": torch.ones(2)}, folder / "model.safetensors")
    detail = refusal(store, folder).detail
    assert "missing: layernorm.bias" in detail
    assert "unexpected: extra" in detail
    assert "layernorm.weight is (8,), not (64,)" in detail


def test_pickled_weights_are_not_read(store, copy):
    folder = copy("vit")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    error = refusal(store, folder, output="cls")
    assert error.code == "files_missing"
    assert "pickled weights (pytorch_model.bin) are not read" in error.hint


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "siglip2"}, "NaFlex"),
        ({"model_type": "bert"}, "image tower"),
        ({"model_type": "theirs", "auto_map": {"AutoModel": "code.Model"}}, "ValueError"),
        ({"num_hidden_layers": "two"}, "cannot build it"),
    ],
)
def test_models_that_cannot_be_built_are_refused(store, copy, changes, says):
    folder = copy("dinov2")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")
    (folder / "code.py").write_text("raise SystemExit", encoding="utf-8")
    error = refusal(store, folder)
    assert error.code == "unsupported_model"
    assert says in error.detail


BORROWED = {"backbone": "microsoft/resnet-50", "use_pretrained_backbone": True}
ON_THE_FIRST_LOAD = {"use_timm_backbone": True, "backbone": "resnet50", "backbone_config": None}


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "dpt", **BORROWED, "use_timm_backbone": False, "is_hybrid": False},
        {"model_type": "detr", **ON_THE_FIRST_LOAD, "use_pretrained_backbone": True},
        {"model_type": "dinov2", **BODY, **PICTURE, "parts": [{"deep": {"use_pretrained_backbone": True}}]},
        {"model_type": "dinov2", **BODY, **PICTURE, "vision_config": {"backbone": "timm/resnet18"}},
    ],
)
@pytest.mark.parametrize("processor", [CROP, None])
def test_a_config_that_borrows_a_network_from_elsewhere_is_refused_without_a_connection(
    store, copy, config, processor, monkeypatch
):
    monkeypatch.setattr("socket.getaddrinfo", tried)
    monkeypatch.setattr("socket.socket.connect", tried)
    folder = copy("dinov2")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if processor is None:  # then transformers guesses the processor from the config
        (folder / "preprocessor_config.json").write_text("{}", encoding="utf-8")
    error = refusal(store, folder)
    assert error.code == "unsupported_model"
    assert "from elsewhere" in error.detail


def tried(*_arguments, **_more):
    pytest.fail("a connection was tried")


def test_hugging_faces_library_is_offline(store, folders):
    import huggingface_hub

    add_model(store, "mine", folders / "vit", licence="MIT", output="cls")
    assert huggingface_hub.is_offline_mode()
    with pytest.raises(huggingface_hub.errors.OfflineModeIsEnabled):
        huggingface_hub.HfApi().model_info("any/model")


def test_a_shipped_name_is_not_given_to_a_folder(tmp_path, folders):
    write_manifest(tmp_path / "shipped", "tiny")
    store = WeightStore(tmp_path / "installed", tmp_path / "shipped")
    with pytest.raises(Conflict) as caught:
        add_model(store, "mine", folders / "clip", licence="MIT", under="tiny")
    assert caught.value.code == "name_taken"
    assert store.names() == ["tiny"]


def test_the_authors_code_of_a_folder_cannot_be_asked_for(store, folders):
    error = refusal(store, folders / "clip", original=True)
    assert (error.code, error.exit_code) == ("option_without_effect", 2)
    assert "--original" in error.detail


def test_a_file_of_a_folder_is_the_weights(store, copy):
    folder = copy("clip")
    tensors = load_file(folder / "model.safetensors")
    other = {key: tensor + 1 for key, tensor in tensors.items()}
    save_file(other, folder / "tuned.safetensors")
    added = add_model(store, "tuned", folder / "tuned.safetensors", licence="MIT")
    assert all(torch.equal(tensor, other[key]) for key, tensor in added.tensors().items())
    assert {part["file"] for part in added.manifest.model_extra["installed_from"]} == {
        "config.json",
        "preprocessor_config.json",
        "tuned.safetensors",
    }
    torch.save(tensors, folder / "pytorch_model.bin")
    assert refusal(store, folder / "pytorch_model.bin").code == "files_missing"


def test_an_installation_without_a_whole_transformers_says_so(store, folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers.image_processing_backends", None)  # as where it cannot be imported
    with pytest.raises(Misconfigured) as caught:
        add_model(store, "mine", folders / "clip", licence="MIT")
    assert caught.value.code == "transformers_unusable"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}}, "size"),
        ({"resample": 3}, "resample"),
    ],
)
def test_dinov3_is_stretched_or_refused(store, copy, changes, field):
    folder = copy("dinov3")
    given = {**FOLDERS["dinov3"][2], **changes}
    (folder / "preprocessor_config.json").write_text(json.dumps(given), encoding="utf-8")
    error = refusal(store, folder)
    assert error.code == "unsupported_processor"
    assert f"exactly: {field}, " in error.detail


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"rescale_factor": 1 / 127.5}, "rescale_factor"),
        ({"do_rescale": False}, "do_rescale"),
        ({"do_resize": False}, "do_resize"),
        ({"do_pad": True}, "do_pad"),
        ({"resample": 1}, "resample"),
        ({"size": {"height": 32, "width": 40}}, "size"),
        ({"do_center_crop": False}, "size"),
        ({"crop_size": {"height": 32, "width": 24}}, "crop_size"),
        ({"crop_size": {"height": 64, "width": 64}}, "crop_size"),
        ({"size": {"height": 40, "width": 40}}, "crop_size"),
        ({"image_mean": [0.5]}, "image_mean"),
        ({"image_processor_type": "ConvNextImageProcessor"}, "image_processor_type"),
        ({"image_processor_type": "Theirs"}, "image_processor_type"),
    ],
)
def test_a_preparation_that_cannot_be_followed_is_refused_with_its_field(store, copy, changes, field):
    folder = copy("dinov2")
    (folder / "preprocessor_config.json").write_text(json.dumps({**CROP, **changes}), encoding="utf-8")
    error = refusal(store, folder)
    assert error.code == "unsupported_processor"
    assert f"exactly: {field}, " in error.detail


def test_without_normalising_values_stay_between_0_and_1(copy):
    folder = copy("dinov2")
    (folder / "preprocessor_config.json").write_text(json.dumps({**CROP, "do_normalize": False}), encoding="utf-8")
    picture = ProcessorTransform.parse(preprocess_of(folder)).tensor(frames()[0].pixels)
    np.testing.assert_allclose(picture, their_picture(folder, frames()[0].pixels)[0].numpy(), atol=1e-6)
