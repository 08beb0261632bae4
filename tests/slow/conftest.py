"""What slow tests share: a server as its own process, and Debian's Chromium."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, expect, sync_playwright

CHROMIUM_ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

expect.set_options(timeout=20_000)  # a loaded machine is slow, not wrong

StartServer = Callable[..., str]


@pytest.fixture(scope="module")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Starts ``sonoseek serve`` over a data directory and returns its address; stops it at the end."""
    running: list[subprocess.Popen[bytes]] = []

    def start(data: Path, **settings: str) -> str:
        log = tmp_path_factory.mktemp("server") / "log"
        port = _free_port()
        running.append(_serve(data, port, log, settings))
        address = f"http://127.0.0.1:{port}"
        _wait_until_ready(address, running[-1], log)
        return address

    yield start
    for process in running:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; tests that need it are skipped where it is not installed."""
    with _chromium() as opened:
        yield opened


@contextmanager
def _chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no browser: install Debian's package chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGS)
        yield opened
        opened.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _serve(data: Path, port: int, log: Path, settings: dict[str, str]) -> subprocess.Popen[bytes]:
    given = {f"SONOSEEK_{name}": value for name, value in settings.items()}
    own = {"SONOSEEK_DATA": str(data), "SONOSEEK_SERVER__PORT": str(port), "SONOSEEK_ENCODERS__THREADS": "1"}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SONOSEEK_")}
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "app", "serve"], env=inherited | own | given, stdout=file, stderr=file
        )


def _wait_until_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            if httpx2.get(f"{address}/health/ready").status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"the server did not become ready:\n{log.read_text()}")
