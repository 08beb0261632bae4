"""Preparing pictures for foundation models: sizes, crops and values as the official pipelines give them."""

import numpy as np
import pytest
from PIL import Image

from app.encoders.transform import Transform
from app.errors import Misconfigured

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
SIZES = [(480, 640), (768, 1024), (517, 333), (180, 200), (256, 256), (224, 224), (257, 900), (61, 60)]


def transform(**options):
    return Transform.parse({"size": 224, "resize": 256, "fit": "crop", **IMAGENET, **options})


def picture(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def official(pixels, resize=256, size=224):
    """Resize(256, bicubic), CenterCrop(224), ToTensor, Normalize as torchvision documents them, in RGB."""
    image = Image.fromarray(pixels).convert("RGB")
    width, height = image.size
    new = (resize, int(resize * height / width)) if width <= height else (int(resize * width / height), resize)
    if new != (width, height):
        image = image.resize(new, Image.Resampling.BICUBIC)
    left, top = round((new[0] - size) / 2.0), round((new[1] - size) / 2.0)
    values = np.asarray(image.crop((left, top, left + size, top + size)), np.float32).transpose(2, 0, 1) / np.float32(
        255
    )
    mean, std = (np.array(IMAGENET[key], np.float32)[:, None, None] for key in ("mean", "std"))
    return (values - mean) / std


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("colours", [(), (3,)], ids=["grey", "rgb"])
def test_the_crop_is_bit_for_bit_the_official_one(shape, colours):
    pixels = picture((*shape, *colours))
    np.testing.assert_array_equal(transform().tensor(pixels), official(pixels))


def test_pad_keeps_the_whole_picture_and_its_shape():
    wide = np.full((100, 200, 3), 255, np.uint8)
    square = transform(fit="pad").square(wide)
    assert square.shape == (224, 224, 3)
    assert square[56:168].min() == 255
    assert square[:56].max() == square[168:].max() == 0


def test_stretch_keeps_the_whole_picture_but_not_its_shape():
    half = np.zeros((100, 200), np.uint8)
    half[:, 100:] = 255
    square = transform(fit="stretch").square(half)
    assert square.shape == (224, 224)
    assert square[:, :108].max() == 0
    assert square[:, 116:].min() == 255


@pytest.mark.parametrize(
    "fault", [{"size": 0}, {"resize": 100}, {"fit": "fold"}, {"mean": [0.5]}, {"std": [1, 1, 0]}, {"colour": 1}]
)
def test_a_table_that_cannot_be_used_is_refused(fault):
    with pytest.raises(Misconfigured) as caught:
        transform(**fault)
    assert caught.value.code == "bad_preprocess"
