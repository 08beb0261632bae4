"""Serves the page, its script and style, and the interactive documentation, all from this installation."""

from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

_HERE = Path(__file__).parent
_SWAGGER = Path(str(files("fastapi_offline"))) / "static"

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Swagger UI writes style attributes and data: pictures.
DOCS_POLICY = PAGE_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'").replace("blob:", "data:")


def add_page(app: FastAPI) -> None:
    """Serve / and /docs and the files that they need."""
    app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")
    app.add_api_route("/", _page, include_in_schema=False)
    app.add_api_route("/docs", _docs, include_in_schema=False)
    app.add_api_route("/docs/{name}", _swagger_file, include_in_schema=False)


async def _page() -> Response:
    return FileResponse(_HERE / "index.html", headers={"Content-Security-Policy": PAGE_POLICY})


async def _docs() -> Response:
    return FileResponse(_HERE / "docs.html", headers={"Content-Security-Policy": DOCS_POLICY})


async def _swagger_file(name: str) -> Response:
    if name not in ("swagger-ui-bundle.js", "swagger-ui.css"):
        raise HTTPException(404)
    return FileResponse(_SWAGGER / name)
