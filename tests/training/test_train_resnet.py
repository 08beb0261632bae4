import hashlib
import tomllib

import numpy as np
import pytest

from app.domain import Frame, ImageFacts
from app.encoders.base import embed
from app.encoders.registry import open_encoder
from app.encoders.training_list import read_training_list
from app.encoders.weights import WeightStore
from app.images.phantom import write_phantoms
from app.training.fit import Schedule
from app.training.resnet import train_resnet

SHORT = Schedule(steps=3, batch=8)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training-phantoms")
    write_phantoms(folder, count=18, seed=3)
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def trained(phantoms, tmp_path_factory):
    return train_resnet([phantoms], tmp_path_factory.mktemp("models") / "resnet-us", seed=1, schedule=SHORT)


def test_writes_a_folder_that_opens_as_an_encoder(trained):
    encoder = open_encoder("resnet-us", WeightStore(trained.folder.parent))
    picture = np.random.default_rng(0).integers(0, 255, (90, 120)).astype(np.uint8)
    (vector,) = embed(encoder, [Frame(picture, ImageFacts("0", "png", 120, 90))])
    assert vector.shape == (256,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_the_manifest_says_what_it_was_trained_on(trained):
    manifest = tomllib.loads((trained.folder / "manifest.toml").read_text())
    weights = trained.folder / manifest["weights"]["file"]
    assert manifest["weights"]["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert weights.stat().st_size <= 5_000_000
    assert manifest["training"]["pictures"] == trained.pictures == 18
    assert manifest["training"]["organs"] == list(trained.organs)
    assert manifest["training"]["seed"] == 1


def test_the_folder_lists_the_file_of_every_picture(trained, phantoms):
    found = WeightStore(trained.folder.parent).find("resnet-us")
    pictures = (phantoms.parent / "images").iterdir()
    assert read_training_list(found) == {hashlib.sha256(one.read_bytes()).hexdigest() for one in pictures}


def test_the_same_call_gives_the_same_file(trained, phantoms, tmp_path):
    again = train_resnet([phantoms], tmp_path, seed=1, schedule=SHORT)
    file = "resnet-us.safetensors"
    assert (again.folder / file).read_bytes() == (trained.folder / file).read_bytes()
    assert again.losses == trained.losses
