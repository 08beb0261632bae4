import torch

from app.training.augment import Augment


def batch(count: int = 12) -> torch.Tensor:
    ramp = torch.linspace(0.1, 0.9, 48)
    return (ramp[:, None] * ramp[None]).repeat(count, 1, 1, 1)


def changed(seed: int) -> torch.Tensor:
    return Augment(32)(batch(), torch.Generator().manual_seed(seed))


def test_gives_pictures_of_the_wanted_size_within_the_grey_range():
    pictures = changed(0)
    assert pictures.shape == (12, 1, 32, 32)
    assert pictures.min() >= 0
    assert pictures.max() <= 1


def test_repeats_with_its_generator_and_only_then():
    assert torch.equal(changed(1), changed(1))
    assert not torch.equal(changed(1), changed(2))


def test_every_picture_is_changed_differently():
    pictures = changed(3).flatten(1)
    distances = torch.cdist(pictures, pictures) + torch.eye(12) * 99
    assert distances.min() > 0.5


def test_what_was_black_stays_black():
    generator = torch.Generator().manual_seed(4)
    assert Augment(32)(torch.zeros(8, 1, 48, 48), generator).max() == 0
