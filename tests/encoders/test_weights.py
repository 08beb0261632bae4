"""Manifests, the weights store and digests."""

import shutil

import pytest

from app.encoders.manifest import read_manifest
from app.encoders.registry import open_encoder
from app.encoders.weights import WeightStore, shipped_models
from app.errors import Misconfigured, NotFound


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(shipped_models() / "resnet-us", tmp_path / "resnet-us")
    return tmp_path / "resnet-us"


def change(folder, old, new):
    manifest = folder / "manifest.toml"
    text = manifest.read_text(encoding="utf-8")
    assert old in text
    manifest.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_shipped_encoders_are_found_and_installed_ones_win(folder, tmp_path):
    shipped = WeightStore(tmp_path / "nothing").find("resnet-us")
    assert shipped.installed
    assert WeightStore(tmp_path).find("resnet-us").folder == folder
    assert "resnet-us" in WeightStore(tmp_path / "nothing").names()


def test_the_digest_follows_weights_preprocessing_and_precision(folder):
    before = read_manifest(folder).digest("fp32")
    assert before.startswith("sha256:")
    assert read_manifest(folder).digest("bf16") != before
    change(folder, 'fit = "pad"', 'fit = "crop"')
    other = read_manifest(folder).digest("fp32")
    assert other != before
    change(folder, 'description = "', 'description = "Also ')
    assert read_manifest(folder).digest("fp32") == other


def test_changed_or_missing_weights_are_refused(folder, tmp_path):
    file = folder / "resnet-us.safetensors"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(Misconfigured) as caught:
        open_encoder("resnet-us", WeightStore(tmp_path))
    assert caught.value.code == "weights_changed"
    file.unlink()
    assert not WeightStore(tmp_path).find("resnet-us").installed
    with pytest.raises(Misconfigured) as caught:
        open_encoder("resnet-us", WeightStore(tmp_path))
    assert caught.value.code == "weights_missing"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('kind = "resnet"', 'kind = "mystery"', "unknown_encoder_kind"),
        ("dim = 256", "dim = [", "bad_manifest"),
        ("dim = 256", 'dim = "wide"', "bad_manifest"),
        ('fit = "pad"', 'fit = "fold"', "bad_preprocess"),
    ],
)
def test_bad_manifests_are_refused(folder, tmp_path, old, new, code):
    change(folder, old, new)
    with pytest.raises(Misconfigured) as caught:
        open_encoder("resnet-us", WeightStore(tmp_path))
    assert caught.value.code == code


def test_an_unknown_name_lists_the_known(tmp_path):
    with pytest.raises(NotFound) as caught:
        open_encoder("../resnet-us", WeightStore(tmp_path))
    assert caught.value.code == "unknown_encoder"
    assert "resnet-us" in caught.value.hint


def test_the_shipped_encoder_opens_with_the_digest_of_its_manifest(tmp_path):
    encoder = open_encoder("resnet-us", WeightStore(tmp_path))
    assert (encoder.name, encoder.dim, encoder.precision) == ("resnet-us", 256, "fp32")
    assert encoder.digest == read_manifest(shipped_models() / "resnet-us").digest("fp32")
