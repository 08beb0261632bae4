"""The authors' packages as encoders of the service, and the comparison that a user can ask for."""

import zipfile

import numpy as np
import pytest
import torch

from app.encoders.adding import add_model
from app.encoders.base import embed
from app.encoders.original import verify_against_original
from app.encoders.registry import open_encoder
from app.errors import BadInput
from reference.bench import Bench
from reference.official_files import write_backbone, write_dreamsim, write_sam2


@pytest.mark.parametrize(
    ("name", "write", "changes"),
    [
        ("dinov2-vits14", write_backbone, {}),
        ("sam2-hiera-tiny", write_sam2, {"size": 256}),
        ("dreamsim-clip-vitb32", write_dreamsim, {}),
    ],
)
def test_official_files_serve_through_the_authors_package(name, write, changes, frames, scratch):
    bench = Bench(scratch, frames[:2], name, write)
    ours = bench.add(**changes)
    theirs = bench.add(under="theirs", original=True, **changes)
    assert theirs.manifest.digest("fp32") != ours.manifest.digest("fp32")  # never mixed in one library
    encoder = open_encoder("theirs", bench.store)
    assert encoder.digest == theirs.manifest.digest("fp32")
    vectors = embed(encoder, bench.frames)
    np.testing.assert_allclose(vectors, bench.original(ours.manifest), rtol=1e-4, atol=1e-5)
    assert verify_against_original(bench.store, name, bench.official, bench.frames).holds


def test_an_original_that_is_added_again_keeps_its_kind(frames, scratch):
    bench = Bench(scratch, frames[:1], "dino-vits16", write_backbone)
    bench.add(under="theirs", original=True)
    again = add_model(bench.store, "theirs", bench.official, allow_unknown_digest=True, original=True)
    assert again.manifest.kind == "dino-package"


class Payload:
    """A pickle that would write a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def pickled_sam2(folder, manifest):
    torch.save({"model": Payload(folder / "ran")}, folder / manifest.source[0].file)


def pickled_dreamsim(folder, manifest):
    torch.save({"state_dict": Payload(folder / "ran")}, folder / "member")
    with zipfile.ZipFile(folder / manifest.source[0].file, "w") as archive:
        archive.write(folder / "member", "clip_vitb32_pretrain.pth.tar")
        archive.writestr("clip_vitb32_single_lora/adapter_config.json", "{}")


@pytest.mark.parametrize(
    ("name", "write"), [("sam2-hiera-tiny", pickled_sam2), ("dreamsim-clip-vitb32", pickled_dreamsim)]
)
def test_code_in_an_official_file_does_not_run(name, write, frames, scratch):
    bench = Bench(scratch, frames[:1], name, write)
    with pytest.raises(BadInput) as caught:
        bench.add(original=True)
    assert caught.value.code == "unsafe_checkpoint"
    assert not (bench.official / "ran").exists()


def test_files_that_the_package_refuses_are_not_installed(frames, scratch):
    bench = Bench(scratch, frames[:2], "dinov2-vits14", write_backbone, depth=2)
    path = next(bench.official.iterdir())
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(BadInput):
        add_model(bench.store, "dinov2-vits14", path, allow_unknown_digest=True, original=True)
    assert not bench.store.find("dinov2-vits14").installed
