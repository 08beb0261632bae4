"""Preparation of pictures beside transformers' processors that need torchvision."""

import json

import numpy as np
import pytest
from PIL import Image

from app.encoders.authors import import_torchvision
from app.encoders.processor import ProcessorTransform, preprocess_of

import_torchvision()

SIGLIP = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 224, "width": 224}, "resample": 2}
DINOV3 = {"image_processor_type": "DINOv3ViTImageProcessorFast", "size": {"height": 224, "width": 224}, "resample": 2}
CLIP = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 224}, "resample": 3}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}), encoding="utf-8")
    return tmp_path


def pictures(folder, processor, frames, **options):
    """Ours and theirs."""
    from transformers import AutoImageProcessor

    (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    transform = ProcessorTransform.parse(preprocess_of(folder))
    theirs = AutoImageProcessor.from_pretrained(folder, **options)
    for frame in frames:
        rgb = Image.fromarray(frame.pixels).convert("RGB")
        yield transform.tensor(frame.pixels), theirs(rgb, return_tensors="np")["pixel_values"][0]


def test_dinov3_has_a_torchvision_processor_only(folder, frames):
    for ours, theirs in pictures(folder, DINOV3, frames):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize("processor", [SIGLIP, CLIP])
def test_other_processors_are_equalled_in_their_first_form(folder, frames, processor):
    for ours, theirs in pictures(folder, processor, frames, backend="pil"):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize("processor", [SIGLIP, CLIP])
def test_the_torchvision_form_differs_by_a_grey_level_at_most(folder, frames, processor):
    """As docs/models.md says: which of both a folder was evaluated with is not known."""
    differences = [np.abs(a - b) for a, b in pictures(folder, processor, frames, backend="torchvision")]
    std = processor.get("image_std", [0.5] if processor is SIGLIP else [0.26130258])[0]
    assert max(difference.max() for difference in differences) <= 1.01 / 255 / std
