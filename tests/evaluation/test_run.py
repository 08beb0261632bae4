"""A whole evaluation of the demo library: figures, files, determinism, and that it says what it must."""

import csv
import json

import pytest

from app.config import Settings as ServiceSettings
from app.errors import BadInput
from app.evaluation.options import Options
from app.evaluation.patient_report import Settings
from app.evaluation.report_files import report_json, write_report
from app.evaluation.run import evaluate
from app.wiring import open_library

QUICK = Settings(draws=100, flips=200, permutations=20, min_images=5)


@pytest.fixture(scope="module")
def library(demo_data):
    return open_library(ServiceSettings(data=demo_data))


@pytest.fixture(scope="module")
def report(library):
    return evaluated(library)


def evaluated(library, name="demo", **changes):
    options = {"encoders": ["resnet-us", "pixels-32"], "settings": QUICK, "pixels": False, **changes}
    return evaluate(library.catalogue, library.weights, name, Options(**options))


def test_the_trained_encoder_beats_pixels_and_chance(report):
    said = report_json(report)
    organ = said["encoders"]["resnet-us"]["patient"]["organ"]
    pixels = said["encoders"]["pixels-32"]["patient"]["organ"]
    assert 1 >= organ["p_at_10"]["micro"] > pixels["p_at_10"]["micro"] > organ["chance"]["micro"]
    assert organ["p_at_10"]["low"] <= organ["p_at_10"]["micro"] <= organ["p_at_10"]["high"]
    assert organ["found_in_10"] == pytest.approx(10 * organ["p_at_10"]["micro"])
    assert said["encoders"]["resnet-us"]["paper"]["organ"]["as_the_paper"]["expected_in_10"] > organ["expected_in_10"]


def test_the_best_comes_first_in_the_summary(report):
    (best,) = [line for line in report.summary if line.startswith("Organ: resnet-us")]
    assert "finds most" in best
    assert "where chance gives" in best
    assert any("pixels-32 comes next" in line for line in report.summary)


def test_files(report, tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "of-a-former-run.csv").touch()
    write_report(report, tmp_path, None)
    assert not (tmp_path / "tables" / "of-a-former-run.csv").exists()
    said = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert said["library"]["name"] == "demo"
    assert said["provenance"]["resnet-us"].startswith("sha256:")
    names = {path.stem for path in (tmp_path / "tables").glob("*.csv")}
    assert {"patient-organ", "table-11", "table-15-18", "differences", "permutations"} <= names
    with (tmp_path / "queries.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(report.ground)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "Not a diagnosis" in text
    assert not (tmp_path / "report.html").exists()


def test_two_runs_differ_in_date_and_times_only(library, report):
    first, second = report_json(report), report_json(evaluated(library))
    for said in (first, second):
        del said["made_at"], said["times_s"]
    assert first == second
    assert [table.rows for table in report.tables] == [table.rows for table in evaluated(library).tables]


def test_training_on_the_library_is_said_on_top(library, report, store):
    assert report.warnings == []
    checksums = list(library.catalogue.listing.checksums("demo").values())
    options = Options(["resnet-us"], settings=QUICK, pixels=False)
    seen = evaluate(library.catalogue, store(checksums[:12]), "demo", options)
    assert any("was trained on 12 of the 72 pictures" in line for line in seen.warnings)


def test_no_encoder_is_refused(library):
    with pytest.raises(BadInput) as caught:
        evaluated(library, encoders=[])
    assert caught.value.code == "no_encoders"


def test_an_organ_can_be_left_out(library):
    said = report_json(evaluated(library, left_out=["femur"]))
    classes = said["encoders"]["resnet-us"]["patient"]["organ"]["classes"]
    assert "femur" not in {one["label"] for one in classes}


def test_the_pixel_set_of_a_file_and_the_encoders_as_served_are_in_the_tables(library, tmp_path, phantoms):
    from app.evaluation.roles import read_pixel_set

    pictures = sorted((phantoms / "images").glob("*.png"))[:4]
    lines = [
        f"{path},{role}" for path, role in zip(pictures, ("reference", "similar", "similar", "different"), strict=True)
    ]
    (tmp_path / "roles.csv").write_text("\n".join(["path,role", *lines]) + "\n", encoding="utf-8")
    chosen = read_pixel_set(tmp_path / "roles.csv", library.keyer)
    tables = {one.key: one for one in evaluated(library, pixels=True, pixel_set=chosen, kinds=("organ",)).tables}
    assert [row[:2] for row in tables["table-6"].rows] == [
        ["line 2", "reference"], ["line 3", "similar"], ["line 4", "similar"],
    ]  # fmt: skip
    assert "--pixel-set" in tables["table-6"].notes[0] or "--pixel-set" in tables["table-6"].caption
    assert "resnet-us" in {row[0] for row in tables["table-3"].rows}
    assert "84.81 %" in tables["table-3"].notes[0]
    assert "by the majority of the five nearest" in tables["table-3"].notes[0]
