"""Running the app under uvicorn, and stopping with an exit code that tells how it went."""

import os

import uvicorn

from app.config import Settings
from app.errors import Misconfigured
from app.logs import get_logger
from app.main import create_app
from app.wiring import open_library

log = get_logger("serving")


def run_server(settings: Settings) -> None:
    """Serve until a signal comes; raises what kept the encoders and indexes from loading."""
    _refuse_too_many_permits(settings)
    app = create_app(settings, open_library(settings), on_failure=lambda: _stop(server))
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.server.host,
            port=settings.server.port,
            log_config=None,
            access_log=False,
            server_header=False,
        )
    )
    server.run()
    failure = app.state.opening.failure
    if failure is not None:
        raise failure


def _stop(server: uvicorn.Server) -> None:
    server.should_exit = True


def _refuse_too_many_permits(settings: Settings) -> None:
    """Bodies are held in memory: all permits together must fit into half of it."""
    needed = settings.server.permits * settings.server.max_body_bytes
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    log.info("memory for bodies", permits=settings.server.permits, mib=needed // 2**20, of_mib=memory // 2**20)
    if needed > memory // 2:
        raise Misconfigured(
            "too_many_permits",
            f"{settings.server.permits} bodies of {settings.server.max_body_bytes} bytes exceed half of the memory",
            hint="lower SONOSEEK_SERVER__PERMITS or SONOSEEK_SERVER__MAX_BODY_BYTES",
        )
