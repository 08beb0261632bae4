"""The whole report of some contestants, and its tables."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from judged_ground import judged_ground, random_ground, unit

from app.domain import Labels
from app.errors import BadInput
from app.evaluation.ground import with_vectors
from app.evaluation.patient_report import Settings, patient_report, queries_to_ask
from app.evaluation.patient_tables import patient_tables
from app.evaluation.protocol import Patients, Protocol

QUICK = {"draws": 60, "flips": 60, "permutations": 60}


def two_contestants(n=120):
    ground, one = random_ground(n=n, patients=40, pull=1.0)
    other = with_vectors(one.snapshot, "other", "sha256:y", unit(np.random.default_rng(1).normal(size=(n, 5))))
    return ground, [one, other]


@pytest.fixture(scope="module")
def report():
    ground, several = two_contestants()
    told = []
    settings = Settings(**QUICK)
    figures = patient_report(ground, several, settings=settings, progress=told.append)
    assert sum(told) == 2 * queries_to_ask(ground, figures.kinds, settings) == 2 * 2 * 2 * 120
    return ground, figures


def test_every_contestant_is_judged_under_both_protocols(report):
    _, figures = report
    assert [one.name for one in figures.contestants] == ["encoder", "other"]
    assert figures.kinds == ("organ", "organ_group")
    assert set(figures.skipped) == {"diagnoses", "diagnosis_groups", "findings"}
    for one in figures.contestants:
        assert set(one.figures) == {Protocol.PAPER, Protocol.PATIENT}
        for check in (one.leakage, one.hubness, one.index_size, one.subgroups, one.attribute_leakage, one.permutations):
            assert set(check) == {"organ", "organ_group"}
        assert one.hubness["organ"].protocol is Protocol.PATIENT
        assert [len(one.permutations["organ"]), len(one.subgroups["organ"])] == [4, 3]
    assert len(figures.differences) == 2 * 2 * 2  # protocols, kinds, micro and macro
    better = figures.contestants[0].figures[Protocol.PATIENT]["organ"].p_at_10.micro
    assert better > figures.contestants[1].figures[Protocol.PATIENT]["organ"].p_at_10.micro


def test_it_becomes_json_as_the_issue_names_it(report):
    _, figures = report
    text = json.dumps(asdict(figures.contestants[0].figures[Protocol.PATIENT]["organ"]), allow_nan=False)
    found = json.loads(text)
    assert {"micro", "low", "high", "macro", "macro_low", "macro_high"} <= set(found["p_at_10"])
    assert {"expected_in_10", "found_in_10", "lift"} <= set(found)
    assert found["found_in_10"] == pytest.approx(10 * found["p_at_10"]["micro"])
    json.dumps(asdict(figures), allow_nan=False)


def test_tables_have_a_cell_for_every_column_and_say_whom_they_leave_out(report):
    ground, figures = report
    tables = patient_tables(ground, figures)
    keys = [table.key for table in tables]
    assert keys[:4] == ["patient-organ", "patient-organ-classes", "patient-organ_group", "patient-organ_group-classes"]
    assert keys[4:8] == [key.replace("patient", "paper") for key in keys[:4]]
    checks = ["differences", "leakage", "permutations", "attribute-leakage", "subgroups", "hubness", "index-size"]
    assert keys[8:] == checks
    for table in tables:
        assert table.rows
        assert all(len(row) == len(table.columns) for row in table.rows)
        assert len(set(table.columns)) == len(table.columns)
        assert all(cell is None or type(cell) in (str, int, float) for row in table.rows for cell in row)
        assert "patient" in table.caption
        assert table.title
        assert table.formula
    with_intervals = [table for table in tables if "low" in table.columns]
    assert len(with_intervals) >= 10
    assert all(any("conditional on the gallery" in note for note in table.notes) for table in with_intervals)


def test_tables_hold_the_figures(report):
    ground, figures = report
    summary = patient_tables(ground, figures)[0]
    row = dict(zip(summary.columns, summary.rows[1], strict=True))
    own = figures.contestants[1].figures[Protocol.PATIENT]["organ"]
    assert row["encoder"] == "other"
    assert row["P@10"] == own.p_at_10.micro
    assert row["macro high"] == own.p_at_10.macro_high
    assert row["MAP@R"] == own.map_at_r.micro
    assert row["macro F1 of 5"] == own.macro_f1_of_5.value
    classes = patient_tables(ground, figures)[1]
    assert len(classes.rows) == 2 * 4
    assert dict(zip(classes.columns, classes.rows[0], strict=True))["images"] == own.classes[0].images


def test_two_runs_give_the_same(report):
    ground, several = two_contestants()
    assert patient_report(ground, several, settings=Settings(**QUICK)) == report[1]
    other = patient_report(ground, several[:1], settings=Settings(**QUICK, seed=1))
    assert other.contestants[0] != report[1].contestants[0]
    assert other.differences == ()


def test_the_paper_protocol_needs_no_patients():
    ground, contestant = judged_ground(["a", "b"] * 15, patients=None)
    with pytest.raises(BadInput) as caught:
        patient_report(ground, [contestant], settings=Settings(**QUICK))
    assert caught.value.code == "no_patients"
    figures = patient_report(ground, [contestant], settings=Settings(Protocol.PAPER, **QUICK))
    assert set(figures.contestants[0].figures) == {Protocol.PAPER}
    assert figures.contestants[0].leakage == {}
    keys = [table.key for table in patient_tables(ground, figures)]
    assert keys == ["paper-organ", "paper-organ-classes", "permutations", "hubness", "index-size"]


def test_near_duplicates_are_named_in_every_caption():
    ground, contestant = judged_ground(["a", "b"] * 15, patients=None)
    settings = Settings(patients=Patients.NEAR_DUPLICATES, **QUICK)
    figures = patient_report(ground, [contestant], settings=settings)
    for table in patient_tables(ground, figures):
        if not table.key.startswith("paper-"):
            assert "near-duplicates" in table.caption


def test_an_image_with_five_diagnoses_goes_through_everything():
    generator = np.random.default_rng(0)
    names = list("abcdef")
    labels = [
        Labels(
            diagnoses=tuple(sorted(generator.choice(names, generator.integers(0, 6), replace=False))),
            diagnosis_groups=("g",),
        )
        for _ in range(60)
    ]
    ground, contestant = judged_ground(labels, devices=["x", "y"] * 30)
    figures = patient_report(ground, [contestant], settings=Settings(**QUICK))
    assert figures.kinds == ("diagnoses", "diagnosis_groups")
    found = figures.contestants[0].figures[Protocol.PATIENT]["diagnoses"]
    assert found.coverage.trials == sum(len(one.diagnoses) for one in labels)
    assert max(len(one.diagnoses) for one in labels) == 5
    assert found.coverage.annotated == sum(bool(one.diagnoses) for one in labels)
    assert figures.contestants[0].figures[Protocol.PATIENT]["diagnosis_groups"].p_at_10.micro == 1.0
    assert patient_tables(ground, figures)


def test_nothing_to_judge_is_refused():
    ground, contestant = judged_ground([Labels()] * 20)
    with pytest.raises(BadInput) as caught:
        patient_report(ground, [contestant])
    assert caught.value.code == "no_labels"
