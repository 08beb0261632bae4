"""Taking libraries out, bringing them back, deleting of them, as a user types it; and what is written down of it."""

import json
import shutil
import subprocess
import sys

import pytest
from harness import PHANTOMS, other_weights
from mounts import small_disk
from test_cli import run


@pytest.fixture(scope="module")
def data(demo_data, tmp_path_factory):
    copy = tmp_path_factory.mktemp("commands") / "data"
    shutil.copytree(demo_data, copy)
    return copy


def test_a_library_goes_out_comes_back_and_is_deleted(data, tmp_path):
    folder, other = tmp_path / "export", tmp_path / "other"
    exported = run(data, "export", "demo", str(folder), "--vectors")
    assert exported.returncode == 0, exported.stderr
    assert f"{PHANTOMS} references" in exported.stdout
    again = run(data, "export", "demo", str(folder))
    assert (again.returncode, "folder_not_empty" in again.stderr) == (3, True)

    foreign = run(other, "enrol", "demo", str(folder))
    assert (foreign.returncode, "--new-patients" in foreign.stderr) == (3, True)
    secret = {"SONOSEEK_SECURITY__HMAC_KEY_FILE": str(data / "hmac.key")}
    ours = json.loads(run(tmp_path / "ours", "enrol", "demo", str(folder), "--json", **secret).stdout)
    assert (ours["added"], ours["bad"]) == (PHANTOMS, [])

    refused = run(data, "libraries", "delete", "heart", "--yes")
    assert (refused.returncode, "unknown_library" in refused.stderr) == (3, True)
    deleted = run(data, "libraries", "delete", "demo", "--yes")
    assert f"demo deleted with {PHANTOMS} references" in deleted.stdout
    assert json.loads(run(data, "libraries", "--json").stdout) == []
    assert list((data / "frames").rglob("*.png")) == []
    lines = json.loads(run(data, "access-log", "--limit", "2", "--json").stdout)
    assert [(line["actor"], line["action"], line["library"], line["outcome"]) for line in lines] == [
        ("local", "library.delete", "demo", "done"),
        ("local", "library.delete", None, "unknown_library"),
    ]
    assert "library.delete" in run(data, "access-log").stdout


def test_vectors_of_a_former_encoder_are_told_apart_and_removed(demo_data, tmp_path):
    data, models = tmp_path / "data", {"SONOSEEK_MODELS": str(tmp_path / "models")}
    shutil.copytree(demo_data, data)
    (old,) = json.loads(run(data, "libraries", "--json").stdout)[0]["encoders"]
    other_weights(tmp_path / "models")
    assert old["served"]
    assert run(data, "reembed", "demo", **models).returncode == 0
    short = old["digest"][7:15]
    assert f"resnet-us {short} ({PHANTOMS}, not served)" in run(data, "libraries", **models).stdout
    refused = run(data, "libraries", "drop-vectors", "demo", "sha256:", **models)
    assert (refused.returncode, old["digest"] in refused.stderr) == (3, True)
    refused = run(data, "libraries", "drop-vectors", "demo", short)  # where it is what searches use
    assert (refused.returncode, "digest_served" in refused.stderr) == (3, True)
    dropped = run(data, "libraries", "drop-vectors", "demo", short, **models)
    assert f"{PHANTOMS} vectors of resnet-us {old['digest']} removed" in dropped.stdout
    (left,) = json.loads(run(data, "libraries", "--json", **models).stdout)[0]["encoders"]
    assert (left["vectors"], left["digest"] != old["digest"], left["served"]) == (PHANTOMS, True, True)
    lines = json.loads(run(data, "access-log", "--limit", "4", "--json").stdout)
    assert [(line["action"], line["outcome"]) for line in lines] == [
        ("library.drop-vectors", "done"),
        ("library.drop-vectors", "digest_served"),
        ("library.drop-vectors", "unknown_digest"),
        ("library.reembed", "embedded"),
    ]


def test_a_patient_is_erased_by_an_id_that_no_shell_remembers(demo_data, tmp_path, phantoms):
    data = tmp_path / "data"
    shutil.copytree(demo_data, data)
    header, first, *_ = (phantoms / "manifest.csv").read_text(encoding="utf-8").splitlines()
    patient = dict(zip(header.split(","), first.split(","), strict=False))["patient_id"]
    result = subprocess.run(
        [sys.executable, "-m", "app", "patients", "erase", "--json"],
        env={"SONOSEEK_DATA": str(data), "PATH": "/usr/bin:/bin"},
        input=f"{patient}\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert result.returncode == 0, result.stderr
    erased = json.loads(result.stdout)
    assert erased["libraries"]["demo"] == len(erased["reference_ids"]) >= 1
    assert patient not in result.stdout + result.stderr


def test_an_enrolment_that_ends_early_says_what_was_done(tmp_path, phantoms):
    with small_disk(tmp_path / "data", 14_000) as data:  # room for one batch, not for all
        result = run(data, "enrol", "demo", str(phantoms / "manifest.csv"))
        assert (result.returncode, "storage_full" in result.stderr) == (1, True), result.stderr
        assert "ended early: 32 added, 0 unchanged" in result.stderr
        assert "run the same command again" in result.stderr
        assert json.loads(run(data, "libraries", "--json").stdout)[0]["size"] >= 32


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("enrol", "demo", "."), "export.json"),
        (("enrol", "demo", "README.md", "--new-patients"), "export.json"),
        (("access-log", "--limit", "0"), "--limit"),
    ],
)
def test_wrong_use_is_explained(tmp_path, arguments, says):
    result = run(tmp_path / "none", *arguments)
    assert (result.returncode, says in result.stderr) == (2, True), result.stderr
    assert not (tmp_path / "none").exists()
