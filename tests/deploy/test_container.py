"""The image's wheel and its commands, run as its user on a read-only file system."""

import hashlib
import json
import re
import shutil
import signal
import tempfile
import time
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from container import Container, Image, may_confine
from image_file import ROOT, read_stages

from app.config import Settings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def image():
    if not may_confine():
        pytest.skip("this machine does not let us stand in for a container engine")
    root = Path(tempfile.mkdtemp(prefix="sonoseek-image-"))
    root.chmod(0o755)  # pytest's own folders are closed to other users
    yield Image(root)
    shutil.rmtree(root)


@pytest.fixture
def guarded(image) -> Container:
    """A container with key and secret as docker-compose.yml hands them in."""
    return _guarded(image, init=True)


def _guarded(image, *, init):
    container = image.container(init=init, SERVER__ALLOWED_HOSTS="sonoseek.hospital.example")
    container.settings["SECURITY__KEY_FILE"] = str(container.secret("api_key"))
    container.settings["SECURITY__HMAC_KEY_FILE"] = str(container.secret("hmac_key"))
    return container


def test_the_wheel_carries_weights_page_and_migrations(image):
    with zipfile.ZipFile(image.wheel) as wheel:
        names = wheel.namelist()
        manifest = tomllib.loads(wheel.read("app/shipped_models/resnet-us/manifest.toml").decode())
        weights = wheel.read(f"app/shipped_models/resnet-us/{manifest['weights']['file']}")
    assert hashlib.sha256(weights).hexdigest() == manifest["weights"]["sha256"]
    assert {"app/web/index.html", "app/library/migrations/env.py"} <= set(names)
    assert not [name for name in names if name.startswith("tests/") or name.endswith(".pyc")]


def test_the_build_context_is_what_is_copied():
    copied = {name for stage in read_stages().values() for name in stage.copied()}
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == copied


def test_every_setting_named_for_containers_is_one():
    text = (ROOT / "Dockerfile").read_text() + (ROOT / "docker-compose.yml").read_text()
    rooms = {name: field.annotation.model_fields for name, field in Settings.model_fields.items() if name not in _FLAT}
    known = {f"{room}__{name}" for room, fields in rooms.items() for name in fields} | _FLAT
    named = set(re.findall(r"\bSONOSEEK_([A-Z]+__[A-Z_]+|DATA|MODELS)\b", text))
    assert named
    assert {name.lower() for name in named} <= known


_FLAT = {"data", "models"}


def test_secrets_lie_outside_the_volumes():
    api = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["api"]
    files = [value for name, value in api["environment"].items() if name.endswith("KEY_FILE")]
    assert sorted(files) == [f"/run/secrets/{name}" for name in sorted(api["secrets"])]
    assert {volume.split(":")[1] for volume in api["volumes"]} == {"/data", "/models"}


def test_only_the_volumes_can_be_written(image):
    container = image.container()
    places = [container.root / "data", container.root / "etc/sonoseek", image.root / "opt/sonoseek", Path("/var/tmp")]
    script = "import os, sys; print(os.getuid(), [os.access(place, os.W_OK) for place in sys.argv[1:]])"
    written = container.run("python", "-c", script, *places).stdout
    assert written == f"{image.runtime.user()[0]} [True, False, False, False]\n"


def test_it_does_not_start_open_to_the_network(image):
    container = image.container()
    result = container.run(*image.runtime.command())
    assert result.returncode == 2
    assert "open_to_network" in result.stderr


def test_it_serves_is_healthy_and_stops(image, guarded):
    health = image.runtime.health_command()
    assert guarded.run(*health).returncode != 0
    with guarded.started(*image.runtime.command()) as process:
        guarded.wait_until_ready(process)
        assert guarded.run(*health).returncode == 0
        _assert_doors(guarded)
        guarded.signal(process, signal.SIGTERM)
        start = time.monotonic()
        _, log = process.communicate(timeout=30)
    assert process.returncode == 0, log
    assert time.monotonic() - start < 5
    assert {json.loads(line)["level"] for line in log.splitlines()} == {"info"}
    # The secret came from its file: none was made in the volume.
    assert "hmac.key" not in {path.name for path in (guarded.root / "data").iterdir()}


def _assert_doors(container):
    key = {"Authorization": f"Bearer {container.secret('api_key').read_text().strip()}"}
    assert container.ask("/libraries")[0] == 401
    assert container.ask("/libraries", headers=key) == (200, "[]")
    assert container.ask("/libraries", headers=key, host="sonoseek.hospital.example")[0] == 200
    status, problem = container.ask("/libraries", headers=key, host="192.0.2.7")
    assert (status, json.loads(problem)["code"]) == (403, "foreign_host")


@pytest.mark.parametrize("init", [True, False])
def test_a_signal_while_it_loads_stops_it_too(image, init):
    container = _guarded(image, init=init)
    with container.started(*image.runtime.command()) as process:
        assert process.stderr.readline()  # the first line of the log
        container.signal(process, signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_images_are_enrolled_beside_the_service_and_found(image, guarded):
    key = {"Authorization": f"Bearer {guarded.secret('api_key').read_text().strip()}"}
    phantoms = guarded.root / "data/phantoms"
    assert guarded.run("sonoseek", "datasets", "phantoms", phantoms, "--count", "6").returncode == 0
    with guarded.started(*image.runtime.command()) as process:
        guarded.wait_until_ready(process)
        enrolled = guarded.run("sonoseek", "enrol", "demo", phantoms / "manifest.csv")
        assert enrolled.returncode == 0, enrolled.stderr
        picture = sorted(phantoms.rglob("*.png"))[0].read_bytes()
        status, answer = guarded.ask(
            "/search?k=3", method="POST", body=picture, headers={**key, "Content-Type": "image/png"}
        )
    assert status == 200, answer
    assert len(json.loads(answer)["neighbours"]) == 3


def test_a_volume_is_refused_with_another_secret(image, guarded):
    assert guarded.run("sonoseek", "libraries").returncode == 0
    other = image.container()
    guarded.settings["SECURITY__HMAC_KEY_FILE"] = str(other.secret("hmac_key"))
    result = guarded.run("sonoseek", "libraries")
    assert result.returncode == 2
    assert "other_secret" in result.stderr
