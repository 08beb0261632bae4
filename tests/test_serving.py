"""A real server process: ready in time, slow bodies cut off, the README's curl lines, a clean end."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from shade import write_shade


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def server(data: Path, *, program: Sequence[str] = ("-m", "app"), **settings: str):
    """A server process on a free port; yields (process, port, statuses that /health/ready gave until 200)."""
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "SONOSEEK_DATA": str(data),
        "SONOSEEK_SERVER__PORT": str(port),
        **{f"SONOSEEK_{name}": value for name, value in settings.items()},
    }
    process = subprocess.Popen(
        [sys.executable, *program, "serve"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        yield process, port, wait_until_ready(process, port)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def wait_until_ready(process, port):
    statuses = []
    for _ in range(600):
        assert process.poll() is None, process.stderr.read().decode()
        with contextlib.suppress(OSError):
            statuses.append(get(port, "/health/ready")[0])
            if statuses[-1] == 200:
                return statuses
        time.sleep(0.05)
    raise AssertionError(f"not ready: {statuses}")


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


@pytest.fixture(scope="module")
def served(demo_data):
    with server(demo_data, SERVER__BODY_GRACE_S="1", SERVER__BODY_MIN_RATE="100000") as (process, port, statuses):
        yield process, port, statuses


def test_it_says_not_yet_until_it_is_ready(served):
    _, _, statuses = served
    assert set(statuses) <= {503, 200}
    assert statuses[-1] == 200


def test_a_body_that_trickles_in_is_cut_off(served):
    _, port, _ = served
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(
            b"POST /search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: 100000\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            while time.monotonic() - start < 10:
                connection.sendall(b"x")
                time.sleep(0.2)
                connection.settimeout(0.01)
                with contextlib.suppress(TimeoutError):
                    answer = connection.recv(10_000)
                    break
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"body_too_slow" in answer
    assert get(port, "/health/ready")[0] == 200


def test_a_port_that_is_taken_is_said(served, demo_data):
    _, port, _ = served
    environment = {"SONOSEEK_DATA": str(demo_data), "SONOSEEK_SERVER__PORT": str(port), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "app", "serve"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 2
    assert "port_unusable" in result.stderr


def test_it_ends_cleanly(demo_data):
    with server(demo_data) as (process, _, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


# The service as it is, with one more kind of encoder in its table.
WITH_SHADE = """
import sys
sys.path.insert(0, {folder!r})
import shade
from app.encoders.registry import KINDS
KINDS.update([shade.KIND])
from app.cli import main
main()
""".format(folder=str(Path(__file__).parent / "encoders"))


def test_a_lost_device_ends_the_process_so_that_it_is_started_anew(demo_data, query_file, tmp_path):
    """Everyone who waits is answered first, then it ends with a status that makes a supervisor start it again."""
    write_shade(tmp_path / "models", lose_at=4)  # warming up is the first pass
    settings = {"MODELS": str(tmp_path / "models"), "ENCODERS__NAMES": "shade", "ENCODERS__BATCH_SIZE": "2"}
    image, answers, late = query_file.read_bytes(), [], []
    with server(demo_data, program=("-c", WITH_SHADE), **settings) as (process, port, _):
        connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=30) for _ in range(12)]
        for connection in connections:
            connection.connect()  # all before the first request: an ending server accepts no other
        clients = [
            threading.Thread(target=lambda own=connection: answers.append(embed(own, image)))
            for connection in connections
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join(30)
        with contextlib.suppress(OSError):  # it may have gone already
            late.append(get(port, "/health/ready")[0])
        errors = process.communicate(timeout=20)[1].decode()
    assert process.returncode == 1
    assert len(answers) == 12  # nobody was cut off
    assert {status for status, _, _ in answers} <= {200, 503}
    lost = [(headers["Retry-After"], json.loads(body)["code"]) for status, headers, body in answers if status == 503]
    assert len(lost) >= 6  # all but the two passes that worked
    assert set(lost) == {("1", "device_lost")}
    assert set(late) <= {503}
    assert "nvidia-smi" in errors
    assert "Traceback" not in errors


def embed(connection, data):
    connection.request("POST", "/embed", data, {"Content-Type": "image/png"})
    response = connection.getresponse()
    answer = response.status, response.headers, response.read()
    connection.close()
    return answer


def test_weights_that_were_tampered_with_stop_the_start(demo_data, tmp_path):
    from app.encoders.weights import shipped_models

    shutil.copytree(shipped_models() / "resnet-us", tmp_path / "models" / "resnet-us")
    with (tmp_path / "models" / "resnet-us" / "resnet-us.safetensors").open("ab") as file:
        file.write(b"x")
    port = str(free_port())
    environment = {
        "SONOSEEK_DATA": str(demo_data),
        "SONOSEEK_MODELS": str(tmp_path / "models"),
        "PATH": "/usr/bin:/bin",
    }
    result = subprocess.run(
        [sys.executable, "-m", "app", "serve"],
        env={**environment, "SONOSEEK_SERVER__PORT": port},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 2
    assert "weights_changed" in result.stderr
    assert "Traceback" not in result.stderr
