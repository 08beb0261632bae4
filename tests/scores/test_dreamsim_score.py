"""The DreamSim score against numbers worked out by hand."""

import numpy as np
import pytest

from app.scores.dreamsim import dreamsim_score
from app.scores.registry import ScoreInput, score_pairs


def vector(*numbers):
    return np.array(numbers, dtype=np.float32)


def test_the_distance_is_one_minus_the_cosine():
    assert dreamsim_score(vector(1, 0), vector(0.6, 0.8)) == pytest.approx({"distance": 0.4, "similarity": 0.6})
    assert dreamsim_score(vector(1, 0), vector(-1, 0)) == {"distance": 2, "similarity": -1}
    assert dreamsim_score(vector(2, 0), vector(3, 0)) == {"distance": 0, "similarity": 1}


def test_the_same_picture_is_at_no_negative_distance():
    for seed in range(50):
        one = np.random.default_rng(seed).standard_normal(1792).astype(np.float32)
        one /= np.linalg.norm(one)
        assert 0 <= dreamsim_score(one, one)["distance"] < 1e-12


def test_a_pair_without_both_embeddings_has_no_score():
    canvas, histogram = np.zeros((256, 256), np.uint8), np.full(256, 256)
    plain = ScoreInput(canvas, histogram)
    embedded = ScoreInput(canvas, histogram, vector(1, 0))
    names = ("dreamsim", "mse")
    assert score_pairs(embedded, [plain], names) == [{"dreamsim": None, "mse": 0}]
    assert score_pairs(plain, [embedded], names) == [{"dreamsim": None, "mse": 0}]
    assert score_pairs(embedded, [embedded], names)[0]["dreamsim"] == {"distance": 0, "similarity": 1}
