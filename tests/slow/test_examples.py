"""Every example of the API documentation, run as it stands there against a real server."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from app.images.phantom import draw_phantoms, phantom_dicom
from app.main import bare_app

pytestmark = pytest.mark.slow

_EXAMPLE = re.compile(r"`(curl [^`]+)`")
_STATUS = re.compile(r"\n(\d{3})$")


def examples() -> list[tuple[str, str]]:
    """What each route is called and its example, in the order of the document."""
    found = []
    for path, methods in bare_app().openapi()["paths"].items():
        for method, operation in methods.items():
            match = _EXAMPLE.search(operation["description"])
            assert match is not None, f"{method} {path} has no example"
            found.append((f"{method} {path}", " ".join(match[1].split())))
    return found


@pytest.fixture
def folder(phantoms: Path, tmp_path: Path) -> Path:
    """A folder with the files that the examples name."""
    images = sorted((phantoms / "queries").glob("*.png"))
    for number, name in enumerate(("scan.png", "other.png", "a.png", "b.png")):
        shutil.copy(images[number % len(images)], tmp_path / name)
    (tmp_path / "scan.dcm").write_bytes(phantom_dicom(next(iter(draw_phantoms(count=1, seed=41)))))
    return tmp_path


def test_every_example_runs(demo_data: Path, folder: Path, start_server: Callable[..., str]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    shutil.copytree(demo_data, folder / "data")
    address = start_server(folder / "data")

    def run(command: str) -> str:
        line = command.replace("curl ", "curl -sS -w '\\n%{http_code}' ", 1)
        result = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True, check=True, timeout=60)
        return result.stdout

    def reference_ids() -> list[str]:
        page = run(f"curl {address}/libraries/demo/references").rsplit("\n", 1)[0]
        return [found["reference_id"] for found in json.loads(page)["references"]]

    answers = {}
    for route, example in examples():
        command = example.replace("http://127.0.0.1:8000", address).replace("REFERENCE_ID", reference_ids()[0])
        status = _STATUS.search(run(command))
        answers[route] = int(status[1]) if status else 0
    assert {route: status for route, status in answers.items() if not 200 <= status < 300} == {}
    assert answers["put /libraries/{name}"] == answers["post /libraries/{name}/references"] == 201
