"""What labels lack, conflicts and contradictions, on grounds whose answers are worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from shelf_maker import make_snapshot

from app.domain import Labels, Taxonomy
from app.evaluation.audit import conflict_of
from app.evaluation.contradictions import find_contradictions
from app.evaluation.ground import Contestant, Ground
from app.evaluation.label_audit import audit_labels
from app.evaluation.near_duplicates import NearDuplicate, Verdict
from app.search.lookup import Lookup


def ground_of(labels, patients):
    snapshot = make_snapshot(np.eye(len(labels), dtype=np.float32), [None] * len(labels), patients)
    references = [replace(one, labels=said) for one, said in zip(snapshot.references, labels, strict=True)]
    rows_with = Lookup.of(one.conditions() for one in references)
    return Ground.of(replace(snapshot, references=references, rows_with=rows_with))


def test_labels_classes_patients_and_groups():
    ground = ground_of(
        [
            Labels(organ="femur", diagnoses=("normal",)),
            Labels(organ="Femur "),
            Labels(organ="femur", diagnoses=("short femur", "bent femur")),
            Labels(organ="head"),
            Labels(),
            *[Labels(organ="thorax") for _ in range(20)],
        ],
        ["a", "a", "b", "c", "d", *["e"] * 20],
    )
    found = audit_labels(ground, Taxonomy(organs={"femur": "limb", "thorax": "trunk"}, diagnoses={"normal": "none"}))
    assert found.unlabelled == (4,)
    assert found.annotated["organ"] == 24
    assert found.annotated["findings"] == 0
    small = {(one.kind, one.label): one.images for one in found.small}
    assert small == {
        ("organ", "Femur "): 1,
        ("organ", "femur"): 2,
        ("organ", "head"): 1,
        ("diagnoses", "bent femur"): 1,
        ("diagnoses", "normal"): 1,
        ("diagnoses", "short femur"): 1,
    }  # thorax has exactly 20 and is none
    assert found.ungrouped == {"organ": ("Femur ", "head"), "diagnoses": ("bent femur", "short femur")}
    assert [(one.kind, one.labels) for one in found.similar] == [("organ", ("Femur ", "femur"))]
    # thorax: 20 images of e only. femur is of a and b; classes of one image are no news.
    assert [(one.label, one.images) for one in found.one_patient] == [("thorax", 20)]
    organ, diagnoses = found.spread
    # a has two classes, e one class in 20 images, b and c one image each; d's image has no organ.
    assert (organ.patients, organ.one_image, organ.one_class, organ.without) == (4, 2, 1, 0)
    assert (diagnoses.patients, diagnoses.one_image, diagnoses.one_class) == (2, 2, 0)


def test_references_without_a_patient_are_counted_and_stand_for_none():
    ground = ground_of([Labels(organ="head")] * 3, [None, None, "a"])
    found = audit_labels(ground, Taxonomy())
    assert found.one_patient == ()
    assert (found.spread[0].patients, found.spread[0].without) == (1, 2)


PAIR = NearDuplicate(0, 1, Verdict.SAME, 0, {}, 100, 1.0)


@pytest.mark.parametrize(
    ("first", "second", "patients", "about"),
    [
        (Labels(organ="head"), Labels(organ="head"), ["a", "a"], None),
        (Labels(organ="head"), Labels(organ="femur"), ["a", "a"], ("organ",)),
        (Labels(organ="head"), Labels(), ["a", "a"], None),  # not annotated contradicts nothing
        (Labels(diagnoses=("x", "y")), Labels(diagnoses=("y", "x")), ["a", None], None),
        (Labels(diagnoses=("x", "y")), Labels(diagnoses=("x",)), ["a", "b"], ("patient", "diagnoses")),
    ],
)
def test_what_two_copies_contradict_each_other_in(first, second, patients, about):
    conflict = conflict_of(ground_of([first, second], patients), PAIR)
    assert (conflict and conflict.about) == about


def contest(vectors, organs, patients, name="x"):
    snapshot = make_snapshot(vectors.astype(np.float32), organs, patients)
    return Ground.of(snapshot), Contestant(name, "sha256:x", snapshot)


def cluster(centre, number, rng):
    points = np.asarray(centre) + 0.01 * rng.normal(size=(number, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def test_the_mislabelled_one_of_two_clusters_is_found_and_told_what_it_is():
    rng = np.random.default_rng(0)
    vectors = np.concatenate([cluster((1, 0, 0), 22, rng), cluster((0, 1, 0), 22, rng)])
    organs = ["head"] * 22 + ["femur"] * 22
    organs[5] = "femur"  # wrong: it lies among the heads
    patients = [f"p{row}" for row in range(44)]
    ground, contestant = contest(vectors, organs, patients)
    (found,) = find_contradictions(ground, [contestant], "organ")
    assert (found.row, found.labels, found.suggested, found.own, found.other) == (5, ("femur",), "head", 0, 10)
    assert found.margin == 10
    assert len(found.neighbours) == 10
    assert set(found.neighbours) < set(range(22)) - {5}


def test_own_patient_does_not_vote_and_small_classes_are_not_judged():
    rng = np.random.default_rng(1)
    vectors = np.concatenate([cluster((1, 0, 0), 30, rng), cluster((0, 1, 0), 30, rng)])
    organs = ["head"] * 30 + ["femur"] * 30
    organs[0] = "femur"
    organs[59] = "rare"  # among the femurs, but alone of its class
    # The wrong one's patient brings nothing but wrong ones in its place: they would outvote if they could.
    patients = ["same"] * 12 + [f"p{row}" for row in range(48)]
    organs[1:12] = ["femur"] * 11
    ground, contestant = contest(vectors, organs, patients)
    found = find_contradictions(ground, [contestant], "organ")
    assert {one.row for one in found} == set(range(12))
    assert all(one.other == 10 for one in found)


def test_several_encoders_vote_as_their_mean():
    rng = np.random.default_rng(2)
    apart = np.concatenate([cluster((1, 0, 0), 22, rng), cluster((0, 1, 0), 22, rng)])
    organs, patients = ["head"] * 22 + ["femur"] * 22, [f"p{row}" for row in range(44)]
    swapped = apart.copy()
    swapped[[3, 30]] = apart[[30, 3]]
    ground, right = contest(apart, organs, patients, "right")
    _, wrong = contest(swapped, organs, patients, "wrong")
    assert find_contradictions(ground, [right], "organ") == []
    alone = find_contradictions(ground, [wrong], "organ")
    assert [(one.row, one.own, one.other) for one in alone] == [(3, 0, 10), (30, 0, 10)]
    assert find_contradictions(ground, [right, wrong], "organ") == []  # 5 against 5: no margin
    both = find_contradictions(ground, [right, wrong, wrong], "organ")
    assert [round(one.margin, 6) for one in both] == [round(10 / 3, 6)] * 2
