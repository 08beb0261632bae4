"""What tests share: a synthetic data set, settings in a temporary directory, a running app, real images."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from harness import PHANTOMS, enrol_phantoms, running_client

from app.config import Settings
from app.images.phantom import write_phantoms
from app.wiring import Service, running_service


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
