"""One official file over a real connection: cut, throttled, redirected, exchanged, refused; and who may write it."""

import hashlib
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from loopback import Loopback, make_certificate, serving

from app.encoders.download import Patience, fetch_file
from app.encoders.manifest import SourceFile
from app.errors import SonoSeekError

CONTENT = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(280_000)
QUICK = Patience(attempts=3, first_pause_s=0.01, silence_s=1.0, connect_s=2)


@pytest.fixture
def server():
    with serving(Loopback(weights=CONTENT)) as told:
        yield told


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def source(server, through="", content=CONTENT, **known):
    if "sha256" not in known:
        known["sha256"] = hashlib.sha256(content).hexdigest()
    return SourceFile(file="weights", url=server.url("weights", through=through), **known)


def fetch(wanted, folder, **more):
    return fetch_file(wanted, folder, patience=QUICK, **more)


def refusal(wanted, folder, **more):
    with pytest.raises(SonoSeekError) as caught:
        fetch(wanted, folder, **more)
    return caught.value


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_and_alone(server, tmp_path):
    told = []
    path = fetch(source(server), tmp_path / "new", progress=lambda *facts: told.append(facts))
    assert path.read_bytes() == CONTENT
    assert names(tmp_path / "new") == ["weights"]
    assert told[-1] == ("weights", len(CONTENT), len(CONTENT))
    assert server.requests[0][1]["Accept-Encoding"] == "identity"


def test_what_a_cut_left_is_continued(server, tmp_path):
    server.cuts = [100_000, 50_000, 120_000]
    assert fetch(source(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=150000-", "bytes=270000-"]
    assert server.requests[1][1]["If-Range"] == '"1"'
    assert server.sent == len(CONTENT)  # no byte twice
    assert names(tmp_path) == ["weights"]


def test_the_next_run_goes_on_where_one_gave_up(server, tmp_path):
    server.cuts, server.statuses = [200_000], [200, 500, 500]
    error = refusal(source(server), tmp_path)
    assert error.code == "download_failed"
    assert "500" in error.detail
    assert "--to DIR" in error.hint
    assert names(tmp_path) == ["weights.part", "weights.part.version"]
    assert fetch(source(server), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=200000-"


def test_a_connection_that_falls_silent_is_made_anew(server, tmp_path):
    silence = threading.Event()
    server.stalls = [silence]  # longer than the patience
    assert fetch(source(server), tmp_path).read_bytes() == CONTENT
    silence.set()
    assert server.asked == [None, "bytes=10000-"]


def test_a_slow_server_is_waited_for(server, tmp_path):
    server.pause_s = 0.05  # 1.5 s in all, more than any single silence may last
    assert fetch(source(server), tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.ranges, server.cuts = False, [100_000]
    assert fetch(source(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-"]


@pytest.mark.parametrize("honest", [True, False])
def test_a_file_that_changed_meanwhile_is_not_mixed(server, tmp_path, honest):
    server.if_range, server.cuts = honest, [100_000]  # the other continues with bytes of the new version
    server.versions = [('"1"', CONTENT), ('"2"', OTHER)]
    path = fetch(source(server, content=OTHER, sha256=None), tmp_path)
    assert path.read_bytes() == OTHER


def test_without_a_usable_version_nothing_is_continued(server, tmp_path):
    server.etag, server.cuts = 'W/"weak"', [100_000]
    assert fetch(source(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, None]


def test_a_retry_begins_at_the_official_address(server, tmp_path):
    server.cuts = [100_000]
    assert fetch(source(server, through="official/"), tmp_path).read_bytes() == CONTENT
    paths = [path for path, _headers in server.requests]
    assert paths[0] == paths[2] == "/official/weights"
    assert paths[1] != paths[3]
    assert server.asked[3] == "bytes=100000-"
    assert server.sent == len(CONTENT)


def test_an_address_that_expired_on_the_way_is_asked_for_again(server, tmp_path):
    server.statuses = [200, 403]
    assert fetch(source(server, through="official/"), tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 4


def test_a_wrong_file_leaves_nothing_and_spoils_nothing(server, tmp_path):
    (tmp_path / "weights").write_bytes(b"older")
    server.files["weights"] = OTHER
    error = refusal(source(server), tmp_path)
    assert error.code == "wrong_digest"
    assert hashlib.sha256(OTHER).hexdigest() in error.detail
    assert names(tmp_path) == ["weights"]
    assert (tmp_path / "weights").read_bytes() == b"older"


def test_a_wrong_length_is_noticed_before_the_body(server, tmp_path):
    server.pause_s = 0.05
    error = refusal(source(server, bytes=len(CONTENT) + 1), tmp_path)
    assert (error.code, error.exit_code) == ("wrong_length", 3)
    assert server.sent < len(CONTENT)
    assert names(tmp_path) == []


def test_what_is_not_there_is_asked_for_once(server, tmp_path):
    missing = SourceFile(file="other", url=server.url("other"), sha256="0" * 64)
    error = refusal(missing, tmp_path)
    assert (error.code, error.exit_code) == ("download_failed", 1)
    assert "404" in error.detail
    assert len(server.requests) == 1


def test_a_server_in_trouble_is_asked_again(server, tmp_path):
    server.statuses = [500, 429]
    assert fetch(source(server), tmp_path).read_bytes() == CONTENT


def test_no_server_at_all(tmp_path):
    with serving(Loopback()) as told:
        pass
    error = refusal(source(told), tmp_path)
    assert error.code == "download_failed"
    assert "--to DIR" in error.hint


def test_no_address_at_all(tmp_path):
    for url in ("ftp://127.0.0.1/weights", "http://[", "weights"):
        assert refusal(SourceFile(file="weights", url=url), tmp_path).code == "download_failed"


def test_what_is_there_and_right_is_not_fetched_again(server, tmp_path):
    place = tmp_path / "weights"
    place.write_bytes(CONTENT)
    assert fetch(source(server), tmp_path) == place
    assert fetch(source(server, sha256=None, bytes=len(CONTENT)), tmp_path) == place
    assert server.requests == []
    before = place.stat()
    assert fetch(source(server, sha256=None), tmp_path) == place  # only the server knows the length
    assert (place.stat().st_ino, place.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_what_is_there_and_wrong_is_fetched_again(server, tmp_path):
    for known in ({}, {"sha256": None, "bytes": len(CONTENT)}, {"sha256": None}):
        (tmp_path / "weights").write_bytes(CONTENT[:-1])
        assert fetch(source(server, **known), tmp_path).read_bytes() == CONTENT


def test_a_whole_part_only_needs_its_name(server, tmp_path):
    (tmp_path / "weights.part").write_bytes(CONTENT)
    (tmp_path / "weights.part.version").write_text('"1"')
    assert fetch(source(server), tmp_path).read_bytes() == CONTENT
    assert server.sent == 0
    assert names(tmp_path) == ["weights"]


def test_a_part_that_is_too_long_is_of_another_file(server, tmp_path):
    (tmp_path / "weights.part").write_bytes(CONTENT + b"more")
    (tmp_path / "weights.part.version").write_text('"1"')
    assert fetch(source(server), tmp_path).read_bytes() == CONTENT


def test_without_a_length_only_a_digest_will_do(server, tmp_path):
    server.length = False
    assert refusal(source(server, sha256=None), tmp_path).code == "unknown_length"
    # A cut may also arrive as a reset, after which the client tries again: those are cut as well, and from the start.
    server.ranges, server.cuts = False, [100_000] * 4
    assert refusal(source(server), tmp_path).code == "wrong_digest"  # cut, and nobody could tell
    server.cuts = [100_000] * 4
    assert refusal(source(server, sha256=None, bytes=len(CONTENT)), tmp_path).code == "wrong_length"
    server.cuts = []
    assert names(tmp_path) == []
    assert fetch(source(server), tmp_path).read_bytes() == CONTENT


def test_a_body_without_an_end_is_left_when_it_is_too_long(server, tmp_path):
    server.length, server.files["weights"] = False, CONTENT * 100
    told = []
    wanted = source(server, bytes=len(CONTENT))
    error = refusal(wanted, tmp_path, progress=lambda _file, done, _total: told.append(done))
    assert error.code == "wrong_length"
    assert told[-1] <= len(CONTENT)  # what is beyond is not written
    assert server.sent < 50 * len(CONTENT)  # nor waited for
    assert names(tmp_path) == []


def test_a_body_whose_length_nobody_knows_has_a_limit(server, tmp_path, monkeypatch):
    monkeypatch.setattr("app.encoders.download._MOST_BYTES", 1_000_000)
    server.length, server.files["weights"] = False, CONTENT * 100
    told = []
    error = refusal(source(server), tmp_path, progress=lambda _file, done, _total: told.append(done))
    assert error.code == "wrong_length"
    assert "more than 1,000,000 bytes" in error.detail
    assert told[-1] <= 1_000_000
    assert server.sent < 50 * len(CONTENT)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("headers", "says"),
    [({"Content-Type": "text/html; charset=utf-8"}, "web page"), ({"Content-Encoding": "gzip"}, "encoding")],
)
def test_a_proxys_own_page_is_no_file(server, tmp_path, headers, says):
    server.headers = headers
    error = refusal(source(server, sha256=None), tmp_path)
    assert error.code == "download_failed"
    assert says in error.detail
    assert names(tmp_path) == []


def test_a_full_disk_keeps_what_is_there(server, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, limits[1]))  # no file may grow further, as on a full disk
    try:
        error = refusal(source(server), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (error.code, error.exit_code) == ("no_space", 2)
    assert fetch(source(server), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] not in (None, "bytes=0-")


def test_a_file_larger_than_the_disk_is_not_begun(server, tmp_path):
    server.headers = {"Content-Length": str(10**16)}
    assert refusal(source(server), tmp_path).code == "no_space"
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        assert refusal(source(server), folder).code == "folder_unwritable"
    assert server.requests == []


FETCH = """
import sys
from pathlib import Path
from app.encoders.download import fetch_file
from app.encoders.manifest import SourceFile
fetch_file(SourceFile(file="weights", url=sys.argv[1], sha256=sys.argv[2]), Path(sys.argv[3]))
"""


def in_another_process(wanted, folder):
    process = subprocess.Popen([sys.executable, "-c", FETCH, wanted.url, wanted.sha256, str(folder)])
    deadline = time.monotonic() + 60
    while not (folder / "weights.part").exists() or not (folder / "weights.part").stat().st_size:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    return process


def test_one_process_at_a_time(server, tmp_path):
    half = threading.Event()
    server.stalls = [half]
    process = in_another_process(source(server), tmp_path)
    try:
        error = refusal(source(server), tmp_path)
        assert (error.code, error.exit_code) == ("locked", 3)
    finally:
        half.set()
        assert process.wait(timeout=60) == 0
    assert (tmp_path / "weights").read_bytes() == CONTENT
    assert names(tmp_path) == ["weights"]
    fetch(source(server), tmp_path)
    assert len(server.requests) == 1


def test_a_killed_process_locks_nobody_out(server, tmp_path):
    half = threading.Event()
    server.stalls = [half]
    process = in_another_process(source(server), tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    half.set()
    assert fetch(source(server), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] is not None
    assert names(tmp_path) == ["weights"]


def test_the_proxy_of_the_environment_is_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", server.address)
    wanted = source(server).model_copy(update={"url": "http://weights.example/weights"})
    assert fetch(wanted, tmp_path).read_bytes() == CONTENT
    assert server.requests[0][0] == "http://weights.example/weights"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    fetch(source(server), tmp_path / "direct")
    assert server.requests[1][0] == "/weights"


@pytest.mark.parametrize(
    ("proxy", "named"),
    [
        ("gopher://127.0.0.1:1", "127.0.0.1:1"),
        ("http://name:secret@host:port", "host"),
        ("socks5://name:secret@127.0.0.1:1", "127.0.0.1:1"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_but_not_its_password(server, tmp_path, monkeypatch, proxy, named):
    monkeypatch.setenv("HTTP_PROXY", proxy)
    error = refusal(source(server), tmp_path)
    assert error.code == "bad_proxy"
    assert f"the proxy {named} " in error.detail
    assert "secret" not in str(error.detail) + error.hint


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("answers", [True, False])
def test_a_proxy_that_refuses_or_is_not_there_is_named_but_not_its_password(
    server, tmp_path, monkeypatch, scheme, answers
):
    address = server.address.removeprefix("http://")
    if not answers:
        with serving(Loopback()) as gone:
            address = gone.address.removeprefix("http://")
    server.statuses = [407] * 9
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://name:secret@{address}")
    wanted = source(server).model_copy(update={"url": f"{scheme}://weights.example/weights"})
    error = refusal(wanted, tmp_path)
    assert error.code == "download_failed"
    assert f"(through the proxy {address})" in error.detail
    assert "secret" not in str(error.detail) + error.hint
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server.statuses = [404]
    assert "proxy" not in refusal(source(server), tmp_path).detail


def test_certificates_that_cannot_be_read(server, tmp_path, monkeypatch):
    (tmp_path / "no.pem").write_text("no certificate")
    for ca in (tmp_path / "none.pem", tmp_path / "no.pem"):
        error = refusal(source(server), tmp_path, ca=ca)
        assert (error.code, error.exit_code) == ("bad_ca", 2)
        assert ca.name in error.detail
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    error = refusal(source(server), tmp_path)
    assert error.code == "bad_ca"
    assert "SSL_CERT_FILE" in error.detail


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is needed to make a certificate")
def test_a_hospitals_certificate_is_trusted_when_it_is_given(tmp_path, monkeypatch, server):
    certificate = make_certificate(tmp_path / "hospital.pem")
    with serving(Loopback(weights=CONTENT), certificate) as secure:
        secure.plain = server.url("weights")
        error = refusal(source(secure), tmp_path / "in")
        assert (error.code, error.exit_code) == ("untrusted_certificate", 2)
        assert "--ca FILE" in error.hint
        assert secure.requests == []
        assert fetch(source(secure), tmp_path / "in", ca=certificate).read_bytes() == CONTENT
        error = refusal(source(secure, through="plain/"), tmp_path / "plain", ca=certificate)
        assert (error.code, error.exit_code) == ("insecure_redirect", 3)
        assert server.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert fetch(source(secure), tmp_path / "again").read_bytes() == CONTENT
