"""The commands as a user types them, each in a process of its own, with their exit codes."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import PHANTOMS


def run(data: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        env={"SONOSEEK_DATA": str(data), "PATH": "/usr/bin:/bin", "COLUMNS": "120", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def test_search_prints_a_table(demo_data, query_file):
    result = run(demo_data, "search", str(query_file), "--k", "5")
    assert result.returncode == 0, result.stderr
    assert "rank" in result.stdout
    assert "expected by chance" in result.stdout
    assert "phantom-" in result.stdout


def test_search_prints_the_body_of_the_api(demo_data, demo_client, query_file):
    result = run(demo_data, "search", str(query_file), "--k", "5", "--json")
    body = json.loads(result.stdout)
    served = demo_client.post("/search", files={"image": ("x", query_file.read_bytes())}, params={"k": 5}).json()
    for varying in ("request_id", "timings_ms"):
        del body[varying], served[varying]
    assert body == served


def test_compare_libraries_models_and_evaluate(demo_data, query_file):
    compared = json.loads(run(demo_data, "compare", str(query_file), str(query_file), "--json").stdout)
    assert compared["distance"] == 0
    (library,) = json.loads(run(demo_data, "libraries", "--json").stdout)
    assert (library["name"], library["size"]) == ("demo", PHANTOMS)
    models = json.loads(run(demo_data, "models", "list", "--json").stdout)
    assert {"name", "installed", "dim", "params", "licence"} <= set(models[0])
    evaluated = json.loads(run(demo_data, "evaluate", "demo", "--draws", "100", "--json").stdout)
    organ = evaluated["encoders"]["resnet-us"]["patient"]["organ"]
    assert 0 <= organ["expected_in_10"] < organ["found_in_10"] <= 10


def test_enrol_writes_a_map_and_reports_bad_rows(tmp_path, phantoms):
    manifest = tmp_path / "manifest.csv"
    image = phantoms / "images" / "phantom-0001.png"
    manifest.write_text(f"path,organ\n{image},femur\nmissing.png,femur\n", encoding="utf-8")
    result = run(tmp_path / "data", "enrol", "fetal", str(manifest), "--map", str(tmp_path / "map.csv"), "--json")
    assert result.returncode == 3
    report = json.loads(result.stdout)
    assert (report["added"], [bad["line"] for bad in report["bad"]]) == (1, [3])
    lines = (tmp_path / "map.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "line,reference_id"
    assert lines[1].startswith("2,")
    assert run(tmp_path / "data", "reembed", "fetal").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "says"),
    [
        (("search", "none.png"), {}, 2, "none.png"),
        (("search", __file__), {}, 3, "unknown_format"),
        (("search", __file__, "--k", "0"), {}, 2, "--k"),
        (("search", "docs/phantoms.png", "--library", "heart"), {}, 3, "unknown_library"),
        (("reembed", "heart"), {}, 3, "unknown_library"),
        (("libraries",), {"SONOSEEK_SERVER__PORT": "none"}, 2, "server.port"),
        (("serve",), {"SONOSEEK_SERVER__HOST": "0.0.0.0"}, 2, "open_to_network"),
        (("serve",), {"SONOSEEK_SERVER__PERMITS": "100000"}, 2, "too_many_permits"),
        (("serve",), {"SONOSEEK_ENCODERS__NAMES": "dino"}, 2, "unknown_encoder"),
        (("libraries",), {"SONOSEEK_SERVER": "x"}, 2, "bad_settings"),
        (("libraries",), {"SONOSEEK_LIBRARY__DATABASE_URL": "nonsense"}, 2, "database_unusable"),
        (("enrol", "a/b", str(Path(__file__))), {}, 3, "bad_manifest"),
        (("sync", "demo"), {"SONOSEEK_QDRANT__URL": ":memory:"}, 2, "qdrant_in_memory"),
        (("sync", "demo"), {"SONOSEEK_QDRANT__URL": "http://127.0.0.1:9"}, 1, "the connection failed"),
    ],
)
def test_errors_say_what_can_be_done_and_exit_accordingly(demo_data, arguments, environment, code, says):
    result = run(
        demo_data, *arguments, SONOSEEK_SERVER__PORT=environment.pop("SONOSEEK_SERVER__PORT", "0"), **environment
    )
    assert result.returncode == code, result.stderr
    assert says in result.stderr
    assert not re.search("Traceback|stamina|retry_scheduled|httpx|grpc", result.stderr)


def test_embedding_again_and_adopting_leave_lines(demo_data, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(demo_data, data)
    assert run(data, "reembed", "demo").returncode == 0
    assert run(data, "reembed", "demo", "--encoder", "dino").returncode == 3
    assert run(data, "evaluate", "demo", "--min-images", "5", "--draws", "100", "--adopt").returncode == 0
    lines = json.loads(run(data, "access-log", "--limit", "3", "--json").stdout)
    assert [(line["actor"], line["action"], line["library"], line["outcome"]) for line in reversed(lines)] == [
        ("local", "library.reembed", "demo", "unchanged"),
        ("local", "library.reembed", "demo", "unknown_encoder"),
        ("local", "library.adopt", "demo", "done"),
    ]


def test_openapi_needs_no_data(tmp_path):
    result = run(tmp_path / "none", "openapi")
    assert json.loads(result.stdout)["info"]["title"] == "SonoSeek"
    assert not (tmp_path / "none").exists()


def test_labels_are_printed_as_they_are(tmp_path, phantoms):
    manifest = tmp_path / "manifest.csv"
    image = phantoms / "images" / "phantom-0001.png"
    manifest.write_text(f"path,organ\n{image},heart [apical] :smile: [/x]\n", encoding="utf-8")
    assert run(tmp_path / "data", "enrol", "cardio", str(manifest)).returncode == 0
    result = run(tmp_path / "data", "search", str(image), "--include-self", "--scores", "mse")
    assert "heart [apical] :smile: [/x]" in result.stdout
    assert "histogram" not in result.stdout


def test_a_map_that_cannot_be_written_is_noticed_before_the_work(tmp_path, phantoms):
    result = run(tmp_path / "data", "enrol", "demo", str(phantoms / "manifest.csv"), "--map", "/no/such/dir/map.csv")
    assert result.returncode == 2
    assert "map_unwritable" in result.stderr
    assert not (tmp_path / "data").exists()


def test_a_killed_evaluation_goes_on_to_the_same_files(demo_data, tmp_path):
    report, partial = tmp_path / "report", tmp_path / "report" / ".partial"
    options = ("--encoders", "resnet-us,pixels-32", "--draws", "100", "--no-images", "--out", str(report))
    command = ("evaluate", "demo", *options)
    with subprocess.Popen(
        [sys.executable, "-m", "app", *command],
        env={"SONOSEEK_DATA": str(demo_data), "PATH": "/usr/bin:/bin"},
        stderr=subprocess.DEVNULL,
    ) as killed:
        while killed.poll() is None and not any(partial.glob("*.json")):
            time.sleep(0.01)
        killed.kill()
    assert killed.returncode == -signal.SIGKILL
    assert not (report / "report.json").exists()
    resumed = run(demo_data, *command)
    assert resumed.returncode == 0, resumed.stderr
    assert "resnet-us: ranked and judged by the run that was interrupted" in resumed.stderr
    assert not partial.exists()
    of_two_runs = files_of(report)
    shutil.rmtree(report)
    assert "interrupted" not in run(demo_data, *command).stderr
    assert of_two_runs == files_of(report)


def files_of(report: Path) -> dict[str, str]:
    """The files of a report but for its date and measured times."""
    said = json.loads((report / "report.json").read_text(encoding="utf-8"))
    made_at = said.pop("made_at")
    del said["times_s"]
    files = {
        str(path.relative_to(report)): re.sub(rf"{re.escape(made_at)}|<dd>[0-9.]+ s</dd>", "", path.read_text("utf-8"))
        for path in report.rglob("*")
        if path.is_file()
    }
    return files | {"report.json": json.dumps(said)}
