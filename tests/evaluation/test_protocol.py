"""Whom a query may see under each protocol, and that the service answers the same."""

from dataclasses import replace

import numpy as np
import pytest
from judged_ground import angles, far_apart, judged_ground, random_ground, unit

from app.domain import Labels
from app.errors import BadInput
from app.evaluation.ground import load_contestants, with_vectors
from app.evaluation.protocol import (
    K,
    Patients,
    Protocol,
    evaluable_kinds,
    rank_all,
    rank_kinds,
    whom_it_leaves_out,
)
from app.search.answer import Wish

TWELVE = angles(*range(12))  # one degree apart: row 0's nearest are 1, 2, 3 ..


def test_the_paper_shows_all_but_the_query():
    ground, contestant = judged_ground(["a"] * 12, TWELVE, patients=["p"] * 12)
    ranked = rank_all(ground, contestant, "organ", Protocol.PAPER)
    assert ranked.neighbours[0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert ranked.visible.tolist() == [11] * 12
    assert ranked.distances[0, 0] == pytest.approx(2 * np.sin(np.radians(0.5)), abs=1e-6)


def test_the_patient_protocol_leaves_out_the_patient_and_the_near_duplicates():
    # 0, 1 and 5 are one patient; 2 and 3 look alike (equal hashes) but are of different patients.
    patients = ["p", "p", "q", "r", "s", "p", *"tuvwxyz"]
    hashes = far_apart(13)
    hashes[3] = hashes[2]
    ground, contestant = judged_ground(["a"] * 13, angles(*range(13)), patients=patients, fingerprints=hashes)
    ranked = rank_all(ground, contestant, "organ", Protocol.PATIENT)
    assert ranked.neighbours[0].tolist() == [2, 3, 4, 6, 7, 8, 9, 10, 11, 12]
    assert ranked.neighbours[2].tolist() == [1, 4, 0, 5, 6, 7, 8, 9, 10, 11]  # ties fall to the lower id: 1, 4 before 0
    assert ranked.visible[[0, 2, 4]].tolist() == [10, 11, 12]


def test_ties_fall_to_the_lower_id():
    ground, contestant = judged_ground(["a"] * 15, np.repeat(angles(30), 15, axis=0))
    ranked = rank_all(ground, contestant, "organ", Protocol.PATIENT)
    assert ranked.neighbours[0].tolist() == list(range(1, 11))
    assert ranked.neighbours[14].tolist() == list(range(10))
    assert (ranked.distances == 0).all()


def test_where_fewer_than_ten_may_be_seen_the_rest_is_empty():
    ground, contestant = judged_ground(["a"] * 12, TWELVE, patients=["p"] * 9 + ["q", "r", "s"])
    ranked = rank_all(ground, contestant, "organ", Protocol.PATIENT)
    assert ranked.neighbours[0].tolist() == [9, 10, 11, *[-1] * 7]
    assert np.isnan(ranked.distances[0, 3:]).all()
    assert ranked.visible[0] == 3


def test_what_is_not_annotated_is_neither_asked_nor_found():
    labels = [Labels(organ="a", diagnoses=("normal",) if row % 2 else ()) for row in range(24)]
    ground, contestant = judged_ground(labels, angles(*range(24)))
    ranked = rank_all(ground, contestant, "diagnoses", Protocol.PAPER)
    assert ranked.queries.tolist() == list(range(1, 24, 2))
    assert set(ranked.neighbours.ravel().tolist()) == set(range(1, 24, 2))
    assert ranked.visible.tolist() == [11] * 12


@pytest.mark.parametrize("protocol", list(Protocol))
def test_it_agrees_with_brute_force(protocol):
    ground, contestant = random_ground(n=150, patients=40)
    ranked = rank_all(ground, contestant, "organ", protocol)
    vectors = contestant.snapshot.vectors.astype(np.float64)
    for row in range(0, 150, 7):
        distances = np.linalg.norm(vectors - vectors[row], axis=1)
        hidden = ground.patients == ground.patients[row] if protocol is Protocol.PATIENT else np.arange(150) == row
        distances[hidden] = np.inf
        assert ranked.neighbours[row].tolist() == np.argsort(distances, kind="stable")[:K].tolist()
        assert ranked.distances[row] == pytest.approx(np.sort(distances)[:K])


def test_kinds_that_annotate_the_same_share_a_ranking():
    ground, contestant = random_ground(n=60)
    told = []
    both = rank_kinds(ground, contestant, ["organ", "organ_group"], Protocol.PATIENT, progress=told.append)
    assert both["organ_group"].neighbours is both["organ"].neighbours
    assert both["organ_group"].kind == "organ_group"
    assert sum(told) == 120


def test_the_service_answers_the_same(demo_service):
    encoder = demo_service.batcher.encoder(None)
    ground, (contestant,) = load_contestants(demo_service.catalogue, "demo", [encoder.name])
    ranked = rank_all(ground, contestant, "organ", Protocol.PATIENT)
    alone = np.bincount(ground.lookalikes)[ground.lookalikes] == 1  # the service leaves out patients only
    asked = np.flatnonzero(alone[ranked.queries])[::5]
    assert len(asked) > 10
    for place in asked.tolist():
        key = ground.references[ranked.queries[place]].id
        answer = demo_service.finder.find_like(key, Wish(k=K, library="demo", scores=()))
        ids = [ground.references[row].id for row in ranked.neighbours[place]]
        assert [found.reference.id for found in answer.neighbours] == ids
        assert [found.distance for found in answer.neighbours] == ranked.distances[place].tolist()


def test_a_library_without_labels_is_refused():
    ground, contestant = judged_ground([Labels()] * 12, TWELVE)
    with pytest.raises(BadInput) as caught:
        rank_all(ground, contestant, "organ", Protocol.PAPER)
    assert caught.value.code == "no_labels"
    with pytest.raises(BadInput) as caught:
        evaluable_kinds(ground)
    assert caught.value.code == "no_labels"


def test_fewer_than_eleven_images_are_refused():
    ground, contestant = judged_ground(["a"] * 10, TWELVE[:10])
    with pytest.raises(BadInput, match="at least 11") as caught:
        rank_all(ground, contestant, "organ", Protocol.PAPER)
    assert caught.value.code == "too_few_images"
    with pytest.raises(BadInput) as caught:
        evaluable_kinds(ground)
    assert caught.value.code == "too_few_images"
    enough, contestant = judged_ground(["a"] * 11, TWELVE[:11])
    assert rank_all(enough, contestant, "organ", Protocol.PAPER).visible.tolist() == [10] * 11


def test_kinds_that_cannot_be_judged_are_named_with_the_reason():
    ground, _ = judged_ground([Labels(organ="a", findings=("x",) if row < 3 else ()) for row in range(12)], TWELVE)
    can, cannot = evaluable_kinds(ground)
    assert can == ["organ"]
    assert set(cannot) == {"organ_group", "diagnoses", "diagnosis_groups", "findings"}
    assert "only 3" in cannot["findings"]


def test_without_patients_the_patient_protocol_says_what_to_do():
    ground, contestant = judged_ground(["a"] * 12, TWELVE, patients=None)
    with pytest.raises(BadInput) as caught:
        rank_all(ground, contestant, "organ", Protocol.PATIENT)
    assert caught.value.code == "no_patients"
    for way_out in ("patient_id", "--protocol paper", "--patients near-duplicates"):
        assert way_out in caught.value.hint
    assert rank_all(ground, contestant, "organ", Protocol.PAPER).visible[0] == 11


def test_near_duplicates_may_stand_for_patients_and_every_caption_says_so():
    hashes = far_apart(12)
    hashes[1] = hashes[0]
    ground, contestant = judged_ground(["a"] * 12, TWELVE, patients=None, fingerprints=hashes)
    ranked = rank_all(ground, contestant, "organ", Protocol.PATIENT, patients=Patients.NEAR_DUPLICATES)
    assert 1 not in ranked.neighbours[0]
    assert "--patients near-duplicates" in whom_it_leaves_out(ground, Protocol.PATIENT)
    known, _ = judged_ground(["a"] * 12, TWELVE)
    assert "near-duplicates)" not in whom_it_leaves_out(known, Protocol.PATIENT)
    some, _ = judged_ground(["a"] * 12, TWELVE, patients=["p"] * 10 + [None, None])
    assert "2 of 12 images have no patient" in whom_it_leaves_out(some, Protocol.PATIENT)


def test_vectors_that_are_not_finite_are_refused():
    ground, contestant = judged_ground(["a"] * 12, TWELVE)
    broken = TWELVE.copy()
    broken[3, 0] = np.nan
    with pytest.raises(BadInput, match=r"1 of 12 vectors of broken .* id-0003") as caught:
        rank_all(ground, with_vectors(contestant.snapshot, "broken", "sha256:y", broken), "organ", Protocol.PAPER)
    assert caught.value.code == "not_finite"


def test_other_vectors_of_the_same_references_rank_otherwise():
    ground, contestant = random_ground(n=40)
    other = unit(np.random.default_rng(9).normal(size=(40, 5)))
    mine = rank_all(ground, contestant, "organ", Protocol.PATIENT)
    theirs = rank_all(ground, with_vectors(contestant.snapshot, "other", "sha256:y", other), "organ", Protocol.PATIENT)
    assert theirs.contestant == "other"
    assert not np.array_equal(mine.neighbours, theirs.neighbours)
    assert np.array_equal(mine.visible, theirs.visible)
    assert replace(mine, contestant="other").queries.tolist() == theirs.queries.tolist()
