"""The judgement itself, and what is said where the authors' packages or files are missing."""

import importlib.util

import numpy as np
import pytest
import torch
from official import write_manifest, write_vit

from app.domain import Frame, ImageFacts
from app.encoders.adding import add_model
from app.encoders.original import verify_against_original
from app.encoders.parity import compare
from app.encoders.weights import WeightStore
from app.errors import BadInput, Misconfigured


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def alike(seed=0, spread=0.02):
    """Vectors that agree to about .9996, as those of any two pictures may."""
    random = np.random.default_rng(seed)
    return unit(random.standard_normal(256) + spread * random.standard_normal((8, 256)))


def test_rounding_is_the_same_encoder():
    vectors = alike()
    noise = np.random.default_rng(1).standard_normal(vectors.shape) * 1e-7
    parity = compare(vectors, unit(vectors + noise))
    assert parity.holds
    assert parity.pictures == 8
    assert parity.difference < 1e-6


def test_a_high_cosine_alone_is_not():
    parity = compare(alike(), np.roll(alike(), 1, axis=0))  # every picture with its neighbour's vector
    assert parity.cosine > 0.999
    assert parity.centred < 0.5
    assert not parity.holds


def test_a_picture_that_differs_is_not_hidden_by_the_others():
    vectors = alike()
    others = vectors.copy()
    others[3] = vectors[4]
    assert not compare(vectors, others).holds
    assert not compare(vectors, unit(vectors + 2e-3 * np.eye(8, 256))).holds


def test_one_picture_or_another_length_cannot_be_judged():
    for ours, theirs in ((alike()[:1], alike()[:1]), (alike(), alike()[:, :100])):
        with pytest.raises(ValueError, match="cannot be compared"):
            compare(ours, theirs)


@pytest.mark.parametrize(
    ("kind", "changes", "ignored"),
    [
        ("dino", {"fit": "pad"}, "fit"),
        ("sam2", {"fit": "pad"}, "fit"),
        ("dreamsim", {"fit": "crop"}, "fit"),
        ("dreamsim", {"size": 448}, "size"),
    ],
)
def test_the_authors_code_is_not_asked_for_a_preparation_that_it_does_not_have(tmp_path, kind, changes, ignored):
    fit = "crop" if kind == "dino" else "stretch"
    write_manifest(tmp_path / "shipped", "tiny", kind=kind, fit=fit, size=224, resize=256)
    (tmp_path / "tiny.pth").write_bytes(b"")
    store = WeightStore(tmp_path / "installed", tmp_path / "shipped")
    with pytest.raises(Misconfigured) as caught:
        add_model(store, "tiny", tmp_path / "tiny.pth", allow_unknown_digest=True, original=True, **changes)
    assert caught.value.code == "no_original"
    assert f"{ignored} = " in caught.value.detail
    assert "--fit" in caught.value.hint
    assert not store.find("tiny").installed


def pictures():
    facts = ImageFacts(sha256="", format="png", width=50, height=40)
    return [Frame(np.full((40, 50), level, np.uint8), facts) for level in (50, 200)]


@pytest.fixture
def store(tmp_path):
    write_manifest(tmp_path / "shipped", "tiny")
    write_vit(tmp_path / "tiny.pth", mask_token=torch.zeros(1, 64))
    store = WeightStore(tmp_path / "installed", tmp_path / "shipped")
    add_model(store, "tiny", tmp_path / "tiny.pth", allow_unknown_digest=True)
    return store


def test_other_files_than_those_installed_are_no_reference(store, tmp_path):
    write_vit(tmp_path / "tiny.pth", seed=1)
    with pytest.raises(BadInput) as caught:
        verify_against_original(store, "tiny", tmp_path / "tiny.pth", pictures())
    assert caught.value.code == "other_files"


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="the authors' packages are here")
def test_missing_packages_are_named(store, tmp_path):
    with pytest.raises(Misconfigured) as caught:
        verify_against_original(store, "tiny", tmp_path / "tiny.pth", pictures())
    assert caught.value.code == "original_missing"
    assert "make test-reference" in caught.value.hint
    with pytest.raises(Misconfigured):
        add_model(store, "tiny", tmp_path / "tiny.pth", allow_unknown_digest=True, under="theirs", original=True)
    assert "theirs" not in store.names()


def test_a_kind_without_a_package_says_so(tmp_path):
    from app.encoders.authors import authors_encoder

    manifest = WeightStore(tmp_path).find("resnet-us").manifest
    with pytest.raises(Misconfigured) as caught:
        authors_encoder(manifest, {})
    assert caught.value.code == "no_original"
