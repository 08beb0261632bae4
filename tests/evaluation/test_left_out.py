"""Labels that a figure is not about."""

import numpy as np
import pytest
from judged_ground import judged_ground

from app.domain import Labels
from app.errors import BadInput
from app.evaluation.left_out import without_labels
from app.evaluation.protocol import Protocol, rank_all


def test_a_label_that_is_left_out_is_neither_asked_nor_found_and_its_group_is():
    labels = [Labels(organ="hc" if row < 8 else "femur", organ_group="fetal head") for row in range(30)]
    ground, contestant = judged_ground(labels)
    without = without_labels(ground, "organ", ["hc"])
    organ = rank_all(without, contestant, "organ", Protocol.PAPER)
    assert organ.queries.tolist() == list(range(8, 30))
    assert organ.neighbours.min() >= 8
    assert organ.visible.tolist() == [21] * 22
    assert without.carriers("organ").keys() == {"femur"}
    group = rank_all(without, contestant, "organ_group", Protocol.PAPER)
    assert len(group.queries) == 30
    assert np.array_equal(group.neighbours, rank_all(ground, contestant, "organ_group", Protocol.PAPER).neighbours)


def test_one_of_several_labels_is_left_out():
    ground, _ = judged_ground([Labels(findings=("x", "y")), Labels(findings=("x",)), Labels(findings=("y",))])
    without = without_labels(ground, "findings", ["x"])
    assert without.values("findings") == [("y",), (), ("y",)]
    assert ground.values("findings")[0] == ("x", "y")


def test_a_label_that_nobody_carries_is_a_mistake():
    ground, _ = judged_ground(["a"] * 3)
    with pytest.raises(BadInput, match="'b'") as caught:
        without_labels(ground, "organ", ["b"])
    assert caught.value.code == "unknown_label"
    assert "a" in caught.value.hint
