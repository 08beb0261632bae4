import math

import torch

from app.training.data import UNKNOWN
from app.training.losses import SCALE, CosineHead, TwoHeads, masked_loss


def test_unknown_classes_add_nothing():
    scores = torch.tensor([[2.0, 0.0], [0.0, 3.0], [9.0, -9.0]])
    alone = masked_loss(scores[:2], torch.tensor([0, 1]))
    assert torch.isclose(masked_loss(scores, torch.tensor([0, 1, UNKNOWN])), alone)


def test_a_batch_without_any_known_class_costs_nothing_and_can_be_differentiated():
    scores = torch.randn(3, 2, requires_grad=True)
    loss = masked_loss(scores, torch.full((3,), UNKNOWN))
    loss.backward()
    assert loss.item() == 0
    assert scores.grad is not None
    assert scores.grad.abs().sum() == 0


def test_smoothed_cross_entropy_of_equal_scores_is_the_log_of_the_classes():
    assert math.isclose(masked_loss(torch.zeros(5, 4), torch.arange(5) % 4).item(), math.log(4), rel_tol=1e-6)


def test_cosine_scores_do_not_depend_on_the_length_of_the_features():
    head = CosineHead(8, 3)
    features = torch.randn(5, 8)
    assert torch.allclose(head(features), head(features * 7), atol=1e-5)
    assert head(features).abs().max() <= SCALE + 1e-4


def test_organs_that_are_unknown_still_teach_their_group():
    heads = TwoHeads(8, 3, 2)
    heads(torch.randn(4, 8), torch.full((4,), UNKNOWN), torch.tensor([0, 1, 0, 1])).backward()
    assert heads.group.weight.grad.abs().sum() > 0
    assert heads.organ.weight.grad.abs().sum() == 0
