"""Host, origin, key and permits."""

import pytest
from fastapi.testclient import TestClient
from harness import running_client
from test_bad_input import GOOD, problem, search

from app.config import SecuritySettings, ServerSettings, Settings
from app.errors import Misconfigured
from app.main import create_app

KEY = "a-long-enough-key-for-tests"


@pytest.fixture(scope="module")
def keyed_client(demo_data, tmp_path_factory):
    file = tmp_path_factory.mktemp("secrets") / "key"
    file.write_text(KEY + "\n", encoding="ascii")
    settings = Settings(
        data=demo_data,
        security=SecuritySettings(key_file=file),
        server=ServerSettings(allowed_hosts="pacs.example", allowed_origins="https://viewer.example"),
    )
    with running_client(settings) as client:
        yield client


def bearer(key=KEY):
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1", "[::1]:8000", "LOCALHOST"])
def test_local_names_are_hosts(demo_client, host):
    assert demo_client.get("/libraries", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "",
        "[",
        "pacs.example",
        "evil.example@localhost",
        "localhost/evil.example",
        "localhost:80:80",
    ],
)
def test_a_foreign_host_is_refused(demo_client, host):
    body = problem(demo_client.get("/libraries", headers={"Host": host}), 403, "foreign_host")
    assert "SONOSEEK_SERVER__ALLOWED_HOSTS" in body["hint"]
    problem(demo_client.post("/search", files={"image": ("x", GOOD)}, headers={"Host": host}), 403, "foreign_host")
    assert demo_client.get("/health/ready", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://evil.example@127.0.0.1"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_another_page_is_refused(demo_client, headers):
    body = problem(demo_client.get("/libraries", headers=headers), 403, "foreign_origin")
    assert "SONOSEEK_SERVER__ALLOWED_ORIGINS" in body["hint"]
    problem(demo_client.post("/search", files={"image": ("x", GOOD)}, headers=headers), 403, "foreign_origin")


def test_our_own_page_and_a_link_to_it_are_let_through(demo_client):
    own = {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}
    assert demo_client.get("/libraries", headers=own).status_code == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert demo_client.get("/", headers=link).status_code == 200
    assert demo_client.get("/health/ready", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_named_hosts_and_origins_are_let_through(keyed_client):
    headers = {"Host": "pacs.example:443", "Origin": "https://viewer.example", "Sec-Fetch-Site": "cross-site"}
    response = keyed_client.get("/libraries", headers={**headers, **bearer()})
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://viewer.example"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_named_origin_may_write_and_no_other_may(keyed_client, method):
    asked = {"Host": "pacs.example", "Access-Control-Request-Method": method}
    named = keyed_client.options("/libraries/demo", headers={**asked, "Origin": "https://viewer.example"})
    assert named.status_code == 200
    assert method in named.headers["access-control-allow-methods"]
    other = keyed_client.options("/libraries/demo", headers={**asked, "Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


def test_with_a_key_everything_that_holds_data_needs_it(keyed_client):
    for path in ("/libraries", "/encoders", "/references/00000000-0000-0000-0000-000000000000", "/nothing"):
        response = keyed_client.get(path)
        problem(response, 401, "key_needed")
        assert response.headers["www-authenticate"] == "Bearer"
        problem(keyed_client.get(path, headers=bearer("wrong-key-of-some-length")), 401, "wrong_key")
    problem(search(keyed_client), 401, "key_needed")
    assert keyed_client.get("/libraries", headers=bearer()).status_code == 200
    assert keyed_client.post("/search", files={"image": ("x", GOOD)}, headers=bearer()).status_code == 200


def test_what_holds_no_data_is_free(keyed_client):
    for path in ("/health/live", "/health/ready", "/version", "/", "/docs", "/openapi.json", "/docs/swagger-ui.css"):
        assert keyed_client.get(path).status_code == 200, path


def test_the_host_is_checked_before_the_key(keyed_client):
    problem(keyed_client.get("/libraries", headers={"Host": "evil.example"}), 403, "foreign_host")


def test_beyond_loopback_without_a_key_is_refused_before_anything_is_written(tmp_path):
    settings = Settings(data=tmp_path / "data", server=ServerSettings(host="0.0.0.0"))
    with pytest.raises(Misconfigured) as caught:
        create_app(settings)
    assert caught.value.code == "open_to_network"
    assert not (tmp_path / "data").exists()


def test_open_is_said_in_plain_words(demo_data):
    settings = Settings(data=demo_data, server=ServerSettings(host="0.0.0.0"), security=SecuritySettings(open=True))
    with running_client(settings) as client:
        assert client.get("/version").json()["open"] is True


def test_all_permits_taken_is_a_429_at_once(demo_data):
    """A permit is held while a body is read: one that never ends takes the only one."""
    import threading

    settings = Settings(data=demo_data, server=ServerSettings(permits=1, body_grace_s=30))
    with running_client(settings) as client:
        go_on, started = threading.Event(), threading.Event()

        def endless():
            yield GOOD[:100]
            started.set()
            go_on.wait(20)
            yield GOOD[100:]

        answers = []
        slow = threading.Thread(
            target=lambda: answers.append(
                client.post("/search", content=endless(), headers={"Content-Type": "image/png"})
            )
        )
        slow.start()
        assert started.wait(10)
        response = search(client)
        go_on.set()
        slow.join()
        problem(response, 429, "busy")
        assert response.headers["retry-after"] == "1"
        assert answers[0].status_code == 200
        assert search(client).status_code == 200


def test_before_it_is_ready_it_says_not_yet(tmp_path):
    """The app without its lifespan: nothing has been loaded."""
    client = TestClient(create_app(Settings(data=tmp_path)), base_url="http://127.0.0.1")
    for response in (client.get("/health/ready"), search(client), client.get("/libraries")):
        problem(response, 503, "starting")
        assert response.headers["retry-after"] == "1"
    assert client.get("/health/live").status_code == 200
    assert client.get("/version").status_code == 200
