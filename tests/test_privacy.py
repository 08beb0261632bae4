"""De-identification at the door: names planted in every place a scanner puts them reach no file, log or answer."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dicom_files import planted_dicom
from fastapi.testclient import TestClient
from harness import running_client

from app.config import Settings
from app.images.deidentify import Keyer
from app.images.reader import read_frame
from app.wiring import open_library


@pytest.fixture
def planted(tmp_path):
    """Three planted DICOM files, whose names name the patient too, and a manifest with a patient column."""
    folder = tmp_path / "export"
    folder.mkdir()
    files = [planted_dicom(seed=1), planted_dicom(frames=5, seed=2), planted_dicom(regions=False, seed=3)]
    strings = {"FILENAME-Planted^Person", "MANIFEST-Planted-Patient", "COLUMN-Planted-Doctor"}
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "patient_id", "organ", "referring physician"])
        for number, item in enumerate(files):
            name = f"FILENAME-Planted^Person-{number}.dcm"
            (folder / name).write_bytes(item.data)
            writer.writerow([name, "MANIFEST-Planted-Patient", "femur", "COLUMN-Planted-Doctor"])
            strings.update(item.strings)
    return folder, files, strings


def assert_absent(strings, text: bytes, where: str) -> None:
    for string in strings:
        for encoded in (string.encode(), string.encode("utf-16-le")):
            # Digits stand in other numbers by chance, in a vector for example.
            alone = rb"(?<![0-9.])%b(?![0-9])" if string.isdigit() else rb"%b"
            assert not re.search(alone % re.escape(encoded), text, re.IGNORECASE), f"{string!r} is in {where}"


def command(data: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = {"SONOSEEK_DATA": str(data), "SONOSEEK_LOG__LEVEL": "debug", "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments], env=environment, capture_output=True, check=False, timeout=120
    )


def test_the_planted_strings_can_be_found(planted):
    """The search below would be worth nothing if it could not find them where they are."""
    _folder, files, strings = planted
    assert len(strings) > 30
    found = b"".join(item.data for item in files)
    assert sum(string.encode() in found for string in strings) > 20
    with pytest.raises(AssertionError):
        assert_absent(strings, found, "the files")


def test_nothing_planted_reaches_the_data_directory_or_what_is_printed(planted, tmp_path):
    folder, _files, strings = planted
    data = tmp_path / "data"
    enrolled = command(data, "enrol", "planted", str(folder / "manifest.csv"), "--allow-unmasked")
    assert enrolled.returncode == 0, enrolled.stderr
    assert b"3 added" in enrolled.stdout
    searched = command(data, "search", str(folder / "FILENAME-Planted^Person-0.dcm"), "--json")
    assert searched.returncode == 0, searched.stderr
    assert b'"patient_excluded": true' in searched.stdout
    for result in (enrolled, searched):
        assert_absent(strings, result.stdout + result.stderr, "what a command printed")
    written = [path for path in data.rglob("*") if path.is_file()]
    assert len(written) >= 5
    for path in written:
        assert_absent(strings, path.read_bytes(), str(path.relative_to(data)))
        assert_absent(strings, str(path.relative_to(data)).encode(), "a file name")


def test_nothing_planted_reaches_answers_errors_or_logs(planted, tmp_path, capfd):
    _, files, strings = planted
    with running_client(Settings(data=tmp_path / "data")) as client:
        client.app.state.opening.service().catalogue.put_library("planted")
        for item in files:
            for data in (item.data, item.data[: len(item.data) // 2], item.data[:2000], item.data[400:]):
                for answer in _everything(client, data):
                    assert_absent(strings, answer.content + repr(answer.headers).encode(), "an answer")
    printed = capfd.readouterr()
    assert "request_id" in printed.out + printed.err
    assert_absent(strings, (printed.out + printed.err).encode(), "the log")


def _everything(client: TestClient, data: bytes):
    files = {"image": ("FILENAME-Planted^Person.dcm", data)}
    headers = {"X-Exclude-Patient-ID": "MANIFEST-Planted-Patient"}
    yield client.post("/search", files=files, headers=headers)
    yield client.post("/search", files=files, params={"frame": 99})
    yield client.post("/search", files=files, params={"region": "0,0,9999,9999"})
    yield client.post("/embed", files=files)
    yield client.post("/compare", files={"a": ("FILENAME-Planted^Person.dcm", data), "b": ("b", data)})


def test_nothing_planted_is_kept_of_what_is_enrolled_over_http(planted, tmp_path, capfd):
    _, files, strings = planted
    folder = tmp_path / "data"
    with running_client(Settings(data=folder)) as client:
        assert client.put("/libraries/planted", json={}).status_code == 201
        statuses = []
        for item in files:
            for answer in _every_change(client, item.data):
                statuses.append(answer.status_code)
                assert_absent(strings, answer.content + repr(answer.headers).encode(), "an answer")
        assert {200, 201, 204, 404, 409, 422} <= set(statuses)
        listed = client.get("/libraries/planted/references").content + client.get("/libraries/planted").content
        assert_absent(strings, listed, "a listing")
        assert len(open_library(Settings(data=folder)).access_log.read(1000)) >= 15
        written = [path for path in folder.rglob("*") if path.is_file()]
        assert any(path.suffix == ".png" for path in written)
        for path in written:
            assert_absent(strings, path.read_bytes(), str(path.relative_to(folder)))
            assert_absent(strings, str(path.relative_to(folder)).encode(), "a file name")
    printed = capfd.readouterr()
    assert_absent(strings, (printed.out + printed.err).encode(), "the log")


def _every_change(client: TestClient, data: bytes):
    """Calls that change something, good and bad, with an identity wherever one may stand or be put by mistake."""
    patient = "MANIFEST-Planted-Patient"
    path = "/libraries/planted/references"
    files = {"image": ("FILENAME-Planted^Person.dcm", data)}
    unmasked = {"allow_unmasked": True}

    def labels(**said):
        return {"labels": json.dumps(said)}

    good = client.post(path, files=files, data=labels(organ="femur", patient_id=patient), params=unmasked)
    yield good
    yield client.post(path, files=files, data=labels(organ="spine", patient_id=patient), params=unmasked)
    yield client.post(path, files=files, data=labels(external_id=patient, patient_id=patient), params=unmasked)
    yield client.post(path, files=files, data=labels(**{patient: "COLUMN-Planted-Doctor"}))
    yield client.post(path, files=files, data=labels(attributes={"COLUMN-Planted-Doctor^": "x"}))
    yield client.post(path, files=files, data=labels(organ=["COLUMN-Planted-Doctor"]))
    yield client.post(path, files=files, data={"labels": patient})
    yield client.post(f"/libraries/{patient}/references", files=files, data=labels())
    yield client.delete(f"/libraries/{patient}", params={"confirm": patient})
    yield client.delete("/libraries/planted", params={"confirm": patient})
    yield client.put(f"/libraries/{patient}^", json={})
    yield client.put("/libraries/planted", json={"COLUMN-Planted-Doctor": {}})
    batch = [("images", ("FILENAME-Planted^Person.dcm", data)), ("images", ("FILENAME-Planted^Person.dcm", data))]
    said = json.dumps([{patient: 1}, {"patient_id": patient, "frame": 99}])
    yield client.post(f"{path}/batch", files=batch, data={"references": said})
    reference = f"/references/{good.json().get('reference_id')}"
    yield client.patch(reference, json={"organ": "spine"})
    yield client.patch(reference, json={"organ": 7, patient: patient})
    yield client.delete(f"/references/{patient}")
    yield client.post("/patients/erase", json={"patient_id": "another"})
    yield client.post("/patients/erase", json={"patient_id": patient, "COLUMN-Planted-Doctor": 1})
    yield client.post(path, files=files, data=labels(patient_id=patient), params=unmasked)
    yield client.delete(reference)
    yield client.post(path, files=files, data=labels(patient_id=patient), params=unmasked)


def test_burned_in_bars_are_gone_from_the_stored_frame(planted):
    _, files, _ = planted
    for item in files:
        frame = read_frame(item.data, keyer=Keyer(b"k" * 32))
        x0, y0, x1, y1 = item.scan
        region = frame.facts.region
        assert region is not None
        # what was kept lies within the scan, and the scan has been kept
        assert region.x0 >= x0 - 2
        assert region.y0 >= y0 - 2
        assert region.x1 <= x1 + 2
        assert region.y1 <= y1 + 2
        assert np.count_nonzero(frame.pixels) > 0.5 * (x1 - x0) * (y1 - y0)
