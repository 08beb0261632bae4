"""What a vector owes to the pictures beside it in a batch."""

import numpy as np
import pytest
from official import write_manifest, write_vit

from app.domain import Frame, ImageFacts
from app.encoders.adding import add_model
from app.encoders.base import embed
from app.encoders.device import choose_placement
from app.encoders.registry import open_encoder
from app.encoders.weights import WeightStore

FACTS = ImageFacts(sha256="", format="png", width=50, height=40)


@pytest.mark.parametrize(("precision", "off"), [("fp32", 1e-6), ("bf16", 2e-2)])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_picture_among_others_has_the_vector_that_it_has_alone(tmp_path, precision, off, threads):
    write_manifest(tmp_path / "shipped", "tiny")
    write_vit(tmp_path / "tiny.pth")
    store = WeightStore(tmp_path / "installed", tmp_path / "shipped")
    add_model(store, "tiny", tmp_path / "tiny.pth", allow_unknown_digest=True)
    encoder = open_encoder("tiny", store, choose_placement("cpu", precision, threads))
    rng = np.random.default_rng(0)
    frames = [Frame(rng.integers(0, 256, (40, 50), dtype=np.uint8), FACTS) for _ in range(9)]
    alone = np.concatenate([embed(encoder, [frame]) for frame in frames])
    together = embed(encoder, frames)
    assert np.linalg.norm(alone - together, axis=1).max() < off
    assert np.linalg.norm(together - np.roll(together, 1, axis=0), axis=1).min() > 10 * off  # and each is its own
