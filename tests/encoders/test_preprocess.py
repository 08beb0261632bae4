import numpy as np
import pytest
from PIL import Image

from app.encoders.preprocess import Preprocess
from app.errors import Misconfigured


def preprocess(fit: str, size: int = 8) -> Preprocess:
    return Preprocess(size=size, fit=fit, mean=0.5, std=0.25)


def test_pad_keeps_the_whole_picture_and_its_proportions():
    square = preprocess("pad").square(np.full((20, 40), 200, np.uint8))
    assert (square[2:6] == 200).all()
    assert (square[:2] == 0).all()
    assert (square[6:] == 0).all()


def test_crop_keeps_the_middle():
    picture = np.zeros((20, 40), np.uint8)
    picture[:, 10:30] = 200
    assert (preprocess("crop").square(picture) == 200).all()


def test_stretch_fills_the_square():
    assert (preprocess("stretch").square(np.full((20, 40), 200, np.uint8)) == 200).all()


def test_colours_become_luma_of_bt_601():
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:] = (255, 0, 0)
    assert (preprocess("pad").square(picture) == round(0.299 * 255)).all()


def test_fine_patterns_are_averaged_not_sampled():
    picture = np.zeros((256, 256), np.uint8)
    picture[:, ::2] = 200
    square = preprocess("pad").square(picture)
    assert abs(square.astype(int) - 100).max() <= 4


def test_the_reduction_follows_a_careful_resize():
    picture = np.asarray(Image.effect_noise((500, 400), 60).resize((1000, 800), Image.Resampling.BICUBIC))
    careful = np.asarray(Image.fromarray(picture).resize((160, 128), Image.Resampling.BILINEAR)).astype(int)
    assert abs(preprocess("pad", 160).square(picture)[16:144] - careful).max() <= 6


def test_numbers_are_normalised():
    tensor = preprocess("pad").tensor(np.full((8, 8), 255, np.uint8))
    assert tensor.shape == (1, 8, 8)
    assert tensor.dtype == np.float32
    assert tensor == pytest.approx((1 - 0.5) / 0.25)


def test_a_picture_of_one_pixel_is_possible():
    assert preprocess("pad").square(np.full((1, 1), 9, np.uint8)).shape == (8, 8)
    assert preprocess("pad").square(np.full((1, 4000), 9, np.uint8)).shape == (8, 8)


@pytest.mark.parametrize("change", [{"size": 0}, {"fit": "squeeze"}, {"std": 0.0}, {"gamma": 2}, {"mean": "x"}])
def test_an_unusable_table_is_named_by_its_key(change):
    table = {"size": 8, "fit": "pad", "mean": 0.2, "std": 0.2} | change
    with pytest.raises(Misconfigured) as caught:
        Preprocess.parse(table)
    assert caught.value.code == "bad_preprocess"
    assert next(iter(change)) in caught.value.hint
