"""Over HTTP: what becomes of requests whose encoder is slow, poisoned, without an answer, or lost."""

import hashlib
import socket
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import pytest
import shade
import uvicorn
from fastapi.testclient import TestClient
from harness import running_client
from pictures import encoded, speckle
from shade import BLANK, FATAL, POISON, wait_for
from test_bad_input import GOOD, problem, search

from app.config import ServerSettings, Settings
from app.encoders.registry import KINDS
from app.errors import DeviceLost, Unavailable
from app.images.phantom import write_phantoms
from app.library.manifest import read_manifest, read_taxonomy
from app.main import create_app


@pytest.fixture(scope="module")
def phantom_manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("few")
    write_phantoms(folder, count=6, seed=1)
    return read_manifest(folder / "manifest.csv", read_taxonomy(folder / "taxonomy.toml"))


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setitem(KINDS, *shade.KIND)
    shade.write_shade(tmp_path / "models")
    return Settings(data=tmp_path / "data", models=tmp_path / "models", encoders={"names": ("shade",)})


@pytest.fixture
def client(settings, phantom_manifest):
    with running_client(settings) as opened:
        service(opened).importer.run("demo", phantom_manifest)
        held = encoder(opened).held
        yield opened
        held.set()


def service(client):
    return client.app.state.opening.service()


def is_open(app):
    try:
        return app.state.opening.service()
    except Unavailable:
        return False


def encoder(client):
    return service(client).batcher.default


def picture(number):
    pixels = speckle()
    pixels[100, 100:108] = number
    return encoded(pixels)


def fated(client, level):
    """A picture of a certain fate."""
    data = picture(level)
    encoder(client).fates[hashlib.sha256(data).hexdigest()] = level
    return data


def test_a_deadline_that_passes_is_a_504_and_costs_nobody_else(settings, phantom_manifest):
    hasty = settings.model_copy(update={"server": ServerSettings(deadline_s=0.5)})
    with running_client(hasty) as client:
        service(client).importer.run("demo", phantom_manifest)
        encoder(client).held.clear()
        with ThreadPoolExecutor(4) as pool:
            for response in pool.map(lambda number: search(client, picture(number)), range(4)):
                problem(response, 504, "encoder_deadline")
        assert service(client).batcher.waiting() == 0
        encoder(client).held.set()
        wait_for(lambda: search(client).status_code == 200)


def test_a_poisoned_image_fails_alone_and_says_nothing_of_why(client):
    pictures = [picture(1), picture(2), fated(client, POISON), picture(3)]
    with ThreadPoolExecutor(4) as pool:
        good, other, bad, last = pool.map(lambda data: search(client, data), pictures)
    assert [response.status_code for response in (good, other, last)] == [200] * 3
    assert "poisoned" not in str(problem(bad, 500, "internal_error"))


def test_an_image_without_a_usable_embedding_is_a_422(client):
    pictures = [picture(1), fated(client, BLANK), picture(2)]
    with ThreadPoolExecutor(3) as pool:
        good, blank, other = pool.map(lambda data: search(client, data), pictures)
    problem(blank, 422, "no_embedding")
    assert (good.status_code, other.status_code) == (200, 200)


def test_an_image_without_a_usable_embedding_is_never_enrolled(client, phantom_manifest):
    row = phantom_manifest.rows[2]
    encoder(client).fates[hashlib.sha256(row.path.read_bytes()).hexdigest()] = BLANK
    report = service(client).importer.run("other", phantom_manifest)
    assert [(bad.line, report.added) for bad in report.bad] == [(row.line, len(phantom_manifest.rows) - 1)]
    assert "no usable embedding" in report.bad[0].reason
    assert client.get("/libraries/other").json()["size"] == report.added
    encoder(client).fates.clear()
    again = service(client).importer.run("other", replace(phantom_manifest, rows=[row]))
    assert (again.added, again.unchanged) == (1, 0)  # nothing of it was stored before


def test_an_import_that_loses_the_device_ends_and_blames_no_row(client, phantom_manifest):
    row = phantom_manifest.rows[2]
    encoder(client).fates[hashlib.sha256(row.path.read_bytes()).hexdigest()] = FATAL
    with pytest.raises(DeviceLost):
        service(client).importer.run("other", phantom_manifest)


def test_a_lost_device_flips_readiness_and_answers_everyone(settings, phantom_manifest):
    told = []
    app = create_app(settings, on_failure=lambda: told.append(app.state.opening.failure.code))
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        service(client).importer.run("demo", phantom_manifest)
        held, batcher = encoder(client).held, service(client).batcher
        first, others = fated(client, FATAL), [picture(number) for number in range(20, 26)]
        begun = encoder(client).begun
        held.clear()
        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(search, client, first)]
            wait_for(lambda: encoder(client).begun > begun)  # alone: a batch takes whoever is there
            answers += [pool.submit(search, client, data) for data in others]
            wait_for(lambda: batcher.waiting() == len(others))
            held.set()
            for answer in answers:
                response = answer.result(10)
                problem(response, 503, "device_lost")
                assert response.headers["retry-after"] == "1"
        for response in (client.get("/health/ready"), search(client), client.get("/libraries")):
            problem(response, 503, "device_lost")
        assert client.get("/health/live").status_code == 200
        assert told == ["device_lost"]


@pytest.fixture
def served(settings, phantom_manifest):
    """The app on a port, in a thread of this process: (port, app)."""
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_for(lambda: server.started and is_open(app))
    app.state.opening.service().importer.run("demo", phantom_manifest)
    yield server.servers[0].sockets[0].getsockname()[1], app
    app.state.opening.service().batcher.default.held.set()
    server.should_exit = True
    thread.join(20)


def test_whoever_hangs_up_is_not_encoded(served):
    port, app = served
    batcher = app.state.opening.service().batcher
    shades = batcher.default
    images, begun = sum(shades.batches), shades.begun
    shades.held.clear()
    with ExitStack() as stack:
        callers = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 20)) for _ in range(5)]
        send_search(callers[0], picture(30))
        wait_for(lambda: shades.begun > begun)  # the first is in work, and the others will wait
        for number, caller in enumerate(callers[1:], start=31):
            send_search(caller, picture(number))
        wait_for(lambda: batcher.waiting() == 4)
        for caller in callers[1:4]:
            caller.close()
        wait_for(lambda: batcher.waiting() == 1)
        shades.held.set()
        for caller in (callers[0], callers[4]):
            assert caller.recv(100).startswith(b"HTTP/1.1 200")
    assert sum(shades.batches) - images == 2


def test_whoever_hangs_up_enrols_nothing(served):
    port, app = served
    service = app.state.opening.service()
    shades, size = service.batcher.default, service.catalogue.library("demo").size
    begun = shades.begun
    shades.held.clear()
    with ExitStack() as stack:
        callers = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 20)) for _ in range(3)]
        send_reference(callers[0], picture(40))
        wait_for(lambda: shades.begun > begun)
        for number, caller in enumerate(callers[1:], start=41):
            send_reference(caller, picture(number))
        wait_for(lambda: service.batcher.waiting() == 2)
        callers[1].close()
        wait_for(lambda: service.batcher.waiting() == 1)
        shades.held.set()
        for caller in (callers[0], callers[2]):
            assert caller.recv(100).startswith(b"HTTP/1.1 201")
    assert service.catalogue.library("demo").size == size + 2


def send_reference(connection, data):
    parts = (b'name="labels"\r\n\r\n{}', b'name="image"; filename="scan.png"\r\n\r\n' + data)
    body = b"".join(b"--x\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + b"--x--\r\n"
    head = (
        "POST /libraries/demo/references?allow_unmasked=true HTTP/1.1",
        "Host: localhost",
        "Content-Type: multipart/form-data; boundary=x",
        f"Content-Length: {len(body)}",
    )
    connection.sendall("\r\n".join((*head, "", "")).encode() + body)


def send_search(connection, data):
    head = ("POST /search HTTP/1.1", "Host: localhost", "Content-Type: image/png", f"Content-Length: {len(data)}")
    connection.sendall("\r\n".join((*head, "", "")).encode() + data)


def test_no_upload_touches_the_disk(demo_client, monkeypatch):
    """A temporary folder in which nobody can write, not even root; Starlette would spool parts of 1 MB to it."""
    monkeypatch.setattr(tempfile, "tempdir", "/proc")
    with pytest.raises(OSError), tempfile.TemporaryFile():  # noqa: PT011 - of whatever kind
        pass
    large = GOOD + b"\0" * (3 << 20)
    assert search(demo_client, large).status_code == 200
    raw = demo_client.post("/search", content=large, headers={"Content-Type": "image/png"})
    assert raw.status_code == 200
    two = {"a": ("a.png", large), "b": ("b.png", large)}
    assert demo_client.post("/compare", files=two).status_code == 200
