"""What tests build services and clients with."""

import shutil
import time
from pathlib import Path

from fastapi.testclient import TestClient

from app.config import Settings
from app.encoders.weights import shipped_models
from app.library.manifest import read_manifest, read_taxonomy
from app.main import create_app
from app.wiring import Service

PHANTOMS = 72  # of 60 patients: some have two


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

    def __init__(self, settings: Settings) -> None:
        self._client = TestClient(
            create_app(settings),
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
