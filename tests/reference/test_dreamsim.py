"""DreamSim beside its authors' package; adapters and bases are full size, since the package knows no other."""

from functools import partial

import pytest

from reference.bench import Bench
from reference.official_files import write_dreamsim

SINGLE = [
    "dreamsim-dino-vitb16",
    "dreamsim-clip-vitb32",
    "dreamsim-open-clip-vitb32",
    "dreamsim-dinov2-vitb14",
    "dreamsim-synclr-vitb16",
    "dreamsim-dino-vitb16-patch",
    "dreamsim-dinov2-vitb14-patch",
]
PICTURES = 6


def test_ensemble(frames, scratch, record):
    name = "dreamsim-ensemble"
    bench = Bench(scratch, frames[:PICTURES], name, write_dreamsim)
    bench.judge(record, "DreamSim", "as installed", bench.add())
    record("DreamSim", name, "without mean subtraction", bench.parity(bench.variant("l2", normalise="l2")), False)


@pytest.mark.parametrize("name", SINGLE)
def test_single_branch(name, frames, scratch, record):
    # The adapters' history has two scales; the ensemble above has the other.
    bench = Bench(scratch, frames[:PICTURES], name, partial(write_dreamsim, alpha=8))
    epsilon = 1e-5 if "clip" in name else 1e-6
    assert bench.manifest.network["branches"][0]["shape"].get("epsilon", 1e-6) == epsilon
    bench.judge(record, "DreamSim", "as installed", bench.add())


def test_what_is_wrong_is_seen(frames, scratch, record):
    name = "dreamsim-clip-vitb32"
    bench = Bench(scratch, frames, name, write_dreamsim)
    record("DreamSim", name, "as installed", bench.parity(bench.add()))
    (branch,) = bench.manifest.network["branches"]

    def wrong(what, found):
        record("DreamSim", name, what, bench.parity(found), expected=False)

    def with_shape(under, **shape):
        return bench.variant(under, branches=[{**branch, "shape": {**branch["shape"], **shape}}])

    wrong("without mean subtraction", bench.variant("l2", normalise="l2"))
    wrong("GELU for QuickGELU", with_shape("gelu", mlp="gelu"))
    wrong("cropped, not squashed", bench.variant("cropped", preprocess={"fit": "crop", "resize": 256}))
    imagenet = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    wrong("ImageNet's mean and std", bench.variant("colour", branches=[{**branch, **imagenet}]))
    theirs = bench.original()
    write_dreamsim(bench.official, bench.manifest, tuned=False)
    untuned = bench.add(under="untuned")
    wrong("without LoRA", untuned)
    assert bench.original() is theirs
