"""Running the app under uvicorn, and stopping with an exit code that tells how it went."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from types import FrameType

import uvicorn

from app.config import Settings
from app.errors import Misconfigured
from app.logs import get_logger
from app.main import create_app

# Below the time that docker-compose.yml gives the service to stop.
_LAST_REQUESTS_S = 25
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")

log = get_logger("serving")


def run_server(settings: Settings) -> None:
    """Serve until a signal comes; raises what kept the encoders and indexes from loading."""
    # uvicorn puts this back and raises the signal once more when it has stopped. Before uvicorn listens
    # it keeps the first process of a container, which no signal ends by default, from being deaf.
    signal.signal(signal.SIGTERM, _leave)
    _refuse_too_many_permits(settings)
    app = create_app(settings, on_failure=lambda: _stop(server))
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.server.host,
            port=settings.server.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_LAST_REQUESTS_S,
        )
    )
    try:
        server.run()
    except SystemExit as end:
        if end.code:  # uvicorn's way of saying that it could not start
            raise _unusable_port(settings) from None
        raise
    failure = app.state.opening.failure
    if failure is not None:
        raise failure


def _unusable_port(settings: Settings) -> Misconfigured:
    return Misconfigured(
        "port_unusable",
        f"the service cannot listen on {settings.server.host} port {settings.server.port}",
        hint="another process may have it; SONOSEEK_SERVER__HOST and SONOSEEK_SERVER__PORT choose another",
    )


def _leave(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _stop(server: uvicorn.Server) -> None:
    server.should_exit = True


def _refuse_too_many_permits(settings: Settings) -> None:
    """Bodies are held in memory: all permits together must fit into half of it."""
    needed = settings.server.permits * settings.server.max_body_bytes
    memory = _memory()
    log.info("memory for bodies", permits=settings.server.permits, mib=needed // 2**20, of_mib=memory // 2**20)
    if needed > memory // 2:
        raise Misconfigured(
            "too_many_permits",
            f"{settings.server.permits} bodies of {settings.server.max_body_bytes} bytes exceed half of the memory",
            hint="lower SONOSEEK_SERVER__PERMITS or SONOSEEK_SERVER__MAX_BODY_BYTES",
        )


def _memory() -> int:
    """Bytes that this process may use: the machine's, or less where a container is limited."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # no such version of cgroups, or "max"
            limits.append(int(Path(file).read_text(encoding="ascii")))
    return min(limits)
