"""The committed OpenAPI document, the interactive documentation, and the examples of every route."""

import json
import re
from pathlib import Path

from app.main import bare_app

DOCUMENT = Path(__file__).parents[2] / "openapi" / "openapi.json"


def test_the_committed_document_is_that_of_the_app():
    assert json.loads(DOCUMENT.read_text(encoding="utf-8")) == bare_app().openapi(), "run: make openapi"


def test_every_route_has_an_example():
    for path, methods in bare_app().openapi()["paths"].items():
        for method, operation in methods.items():
            assert "`curl " in operation["description"], f"{method} {path} has no example"


def test_uploads_are_described_though_they_are_read_by_hand():
    content = bare_app().openapi()["paths"]["/search"]["post"]["requestBody"]["content"]
    assert set(content) == {"multipart/form-data", "image/*", "application/dicom", "application/octet-stream"}


def test_the_documentation_loads_nothing_from_elsewhere(demo_client):
    page = demo_client.get("/docs")
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert addresses
    for address in addresses:
        assert address.startswith("/")
        assert demo_client.get(address).status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
