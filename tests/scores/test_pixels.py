"""Scores against numbers worked out by hand."""

import numpy as np
import pytest

from app.errors import BadInput
from app.scores.pixels import histogram_intersection, make_canvas, make_histogram, mean_squared_error
from app.scores.registry import ScoreInput, chosen_scores, score_pairs


def flat(level: int) -> np.ndarray:
    return np.full((256, 256), level, dtype=np.uint8)


def test_mse_of_two_flat_canvases_is_the_squared_difference():
    assert mean_squared_error(flat(10), flat(255)) == 245**2
    assert mean_squared_error(flat(10), flat(10)) == 0


def test_mse_does_not_wrap_around_in_eight_bits():
    assert mean_squared_error(flat(0), flat(255)) == 65025


def test_histogram_intersection_counts_what_both_have():
    half = flat(10)
    half[:64] = 200  # a quarter of the pixels
    assert histogram_intersection(make_histogram(flat(10)), make_histogram(half)) == pytest.approx(0.75)
    assert histogram_intersection(make_histogram(flat(10)), make_histogram(flat(11))) == 0
    assert histogram_intersection(make_histogram(half), make_histogram(half)) == 1


def test_a_canvas_is_luma_of_256_by_area_averaging():
    colour = np.zeros((512, 512, 3), dtype=np.uint8)
    colour[..., 1] = 100
    canvas = make_canvas(colour)
    assert canvas.shape == (256, 256)
    assert canvas[0, 0] == round(0.587 * 100)
    checks = (np.indices((512, 512)).sum(axis=0) % 2 * 200).astype(np.uint8)
    assert (make_canvas(checks) == 100).all()


def test_all_scores_without_names_none_for_an_empty_list_and_unknown_ones_refused():
    assert chosen_scores(None) == ("histogram", "mse", "dreamsim")
    assert chosen_scores(()) == ()
    with pytest.raises(BadInput) as caught:
        chosen_scores(("ssim",))
    assert "histogram" in caught.value.hint


def test_what_cannot_be_computed_is_null():
    one, two = ScoreInput.of(flat(0)), ScoreInput.of(flat(16))
    scored = score_pairs(one, [two, one], ("mse", "dreamsim"))
    assert scored == [{"mse": 256, "dreamsim": None}, {"mse": 0, "dreamsim": None}]
