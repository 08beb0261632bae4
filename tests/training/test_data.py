from pathlib import Path

import numpy as np
import pytest

from app.domain import Box
from app.errors import BadInput
from app.training.data import UNKNOWN, load_squares, read_manifests, training_set

FIELDS = "path,frame,region,patient_id,organ,organ_group"


def manifest(folder: Path, *rows: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "manifest.csv"
    path.write_text("\n".join([FIELDS, *rows]) + "\n")
    return path


def test_rows_become_samples_and_those_without_a_group_are_left_out(tmp_path):
    path = manifest(tmp_path / "one", 'a.png,3,"1,2,30,40",p1,femur,fetal limb', "b.png,,,p1,,")
    (sample,) = read_manifests([path])
    assert (sample.path, sample.frame, sample.region) == (path.parent / "a.png", 3, Box(1, 2, 30, 40))
    assert (sample.patient, sample.organ, sample.organ_group) == ("p1", "femur", "fetal limb")


def test_a_source_of_one_organ_teaches_the_group_only(tmp_path):
    samples = read_manifests(
        [
            manifest(tmp_path / "many", "a.png,,,,femur,limb", "b.png,,,,abdomen,trunk", "c.png,,,,,limb"),
            manifest(tmp_path / "single", "d.png,,,,breast,breast", "e.png,,,,breast,breast"),
        ]
    )
    data = training_set(samples, np.zeros((5, 4, 4), np.uint8))
    assert data.organs == ("abdomen", "femur")
    assert data.groups == ("breast", "limb", "trunk")
    assert data.organ.tolist() == [1, 0, UNKNOWN, UNKNOWN, UNKNOWN]
    assert data.group.tolist() == [1, 2, 1, 0, 0]


def test_one_organ_is_too_few_to_train(tmp_path):
    samples = read_manifests([manifest(tmp_path / "single", "d.png,,,,breast,breast")])
    with pytest.raises(BadInput) as caught:
        training_set(samples, np.zeros((1, 4, 4), np.uint8))
    assert caught.value.code == "too_few_classes"


def test_pictures_are_read_with_their_frame_and_region(tmp_path):
    path = manifest(tmp_path / "one", 'a.png,3,"0,0,1,1",p1,femur,limb', "b.png,,,p2,femur,limb")
    (path.parent / "a.png").write_bytes(b"A")
    (path.parent / "b.png").write_bytes(b"B")
    asked, steps = [], []

    def read(data, frame, region):
        asked.append((data, frame, region))
        return np.full((2, 2), data[0], np.uint8)

    squares = load_squares(read_manifests([path]), read, lambda pixels: pixels, lambda *step: steps.append(step))
    assert asked == [(b"A", 3, Box(0, 0, 1, 1)), (b"B", None, None)]
    assert squares[:, 0, 0].tolist() == [ord("A"), ord("B")]
    assert steps == [("read", 1, 2), ("read", 2, 2)]


@pytest.mark.parametrize("row", ["b.png,x,,p1,femur,limb", "b.png"])
def test_a_bad_row_is_named_and_nothing_is_trained(tmp_path, row):
    with pytest.raises(BadInput, match="line 3"):
        read_manifests([manifest(tmp_path / "one", "a.png,,,p1,femur,limb", row)])


def test_a_missing_picture_is_told_without_its_path(tmp_path):
    samples = read_manifests([manifest(tmp_path / "one", "Planted^Name.png,,,p1,femur,limb")])
    with pytest.raises(BadInput) as caught:
        load_squares(samples, lambda *_: np.zeros((2, 2), np.uint8), lambda pixels: pixels, lambda *_: None)
    assert "Planted" not in str(caught.value)
