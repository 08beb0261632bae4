"""What several tests of evaluations need."""

import shutil

import pytest

from app.encoders.training_list import write_training_list
from app.encoders.weights import WeightStore, shipped_models


@pytest.fixture
def store(tmp_path):
    """resnet-us with a list of its own; digest as shipped, for lists are no part of it."""
    folder = tmp_path / "models" / "resnet-us"
    shutil.copytree(shipped_models() / "resnet-us", folder)

    def trained_on(checksums):
        told = write_training_list(folder, checksums)
        text = (shipped_models() / "resnet-us" / "manifest.toml").read_text(encoding="utf-8")
        kept = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("list"))
        kept += "".join(f'{key} = "{value}"\n' for key, value in told.items())
        (folder / "manifest.toml").write_text(kept, encoding="utf-8")
        return WeightStore(tmp_path / "models")

    return trained_on
