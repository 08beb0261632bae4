"""create_app: the HTTP service, assembled."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.types import Lifespan

from app.api.gate import Gate
from app.api.problems import add_problem_handlers
from app.api.router import router
from app.config import Settings
from app.logs import configure_logs
from app.version import PURPOSE, VERSION
from app.web.page import add_page
from app.wiring import Opening, open_key, open_library


def create_app(settings: Settings, on_failure: Callable[[], None] = lambda: None) -> FastAPI:
    """The app over its library; encoders and indexes load while it already answers /health.

    Raises Misconfigured where the settings are unsafe, before anything is written; ``on_failure`` is called
    where loading fails, or later where the device is lost.
    """
    configure_logs(settings.log.level, settings.log.format)
    key = open_key(settings)
    opening = Opening(open_library(settings), on_failure)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # Every request that holds a permit needs a thread, and others must not wait for those.
        anyio.to_thread.current_default_thread_limiter().total_tokens = settings.server.permits + 16
        opening.start()
        yield
        await anyio.to_thread.run_sync(opening.close)

    app = bare_app(lifespan)
    app.state.settings = settings
    app.state.opening = opening
    app.add_middleware(Gate, settings=settings.server, key=key)
    if settings.server.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.server.allowed_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-Exclude-Patient-ID"],
            expose_headers=["*"],
        )
    return app


def bare_app(lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """The routes and the page without a service behind them: enough for the OpenAPI document."""
    app = FastAPI(
        title="SonoSeek",
        version=VERSION,
        summary="Upload an ultrasound image, get the most similar labelled references.",
        description=PURPOSE,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(router)
    add_page(app)
    add_problem_handlers(app)
    return app
