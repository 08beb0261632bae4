from pathlib import Path

import numpy as np
import pytest
import torch

from app.domain import Frame, ImageFacts
from app.encoders.base import embed
from app.encoders.preprocess import Preprocess
from app.encoders.registry import open_encoder
from app.encoders.resnet import ResNetEncoder, ResNetUS
from app.encoders.weights import WeightStore, shipped_models
from app.errors import Misconfigured

PREPROCESS = Preprocess(size=64, fit="pad", mean=0.2, std=0.2)


def frame(seed: int = 0, colour: bool = False) -> Frame:
    """A bright ring on soft noise, like a head in a sector."""
    y, x = np.mgrid[0:120, 0:160]
    ring = np.exp(-(((np.hypot((x - 80) / 1.3, y - 60) - 40) / 4) ** 2))
    noise = np.random.default_rng(seed).random((120, 160))
    grey = np.clip(40 * noise + 190 * ring, 0, 255).astype(np.uint8)
    pixels = np.repeat(grey[:, :, None], 3, axis=2) if colour else grey
    return Frame(pixels, ImageFacts("0", "png", 160, 120))


@pytest.fixture(scope="module")
def encoder() -> ResNetEncoder:
    torch.manual_seed(0)
    return ResNetEncoder(name="test", weights=ResNetUS().state_dict(), preprocess=PREPROCESS, digest="sha256:0")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    return open_encoder("resnet-us", WeightStore(tmp_path_factory.mktemp("none")))


def test_about_1_1_million_parameters():
    assert sum(parameter.numel() for parameter in ResNetUS().parameters()) == 1_152_544


@pytest.mark.parametrize("size", [(32, 32), (160, 160), (96, 128)])
def test_any_size_gives_256_features(size):
    assert ResNetUS().eval()(torch.zeros(2, 1, *size)).shape == (2, 256)


def test_pre_and_core_have_the_shapes_of_the_protocol(encoder):
    prepared = encoder.pre(frame())
    assert (prepared.shape, prepared.dtype) == ((1, 64, 64), np.float32)
    features = encoder.core(np.stack([prepared] * 3))
    assert (features.shape, features.dtype, encoder.dim) == ((3, 256), np.float32, 256)


def test_a_vector_does_not_depend_on_its_company(encoder):
    batch = np.stack([encoder.pre(frame(seed)) for seed in range(5)])
    together = encoder.core(batch)
    assert np.array_equal(together[2], encoder.core(batch[2:3])[0])
    assert np.array_equal(together[::-1], encoder.core(np.ascontiguousarray(batch[::-1])))


def test_grey_and_the_same_grey_as_rgb_are_one(encoder):
    assert np.array_equal(encoder.pre(frame()), encoder.pre(frame(colour=True)))


def test_different_pictures_have_different_vectors(encoder):
    first, second = embed(encoder, [frame(), Frame(np.eye(90, dtype=np.uint8) * 255, frame().facts)])
    assert first @ second < 0.999


def test_weights_of_another_network_are_refused():
    with pytest.raises(Misconfigured) as caught:
        ResNetEncoder(name="x", weights={"a": torch.zeros(1)}, preprocess=PREPROCESS, digest="")
    assert caught.value.code == "bad_weights"


def test_other_precisions_are_refused():
    with pytest.raises(Misconfigured) as caught:
        ResNetEncoder(name="x", weights={}, preprocess=PREPROCESS, digest="", precision="fp16")
    assert caught.value.code == "bad_precision"


def test_the_shipped_file_is_small_and_its_manifest_true():
    found = WeightStore(Path("none")).find("resnet-us")
    assert found.folder == shipped_models() / "resnet-us"
    assert found.verified_file().stat().st_size <= 5_000_000
    assert found.manifest.parameters == sum(parameter.numel() for parameter in ResNetUS().parameters())
    assert found.manifest.dim == 256
    assert found.manifest.licence == "Apache-2.0"


def test_the_shipped_weights_give_the_same_numbers_as_when_they_were_made(shipped):
    (vector,) = embed(shipped, [frame()])
    assert vector[:8] == pytest.approx(SNAPSHOT, abs=1e-4)


SNAPSHOT = [0.08502, 0.13443, -0.04553, -0.01893, -0.02217, -0.10739, -0.01932, 0.08338]
