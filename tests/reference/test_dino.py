"""DINO beside the network that Facebook Research wrote, DINOv2 beside timm's, both with the published transform."""

import pytest

from reference.bench import Bench
from reference.official_files import write_backbone

FULL = ["dino-vits16", "dino-vitb16", "dinov2-vits14", "dinov2-vitb14", "dinov2-vits14-reg"]
SHALLOW = [
    "dino-vits8",
    "dino-vitb8",
    "dinov2-vitl14",
    "dinov2-vitg14",
    "dinov2-vitb14-reg",
    "dinov2-vitl14-reg",
    "dinov2-vitg14-reg",
]


def family(name):
    return "DINO" if name.startswith("dino-") else "DINOv2 with registers" if name.endswith("-reg") else "DINOv2"


@pytest.mark.parametrize("name", FULL)
def test_full_size(name, frames, scratch, record):
    bench = Bench(scratch, frames, name, write_backbone)
    assert bench.manifest.network.get("epsilon", 1e-6) == 1e-6
    bench.judge(record, family(name), "as installed", bench.add())


@pytest.mark.parametrize("name", SHALLOW)
def test_other_sizes_with_two_blocks(name, frames, scratch, record):
    bench = Bench(scratch, frames[:4], name, write_backbone, depth=2)
    bench.judge(record, family(name), "two blocks of it", bench.add())


@pytest.mark.parametrize("name", ["dino-vits16", "dinov2-vits14", "dinov2-vits14-reg"])
def test_what_is_wrong_is_seen(name, frames, scratch, record):
    bench = Bench(scratch, frames, name, write_backbone, depth=2)
    record(family(name), name, "two blocks of it", bench.parity(bench.add()))

    def wrong(what, found, original=None):
        record(family(name), name, what, bench.parity(found, original=original), expected=False)

    wrong("class token before the norm", bench.variant("before", output="cls_before_norm"))
    wrong("mean of the patches", bench.variant("mean", output="mean"))
    wrong("QuickGELU for GELU", bench.variant("quick", mlp="quick_gelu"))
    wrong("squashed, not cropped", bench.variant("squashed", preprocess={"fit": "stretch"}))
    wrong("bilinear, not bicubic", bench.variant("bilinear", preprocess={"resample": "bilinear"}))
    wrong("CLIP's mean", bench.variant("colour", preprocess={"mean": [0.48145466, 0.4578275, 0.40821073]}))
    exchanged = {
        key: value.roll(value.shape[0] // 3, 0)
        for key, value in bench.store.find(name).tensors().items()
        if "qkv" in key
    }
    wrong("q, k and v in another order", bench.variant("exchanged", tensors=exchanged))


@pytest.mark.parametrize(
    ("name", "size", "other"),
    [
        ("dino-vits16", 192, "antialias"),
        ("dinov2-vits14", 224, "antialias"),
        ("dinov2-vits14-reg", 224, "offset"),
        ("dinov2-vits14-reg", 112, "offset"),
    ],
)
def test_positions_at_another_size(name, size, other, frames, scratch, record):
    bench = Bench(scratch, frames, name, write_backbone, depth=2)
    found = bench.add(size=size)
    theirs = found.manifest
    record(family(name), name, f"at {size} pixels", bench.parity(found, original=theirs))
    wrong = bench.variant("other", positions=other)
    record(family(name), name, f"positions the other way, {size}", bench.parity(wrong, original=theirs), expected=False)
