"""Manifests, the weights store and digests."""

import os
import shutil
import subprocess
import sys

import pytest
import torch
from official import write_manifest, write_vit

from app.encoders.adding import add_model
from app.encoders.device import Placement
from app.encoders.listing import list_models
from app.encoders.manifest import EncoderManifest, read_manifest
from app.encoders.registry import KINDS, open_encoder
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


def manifest_of(name, description):
    return EncoderManifest(
        name=name, kind="dino", dim=1, parameters=1, licence="none", description=description, preprocess={}
    )


# A process that installs or removes an encoder and is killed when it has renamed a folder so many times.
KILLED = """
import os, signal, sys, shutil
from pathlib import Path
import torch
from app.encoders.weights import WeightStore
from test_weights import manifest_of
left, rename, rmtree = int(sys.argv[3]), Path.rename, shutil.rmtree
def counted(old, new):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return rename(old, new)
def cut(*paths, **options):
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    rmtree(*paths, **options)
Path.rename, shutil.rmtree = counted, cut
store = WeightStore(Path(sys.argv[1]))
store.remove("tiny") if sys.argv[2] == "remove" else store.install(manifest_of("tiny", "new"), {"a": torch.ones(9)})
raise SystemExit("was not killed")
"""


@pytest.mark.parametrize(
    ("command", "renames", "survivor"),
    [("install", 0, "old"), ("install", 1, "old"), ("install", 2, "new"), ("remove", 0, "old"), ("remove", 1, None)],
)
def test_an_encoder_survives_a_process_that_is_killed_while_it_exchanges_it(tmp_path, command, renames, survivor):
    store = WeightStore(tmp_path)
    store.install(manifest_of("tiny", "old"), {"a": torch.zeros(9)})
    (tmp_path / ".tiny.download").mkdir()  # what a fetch has brought so far
    (tmp_path / ".tiny.download" / "tiny.pth.part").touch()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), command, str(renames)],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert killed.returncode == -9, killed.stderr
    assert ("tiny" in store.names()) == (survivor is not None)
    if survivor is not None:
        assert store.find("tiny").manifest.description == survivor
        assert store.find("tiny").tensors()["a"].sum() == (9 if survivor == "new" else 0)
    store.install(manifest_of("other", ""), {"a": torch.zeros(9)})  # the next one sweeps
    left = {".tiny.download", "other"} | ({"tiny"} if survivor is not None else set())
    assert {path.name for path in tmp_path.iterdir()} == left


def test_what_another_process_is_exchanging_is_left_alone(tmp_path):
    """It holds the store's lock: the old folder is not put back under its hands."""
    from app.encoders.partial_file import alone

    store = WeightStore(tmp_path)
    store.install(manifest_of("tiny", "old"), {"a": torch.zeros(9)})
    (tmp_path / "tiny").rename(tmp_path / ".tiny.0123abcd.old")
    with alone(tmp_path / ".lock"):
        assert "tiny" not in store.names()
    assert "tiny" in store.names()


def test_the_list_says_fp32_for_what_runs_in_nothing_else(tmp_path):
    """Each kind that can be made here is opened: what is listed is what its encoder says."""
    write_manifest(tmp_path / "shipped", "tiny")
    write_vit(tmp_path / "tiny.pth")
    store = WeightStore(tmp_path / "installed", tmp_path / "shipped")
    add_model(store, "tiny", tmp_path / "tiny.pth", allow_unknown_digest=True)
    shutil.copytree(shipped_models() / "resnet-us", tmp_path / "installed" / "resnet-us")
    listed = {model.name: model.precision for model in list_models(store, "bf16")}
    placement = Placement(torch.device("cpu"), "bf16")
    assert listed == {name: open_encoder(name, store, placement).precision for name in store.names()}
    packages = [kind for kind in KINDS if kind.endswith("-package")]
    for kind in packages:  # the authors' packages are not installed here
        store.install(manifest_of(kind, "").model_copy(update={"kind": kind}), {"a": torch.zeros(1)})
    listed = {model.name: model.precision for model in list_models(store, "bf16")}
    assert [listed[kind] for kind in packages] == ["fp32"] * 3
