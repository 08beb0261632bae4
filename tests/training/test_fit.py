import numpy as np
import pytest
import torch

from app.encoders.preprocess import Preprocess
from app.training.data import TrainingSet
from app.training.fit import Schedule, fit, sampling_chances

SMALL = Preprocess(size=32, fit="pad", mean=0.2, std=0.2)
SHORT = Schedule(steps=12, batch=16, average=0.8)


@pytest.fixture(scope="module")
def stripes() -> TrainingSet:
    """Noise with horizontal, vertical or no stripes: three classes that any network can learn."""
    generator = np.random.default_rng(0)
    squares = generator.integers(0, 90, (48, 40, 40)).astype(np.uint8)
    squares[0::3, ::6, :] = 250
    squares[1::3, :, ::6] = 250
    classes = np.arange(48) % 3
    return TrainingSet(squares, np.where(classes == 2, -1, classes), classes, ("a", "b"), ("a", "b", "c"))


def fitted(data: TrainingSet, seed: int, schedule: Schedule = SHORT):
    return fit(data, SMALL, seed=seed, schedule=schedule, progress=lambda stage, done, of: None)


def test_the_loss_falls(stripes):
    losses = fitted(stripes, 0, Schedule(steps=100, batch=16)).losses
    assert len(losses) == 2
    assert losses[1] < losses[0] - 0.1


def test_the_same_seed_gives_the_same_weights_and_another_one_others(stripes):
    first, again, other = (fitted(stripes, seed).network.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["stem.0.weight"], other["stem.0.weight"])


def test_every_step_is_told(stripes):
    told = []
    short = Schedule(steps=3, batch=8)
    fit(stripes, SMALL, seed=0, schedule=short, progress=lambda *step: told.append(step))
    assert told == [("train", 1, 3), ("train", 2, 3), ("train", 3, 3)]


def test_no_step_falls_back_on_slow_convolutions(stripes):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        fitted(stripes, 0, Schedule(steps=1, batch=8))
    convolutions = {event.key for event in seen.key_averages() if "conv" in event.key}
    assert "aten::mkldnn_convolution" in convolutions
    assert "aten::_slow_conv2d_forward" not in convolutions


def test_rare_classes_and_annotated_pictures_are_drawn_more_often():
    organ = np.array([0] * 200 + [1] * 50 + [-1] * 50)
    group = np.where(organ < 0, 1, 0)
    data = TrainingSet(np.zeros((300, 2, 2), np.uint8), organ, group, ("a", "b"), ("x", "y"))
    chances = sampling_chances(data)
    assert chances[200] / chances[0] == pytest.approx(2)
    assert chances[299] / chances[200] == pytest.approx(0.4)
