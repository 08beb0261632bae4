"""Every kind of encoder that can be made here behaves as the protocol says, and gives the numbers that it gave."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import transformers
from official import TINY, random_tensors, write_manifest, write_vit
from safetensors.torch import save_file
from test_openclip import own_tower
from test_openclip import write as write_openclip
from test_sam2 import TINY as HIERA
from test_sam2 import official_tensors
from tiny_dreamsim import DIM, ENSEMBLE, members_of, write_official, write_tiny_manifest

from app.domain import Frame, ImageFacts
from app.encoders.adding import add_model
from app.encoders.base import embed
from app.encoders.device import choose_placement
from app.encoders.registry import KINDS, open_encoder
from app.encoders.weights import WeightStore, shipped_models
from app.images.phantom import draw_phantoms

PROCESSOR = (
    '{"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 37}, "resample": 3, '
    '"crop_size": {"height": 32, "width": 32}}'
)


class Made(NamedTuple):
    """What a kind is made from: a folder or file to add, how, and the numbers of a vector."""

    path: Path
    dim: int
    licence: str | None = None


def make_dino(root):
    write_manifest(root / "shipped", "dino")
    write_vit(root / "tiny.pth")
    return Made(root / "tiny.pth", 64)


def make_dinov2(root):
    shape = {**TINY, "registers": 4, "layer_scale": True, "mlp": "swiglu"}
    write_manifest(root / "shipped", "dinov2", network=shape)
    write_vit(root / "tiny.pth", shape)
    return Made(root / "tiny.pth", 64)


def make_sam2(root):
    write_manifest(
        root / "shipped", "sam2", kind="sam2", dim=256, network=HIERA, size=96, resize=96, fit="stretch",
        resample="bilinear",
    )  # fmt: skip
    later = {"memory_attention.norm.weight": torch.ones(3), "no_obj_embed_spatial": torch.ones(1, 64)}
    torch.save({"model": {**official_tensors(), **later}}, root / "tiny.pth")
    return Made(root / "tiny.pth", 256)


def make_dreamsim(root):
    write_tiny_manifest(root / "shipped", "dreamsim")
    return Made(write_official(root / "official"), DIM)


def make_dreamsim_patch(root):
    """The class token and the mean of the patches side by side."""
    branch = {**ENSEMBLE[0], "shape": {**ENSEMBLE[0]["shape"], "output": "tokens"}}
    write_tiny_manifest(root / "shipped", "dreamsim-patch", (branch,), 128)
    return Made(write_official(root / "official", (branch,), members_of((branch,), "dino_vitb16_patch_lora")), 128)


def make_huggingface(root):
    config = transformers.Dinov2WithRegistersConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=40, patch_size=8, num_register_tokens=3
    )
    folder = root / "folder"
    config.save_pretrained(folder)
    save_file(random_tensors(transformers.Dinov2WithRegistersModel(config)), folder / "model.safetensors")
    (folder / "preprocessor_config.json").write_text(PROCESSOR, encoding="utf-8")
    return Made(folder, 64, licence="none")


def make_openclip(root):
    return Made(write_openclip(root / "folder", own_tower(layer_scale=True)[1]), 32, licence="none")


MAKERS = {
    "dino": make_dino,
    "dinov2": make_dinov2,
    "sam2": make_sam2,
    "dreamsim": make_dreamsim,
    "dreamsim-patch": make_dreamsim_patch,
    "huggingface": make_huggingface,
    "openclip": make_openclip,
}
NAMES = ("resnet-us", *MAKERS)
"""``resnet-us`` is trained and ships with the code, the others are tiny and have seeded random weights."""

SNAPSHOTS = {
    "resnet-us": [0.0899, 0.0662, -0.0373, -0.0117],
    "dino": [0.0998, 0.0580, -0.1613, 0.0426],
    "dinov2": [0.0349, -0.0205, 0.2204, 0.0409],
    "sam2": [-0.0137, 0.0843, 0.0245, -0.0158],
    "dreamsim": [0.0805, 0.0650, -0.1140, -0.0047],
    "dreamsim-patch": [0.0547, 0.0417, -0.1095, -0.0172],
    "huggingface": [-0.0019, -0.0494, -0.1394, -0.0495],
    "openclip": [-0.1341, -0.1243, -0.1491, 0.3018],
}
"""The first numbers of the vector of the first phantom: preprocessing, network and weights all show in them."""


class Bench:
    """A store with one encoder in it."""

    def __init__(self, root, name):
        root.mkdir(exist_ok=True)
        self.name = name
        self.store = WeightStore(root / "installed", root / "shipped")
        if name == "resnet-us":
            shutil.copytree(shipped_models() / name, root / "shipped" / name)
            self.made = Made(root, 256)
        else:
            self.made = MAKERS[name](root)
            self.add(name)
        self.manifest = self.store.find(name).manifest

    def add(self, under, **changes):
        more = {"under": under} if self.made.licence is None else {"licence": self.made.licence}
        name = self.name if self.made.licence is None else under
        return add_model(self.store, name, self.made.path, allow_unknown_digest=True, **more, **changes)

    def open(self, precision="fp32", threads=1):
        return open_encoder(self.name, self.store, choose_placement("cpu", precision, threads))


@pytest.fixture(scope="module", params=NAMES)
def bench(request, tmp_path_factory):
    return Bench(tmp_path_factory.mktemp(request.param), request.param)


@cache
def drawn():
    frames = []
    for phantom in draw_phantoms(5):
        phantom.pixels.setflags(write=False)  # nobody may write into a frame
        height, width = phantom.pixels.shape[:2]  # some are in colour
        frames.append(Frame(phantom.pixels, ImageFacts(sha256="", format="phantom", width=width, height=height)))
    return frames


def phantoms(count):
    return drawn()[:count]


def test_all_kinds_are_here(tmp_path):
    made = {Bench(tmp_path / name, name).manifest.kind for name in NAMES}
    assert made == {kind for kind in KINDS if not kind.endswith("-package")}  # those stand in tests/reference


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_vectors_have_unit_length_and_the_length_of_the_manifest(bench, precision):
    encoder = bench.open(precision)
    vectors = embed(encoder, phantoms(3))
    assert (encoder.name, encoder.dim) == (bench.name, bench.manifest.dim) == (bench.name, bench.made.dim)
    assert (vectors.shape, vectors.dtype) == ((3, encoder.dim), np.float32)
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=1e-6)
    assert abs(vectors[0] - vectors[1]).max() > 1e-3  # other pictures, other vectors


@pytest.mark.parametrize(("precision", "off"), [("fp32", 1e-6), ("bf16", 2e-2)])
def test_a_picture_among_others_has_the_vector_that_it_has_alone(bench, precision, off):
    encoder, frames = bench.open(precision), phantoms(5)
    alone = np.concatenate([embed(encoder, [frame]) for frame in frames])
    together = embed(encoder, frames)
    assert np.linalg.norm(alone - together, axis=1).max() < (off if bench.name != "resnet-us" else 1e-12)


def test_the_same_twice_gives_the_same_bits(bench):
    frames = phantoms(2)
    assert np.array_equal(embed(bench.open(), frames), embed(bench.open(), frames))


def test_preparation_is_safe_in_many_threads_and_leaves_the_frame_alone(bench):
    encoder, frames = bench.open(), phantoms(4)
    before = [frame.pixels.copy() for frame in frames]
    expected = [encoder.pre(frame) for frame in frames]
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(encoder.pre, frames * 8))
    assert {array.dtype for array in seen} == {np.dtype(np.float32)}
    assert all(np.array_equal(array, expected[number % 4]) for number, array in enumerate(seen))
    assert all(np.array_equal(frame.pixels, pixels) for frame, pixels in zip(frames, before, strict=True))


def test_grey_and_the_same_grey_in_colour_are_prepared_alike(bench):
    encoder, (grey,) = bench.open(), phantoms(1)
    assert grey.pixels.ndim == 2
    colour = replace(grey, pixels=np.repeat(grey.pixels[..., np.newaxis], 3, axis=2))
    assert np.array_equal(encoder.pre(grey), encoder.pre(colour))


def test_the_digest_follows_precision_and_preparation(bench):
    full, half = bench.open("fp32"), bench.open("bf16")
    assert full.digest == bench.open("fp32").digest == bench.manifest.digest("fp32")
    assert half.digest == bench.manifest.digest(half.precision)
    assert (half.digest != full.digest) == (half.precision == "bf16") == (not KINDS[bench.manifest.kind].fp32_only)
    if bench.name != "resnet-us":  # which is not made of official files
        other = "pad" if bench.manifest.preprocess["fit"] != "pad" else "crop"
        changed = bench.add(f"{bench.name}-other", fit=other).manifest
        assert changed.weights.sha256 == bench.manifest.weights.sha256
        assert changed.digest("fp32") != full.digest
        assert changed.official == {"fit": bench.manifest.preprocess["fit"]}


def test_the_numbers_are_those_of_when_they_were_written_down(bench):
    """A change here means other vectors under an old digest: libraries would have to be embedded again."""
    (vector,) = embed(bench.open(), phantoms(1))
    assert vector[:4] == pytest.approx(SNAPSHOTS[bench.name], abs=2e-4)
