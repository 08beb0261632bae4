"""SAM 2 beside Meta's own package."""

import numpy as np
import pytest
import torch
from PIL import Image

from app.encoders.adding import source_files
from app.encoders.authors import authors_encoder
from app.encoders.base import unit_length
from app.encoders.parity import compare
from reference.bench import Bench
from reference.official_files import write_sam2

SIDE = 256  # a sixteenth of the work; the official 1024 is tested on the smallest network


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # in the predictor's transform
def test_official_size(frames, scratch, record):
    bench = Bench(scratch, frames[2:4], "sam2-hiera-tiny", write_sam2)
    bench.judge(record, "SAM 2", "as installed", bench.add())
    predicted = unit_length(np.concatenate([predictor_mean(bench, frame) for frame in bench.frames]))
    assert compare(predicted, bench.original()).holds  # the adapter is what the authors' predictor does


def predictor_mean(bench, frame):
    """The paper's vector, as the package's users get it."""
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    files = source_files(bench.manifest, bench.official)
    predictor = SAM2ImagePredictor(authors_encoder(bench.manifest, files).network.model)
    predictor.set_image(Image.fromarray(frame.pixels).convert("RGB"))
    return predictor.get_image_embedding().mean(dim=(2, 3)).numpy()


@pytest.mark.parametrize(
    "name",
    [
        "sam2-hiera-tiny",
        "sam2.1-hiera-small",
        "sam2-hiera-base-plus",
        "sam2.1-hiera-large",
    ],
)
def test_every_size(name, frames, scratch, record):
    bench = Bench(scratch, frames[:4], name, write_sam2)
    found = bench.add(size=SIDE)
    bench.judge(record, "SAM 2", f"at {SIDE} pixels", found, found.manifest)


def test_what_is_wrong_is_seen(frames, scratch, record):
    name = "sam2.1-hiera-tiny"
    bench = Bench(scratch, frames, name, write_sam2)
    found = bench.add(size=SIDE)
    theirs = found.manifest
    record("SAM 2", name, f"at {SIDE} pixels", bench.parity(found, original=theirs))

    def wrong(what, variant):
        record("SAM 2", name, what, bench.parity(variant, original=theirs), expected=False)

    at_side = {"size": SIDE}
    tensors = found.tensors()
    position, no_memory = "image_encoder.trunk.pos_embed_window", "no_mem_embed"
    wrong(
        "without no_mem_embed",
        bench.variant("alone", tensors={no_memory: torch.zeros_like(tensors[no_memory])}, preprocess=at_side),
    )
    wrong(
        "positions of the windows turned over",
        bench.variant("turned", tensors={position: tensors[position].flip(2)}, preprocess=at_side),
    )
    wrong("cropped, not stretched", bench.variant("other", preprocess={**at_side, "fit": "crop", "resize": SIDE}))
    wrong("another colour", bench.variant("colour", preprocess={**at_side, "mean": [0.5, 0.5, 0.5]}))
