"""What a user of ``sonoseek evaluate`` is told of what is not as it must be, and that it is told before the work."""

import csv
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import app

ROOT = Path(app.__file__).parents[1]
BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
"""
EXTRA = ("jinja2", "matplotlib", "skimage", "cv2", "sewar")


def evaluate(data: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return sonoseek(data, "evaluate", *arguments, **environment)


def sonoseek(data: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        env={"SONOSEEK_DATA": str(data), "PATH": "/usr/bin:/bin", "COLUMNS": "120", **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def enrolled(phantoms: Path, data: Path, columns: list[str], count: int) -> Path:
    """A data directory with a library of the first phantoms and of some columns only."""
    with (phantoms / "manifest.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:count]
    manifest = data.with_suffix(".csv")
    with manifest.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["path", *columns], extrasaction="ignore")
        writer.writeheader()
        writer.writerows([{**row, "path": str(phantoms / row["path"])} for row in rows])
    result = sonoseek(data, "enrol", "small", str(manifest))
    assert result.returncode == 0, result.stderr
    return data


def test_a_library_without_labels_says_it_once(phantoms, tmp_path):
    result = evaluate(enrolled(phantoms, tmp_path / "data", ["patient_id"], 12), "small")
    assert result.returncode == 3
    assert "no_labels" in result.stderr
    assert result.stderr.count("no reference") == 1
    assert "--on-conflict update" in result.stderr


def test_too_few_images_name_only_the_labels_that_are_there(phantoms, tmp_path):
    result = evaluate(enrolled(phantoms, tmp_path / "data", ["patient_id", "organ"], 8), "small")
    assert result.returncode == 3
    assert "too_few_images: only 8 references of 'small' carry a label of the kind organ" in result.stderr
    assert "findings" not in result.stderr


def test_without_patients_each_way_out_works(phantoms, tmp_path):
    data = enrolled(phantoms, tmp_path / "data", ["organ"], 14)
    refused = evaluate(data, "small")
    assert refused.returncode == 3
    for way_out in ("patient_id", "--on-conflict update", "--protocol paper", "--patients near-duplicates"):
        assert way_out in " ".join(refused.stderr.split())
    assert "(the paper's protocol)" in evaluate(data, "small", "--protocol", "paper", "--draws", "100").stdout
    grouped = evaluate(data, "small", "--patients", "near-duplicates", "--draws", "100")
    assert "(--patients near-duplicates)" in " ".join(grouped.stdout.split())
    sonoseek(data, "enrol", "small", str(write_patients(phantoms, data)), "--on-conflict", "update")
    assert evaluate(data, "small", "--draws", "100").returncode == 0


def write_patients(phantoms: Path, data: Path) -> Path:
    """The manifest of ``enrolled`` with a column for patients."""
    with data.with_suffix(".csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    manifest = data.with_name("patients.csv")
    lines = [f"{row['path']},{row['organ']},p{number // 2}" for number, row in enumerate(rows)]
    manifest.write_text("\n".join(["path,organ,patient_id", *lines]) + "\n", encoding="utf-8")
    return manifest


@pytest.mark.parametrize(
    ("encoders", "code", "told"),
    [
        ("resnet-us,nosuch", "unknown_encoder", ["there is no encoder 'nosuch'", "resnet-us", "pixels-32"]),
        ("dinov2-vits14", "vectors_missing", ["sonoseek reembed demo --encoder dinov2-vits14"]),
        (" , ", "no_encoders", ["--encoders resnet-us,pixels-32"]),
    ],
)
def test_encoders_that_cannot_be_judged(demo_data, encoders, code, told):
    result = evaluate(demo_data, "demo", "--encoders", encoders)
    assert result.returncode == 3
    assert code in result.stderr
    for said in told:
        assert said in " ".join(result.stderr.split())


def test_spaces_around_names_do_no_harm(demo_data):
    result = evaluate(demo_data, "demo", "--encoders", "resnet-us, pixels-32", "--draws", "100")
    assert result.returncode == 0, result.stderr


def test_a_vector_that_is_missing_and_one_that_is_no_number(phantoms, tmp_path):
    data = enrolled(phantoms, tmp_path / "data", ["patient_id", "organ"], 12)
    key, vector = sql(data, "select reference_id, vector from embeddings order by reference_id limit 1")[0]
    broken = np.frombuffer(vector, np.float32).copy()
    broken[3] = np.nan
    sql(data, "update embeddings set vector = ? where reference_id = ?", broken.tobytes(), key)
    report = tmp_path / "report"
    not_finite = evaluate(data, "small", "--encoders", "pixels-32,resnet-us", "--out", str(report))
    assert not_finite.returncode == 3
    assert "not_finite: 1 of 12 vectors of resnet-us" in not_finite.stderr
    assert key in not_finite.stderr
    assert list(report.iterdir()) == []  # what was ranked would be kept there
    sql(data, "delete from embeddings where reference_id = ?", key)
    for options in ((), ("--encoders", "resnet-us")):
        missing = evaluate(data, "small", *options)
        assert missing.returncode == 3
        assert "vectors_missing" in missing.stderr
        assert "sonoseek reembed small --encoder resnet-us" in " ".join(missing.stderr.split())


def sql(data: Path, statement: str, *values: object) -> list[tuple]:
    with sqlite3.connect(data / "sonoseek.db") as connection:
        found = connection.execute(statement, values).fetchall()
    connection.close()
    return found


@pytest.mark.parametrize("other", [("--protocol", "paper"), ("--leave-out", "femur")])
def test_figures_that_cannot_be_adopted_are_refused_before_the_work(demo_data, other):
    result = evaluate(demo_data, "demo", "--adopt", *other)
    assert result.returncode == 2
    assert "--adopt" in result.stderr
    assert "ranking" not in result.stderr


def test_a_folder_that_cannot_be_written_is_told_before_the_work(demo_data, tmp_path):
    (tmp_path / "file").touch()
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    # Root may write anywhere but where the kernel says no.
    folders = [tmp_path / "file", tmp_path / "file" / "below", Path("/proc") if os.geteuid() == 0 else closed]
    for folder in folders:
        result = evaluate(demo_data, "demo", "--out", str(folder))
        assert result.returncode == 2
        assert "folder_unwritable" in result.stderr
        assert "--out" in result.stderr


@pytest.mark.parametrize(
    ("option", "content", "code"),
    [
        ("--pixel-set", "path,role\nnone.png,reference\n", "bad_pixel_set"),
        ("--search-bench", "{}", "bad_bench_file"),
        ("--controls", "path,organ\nnone.png,femur\n", "sources_missing"),
        ("--example", None, "unknown_example"),
    ],
)
def test_what_cannot_be_used_is_told_before_the_work(demo_data, tmp_path, option, content, code):
    file, report = tmp_path / "file.csv", tmp_path / "report"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    result = evaluate(demo_data, "demo", "--out", str(report), option, str(file))
    assert result.returncode == 3
    assert code in result.stderr
    assert list(report.iterdir()) == []  # what was ranked would be kept there


def test_without_the_extra_figures_are_printed_and_a_report_says_what_to_install(demo_data, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BLOCKED.format(names=EXTRA), encoding="utf-8")
    printed = evaluate(demo_data, "demo", "--draws", "100", PYTHONPATH=str(tmp_path))
    assert printed.returncode == 0, printed.stderr
    assert "Organ: resnet-us finds most" in printed.stdout
    refused = evaluate(demo_data, "demo", "--out", str(tmp_path / "report"), PYTHONPATH=str(tmp_path))
    assert refused.returncode == 2
    assert "extra_missing" in refused.stderr
    assert "pip install 'sonoseek[evaluation]'" in refused.stderr
    for name in ("jinja2", "matplotlib", "scikit-image", "opencv-python-headless", "sewar"):
        assert name in " ".join(refused.stderr.split())
    assert not (tmp_path / "report").exists()
