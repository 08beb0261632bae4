from dataclasses import replace

import pytest

from app.encoders.training_list import FILE, read_training_list
from app.encoders.weights import WeightStore, shipped_models
from app.errors import Misconfigured
from app.evaluation.baselines import load_entrants
from app.evaluation.overlap import MOST, overlap_warnings, overlaps_of


@pytest.fixture(scope="module")
def entrants(demo_service):
    return load_entrants(demo_service.catalogue, "demo", ["resnet-us", "pixels-32"])


def overlap(service, weights, entrants):
    ground, contestants = entrants
    return overlaps_of(service.catalogue, weights, ground, contestants)


def test_shipped_encoder_lists_its_2121_pictures():
    listed = read_training_list(WeightStore(shipped_models()).find("resnet-us"))
    assert len(listed) == 2121
    assert all(len(one) == 64 for one in listed)


def test_the_demo_library_shares_nothing_with_the_training(demo_service, entrants):
    trained, pixels = overlap(demo_service, demo_service.weights, entrants)
    assert (trained.listed, trained.shared, trained.share, trained.is_too_much) == (2121, 0, 0.0, False)
    assert (pixels.listed, pixels.shared) == (0, 0)
    assert overlap_warnings([trained, pixels]) == []


def test_pictures_that_were_seen_are_counted_with_those_of_their_patients(demo_service, entrants, store):
    ground, _ = entrants
    # Two pictures of one patient and one of a patient with two: 3 of 72 seen, one other is of the same patients.
    by_patient = {}
    for one in ground.references:
        by_patient.setdefault(one.patient_key, []).append(one.id)
    first, second = [ids for ids in by_patient.values() if len(ids) == 2][:2]
    checksums = demo_service.catalogue.listing.checksums("demo")
    weights = store([checksums[key] for key in (*first, second[0])] + ["0" * 64])
    found = overlap(demo_service, weights, entrants)[0]
    assert (found.listed, found.references, found.shared, found.of_their_patients) == (4, 72, 3, 4)
    assert found.share == pytest.approx(3 / 72)
    assert found.is_too_much
    (warning,) = overlap_warnings([found])
    assert "3 of the 72 pictures" in warning
    assert "4.2 %; 1 others are of the same patients" in warning


def test_one_percent_is_still_allowed(demo_service, entrants, store):
    checksums = list(demo_service.catalogue.listing.checksums("demo").values())
    found = overlap(demo_service, store(checksums[:1]), entrants)[0]
    assert found.is_too_much  # 1 of 72
    assert not replace(found, share=MOST).is_too_much


def test_an_encoder_without_a_list_may_have_seen_everything(demo_service, entrants, store):
    weights = store(["0" * 64])
    manifest = weights.find("resnet-us").folder / "manifest.toml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text("".join(x for x in text.splitlines(keepends=True) if not x.startswith("list")))
    found = overlap(demo_service, weights, entrants)[0]
    assert (found.listed, found.shared, found.share, found.is_too_much) == (None, None, None, False)
    assert "its manifest lists no training pictures" in overlap_warnings([found])[0]


def test_a_list_of_other_weights_says_nothing(demo_service, entrants, store):
    weights = store(["0" * 64])
    manifest = weights.find("resnet-us").folder / "manifest.toml"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('fit = "pad"', 'fit = "crop"'))
    found = overlap(demo_service, weights, entrants)[0]
    assert found.listed is None
    assert "is not the one that made the stored vectors" in found.sentence


def test_a_changed_list_is_refused(demo_service, entrants, store):
    weights = store(["0" * 64])
    (weights.find("resnet-us").folder / FILE).write_text("1" * 64 + "\n")
    with pytest.raises(Misconfigured) as refusal:
        read_training_list(weights.find("resnet-us"))
    assert refusal.value.code == "training_list_changed"
    assert overlap(demo_service, weights, entrants)[0].listed is None


def test_the_list_is_looked_for_in_the_encoders_folder_only(store, tmp_path):
    weights = store(["0" * 64])
    (tmp_path / "secret.txt").write_text("0" * 64 + "\n")
    manifest = weights.find("resnet-us").folder / "manifest.toml"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('"training.txt"', '"../../secret.txt"'))
    with pytest.raises(Misconfigured):
        read_training_list(weights.find("resnet-us"))
