"""The audit of a library with planted errors, through the database, the command and its page."""

import csv
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from harness import enrol_phantoms
from PIL import Image

from app.config import Settings
from app.errors import BadInput, NotFound
from app.evaluation.audit import audit_library
from app.evaluation.audit_page import audit_page
from app.evaluation.audit_report import audit_json, audit_lines, real_conflicts
from app.evaluation.frame_audit import audit_frames, share_of_writing, stored_pixels
from app.evaluation.near_duplicates import Verdict
from app.images.phantom import draw_phantoms
from app.images.region import crop_to_region, detect_region
from app.wiring import running_service


@pytest.fixture(scope="module")
def planted(phantoms, tmp_path_factory):
    """Some phantoms with a copy of the first under another diagnosis and patient, and a whole screen as a frame."""
    folder = tmp_path_factory.mktemp("planted")
    shutil.copytree(phantoms, folder, dirs_exist_ok=True)
    with (folder / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[:28]  # every audit compares hundreds of pairs
    first = next(row for row in rows if row["path"].endswith(".png"))
    screen = Image.open(folder / first["path"])
    screen.resize((screen.width * 8 // 10, screen.height * 8 // 10)).save(folder / "copy.png")
    copy = dict.fromkeys(first, "") | {"path": "copy.png", "external_id": "copy", "patient_id": "somebody-else"}
    copy |= {"organ": first["organ"], "diagnoses": "planted diagnosis"}
    whole = dict.fromkeys(first, "") | {"path": "whole.png", "external_id": "whole"}
    whole["region"] = f"0,0,{screen.width},{screen.height}"
    shutil.copy(folder / first["path"], folder / "whole.png")
    with (folder / "whole.png").open("ab") as file:
        file.write(b"\0")  # other bytes: the same ones would be the same image
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(first))
        writer.writeheader()
        writer.writerows([*rows, copy, whole])
    data = tmp_path_factory.mktemp("audited")
    with running_service(Settings(data=data)) as service:
        enrol_phantoms(service, folder)
        yield data, service.catalogue, first["external_id"]


@pytest.fixture(scope="module")
def found(planted):
    return audit_library(planted[1], "demo")


def names(audit, pair):
    return {audit.ground.references[row].external_id for row in (pair.first, pair.second)}


def test_the_copy_is_found_with_what_it_contradicts(planted, found):
    same = [pair for pair in found.duplicates if pair.verdict is Verdict.SAME]
    (conflict,) = [one for one in real_conflicts(found) if "copy" in names(found, one.pair)]
    assert names(found, conflict.pair) == {"copy", planted[2]}
    assert conflict.about[0] == "patient"
    assert conflict.pair in same
    assert conflict.pair.correlation > 0.95


def test_labels_and_frames_of_the_library(found):
    assert [found.ground.references[row].external_id for row in found.labels.unlabelled] == ["whole"]
    assert "planted diagnosis" in found.labels.ungrouped["diagnoses"]
    assert any(one.label == "planted diagnosis" and one.images == 1 for one in found.labels.small)
    assert found.frames.sources["given"] == 1
    assert [found.ground.references[one.row].external_id for one in found.frames.marked] == ["whole"]
    assert found.frames.outdated == 0
    assert found.frames.missing == ()


def test_the_same_library_gives_the_same_bytes(planted, found):
    again = audit_library(planted[1], "demo")
    assert audit_json(again) == audit_json(found)

    def page(audit):
        return audit_page(audit, lambda row: stored_pixels(planted[1], audit.ground.references[row]))

    assert page(again) == page(found)


def test_the_report_names_references_and_no_patient(planted, found):
    text = json.dumps(audit_json(found)) + "\n".join(audit_lines(found))
    assert "somebody-else" not in text
    keys = {one.patient_key for one in found.ground.references if one.patient_key}
    assert keys
    assert not any(key in text for key in keys)
    assert f"{planted[2]} (" in text


def test_the_page_needs_nothing_else_and_escapes_what_users_wrote(planted, found):
    page = audit_page(found, lambda row: None if row % 2 else np.full((40, 60), row, np.uint8))
    assert "no stored frame" in page
    assert re.findall(r'(?:src|href)="(?!data:image/jpeg;base64,)', page) == []
    assert "http" not in re.sub(r"<meta http-equiv[^>]*>", "", page)
    assert "<script" not in page
    assert f"{planted[2]}<br>" in page


def test_a_frame_that_is_gone_is_told(planted, found):
    catalogue = planted[1]
    path = catalogue.files.path(found.ground.references[0].id)
    kept = path.read_bytes()
    path.unlink()
    try:
        assert audit_frames(catalogue, found.ground, lambda *_: None).missing == (0,)
    finally:
        path.write_bytes(kept)


def test_what_cannot_be_audited_is_refused_with_the_way_out(planted, service):
    with pytest.raises(NotFound):
        audit_library(planted[1], "nowhere")
    with pytest.raises(BadInput, match="no reference") as missing:
        audit_library(planted[1], "demo", ["dinov2-vits14"])
    assert "sonoseek reembed demo --encoder dinov2-vits14" in missing.value.hint
    service.catalogue.put_library("empty")
    with pytest.raises(BadInput, match="empty"):
        audit_library(service.catalogue, "empty")


def test_a_library_without_labels_is_audited_all_the_same(phantoms, service, tmp_path):
    (tmp_path / "manifest.csv").write_text(
        "path\n" + "".join(f"{path}\n" for path in sorted((phantoms / "images").glob("*.png"))[:12])
    )
    (tmp_path / "taxonomy.toml").write_text("[organs]\n")
    enrol_phantoms(service, tmp_path, "bare")
    found = audit_library(service.catalogue, "bare")
    assert len(found.labels.unlabelled) == 12
    assert found.contradictions == {}
    assert set(found.skipped) == {"organ", "diagnoses"}
    assert "organ not judged" in "\n".join(audit_lines(found))
    printed = json.loads(run(tmp_path / "data", "audit", "bare", "--json").stdout)
    assert printed == json.loads(json.dumps(audit_json(found)))


def test_writing_is_seen_beside_the_scan_only():
    for phantom in draw_phantoms(count=4, seed=9):
        assert share_of_writing(phantom.pixels) > 0.005
        assert share_of_writing(crop_to_region(phantom.pixels, detect_region(phantom.pixels))) == 0
    assert share_of_writing(np.zeros((100, 100), np.uint8)) is None


def run(data, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        env={"SONOSEEK_DATA": str(data), "PATH": "/usr/bin:/bin", "COLUMNS": "120", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def test_the_command_writes_page_and_json_and_findings_are_no_error(planted, tmp_path):
    result = run(planted[0], "audit", "demo", "--out", str(tmp_path / "out"))
    assert result.returncode == 0, result.stderr
    assert "same picture, different words" in result.stdout
    assert "copy (" in result.stdout
    written = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert written["library"] == {"name": "demo", "version": written["library"]["version"], "size": 30}
    assert (tmp_path / "out" / "audit.html").read_text().startswith("<!doctype html>")


def test_the_command_refuses_what_is_not_there(planted, tmp_path):
    assert run(planted[0], "audit", "nowhere").returncode == 3
    (tmp_path / "file").write_text("")
    refused = run(planted[0], "audit", "demo", "--out", str(tmp_path / "file"))
    assert refused.returncode == 2
    assert "folder_unwritable" in refused.stderr
