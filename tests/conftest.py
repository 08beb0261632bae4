"""What tests share: a synthetic data set, settings in a temporary directory, a running app, real images."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.config import Settings
from app.encoders.weights import shipped_models
from app.images.phantom import write_phantoms
from app.library.manifest import read_manifest, read_taxonomy
from app.main import create_app
from app.wiring import Service, running_service

PHANTOMS = 72  # of 60 patients: some have two


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real labelled images; tests that need them are skipped where there are none."""
    default = Path(__file__).parent.parent.parent / "shared" / "data"
    folder = Path(os.environ.get("SONOSEEK_TEST_DATA", default))
    if not (folder / "fetal" / "manifest.csv").is_file():
        pytest.skip("no real images: SONOSEEK_TEST_DATA names no folder with fetal/manifest.csv")
    return folder


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic data set: manifest.csv, taxonomy.toml, images/, queries/."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, count=PHANTOMS, seed=5)
    return folder


@pytest.fixture(scope="session")
def demo_data(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with the phantoms enrolled as library ``demo``. Tests only read it."""
    data = tmp_path_factory.mktemp("data")
    with running_service(Settings(data=data)) as service:
        enrol_phantoms(service, phantoms)
    return data


@pytest.fixture(scope="session")
def demo_service(demo_data: Path) -> Iterator[Service]:
    """An open service over the demo library. Tests only read it."""
    with running_service(Settings(data=demo_data)) as service:
        yield service


@pytest.fixture(scope="session")
def demo_client(demo_data: Path) -> Iterator[TestClient]:
    """HTTP against the demo library. Tests only read it."""
    with running_client(Settings(data=demo_data)) as client:
        yield client


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """An open service over an empty data directory."""
    with running_service(Settings(data=tmp_path / "data")) as opened:
        yield opened


@pytest.fixture
def query_file(phantoms: Path) -> Path:
    """A synthetic picture whose patient is not in the library."""
    return phantoms / "queries" / "query-abdomen.png"


def enrol_phantoms(service: Service, folder: Path, library: str = "demo") -> None:
    manifest = read_manifest(folder / "manifest.csv", read_taxonomy(folder / "taxonomy.toml"))
    report = service.importer.run(library, manifest)
    assert not report.bad


def other_weights(models):
    """resnet-us as somebody else installed it: the same tensors, other preprocessing, another digest."""
    shutil.copytree(shipped_models() / "resnet-us", models / "resnet-us")
    manifest = models / "resnet-us" / "manifest.toml"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('fit = "pad"', 'fit = "crop"'), encoding="utf-8")


class running_client:  # noqa: N801 - used as a context manager
    """A TestClient whose app is ready."""

    def __init__(self, settings: Settings, wrap: Callable[[FastAPI], FastAPI] = lambda app: app) -> None:
        self._client = TestClient(
            wrap(create_app(settings)),
            base_url="http://127.0.0.1",
            raise_server_exceptions=False,
        )

    def __enter__(self) -> TestClient:
        client = self._client.__enter__()
        for _ in range(300):
            if client.get("/health/ready").status_code == 200:
                return client
            time.sleep(0.1)
        raise AssertionError("the service did not become ready")

    def __exit__(self, *details: object) -> None:
        self._client.__exit__(*details)
