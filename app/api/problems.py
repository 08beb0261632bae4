"""Errors as application/problem+json (RFC 9457)."""

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from app.api.refusals import record_refusal
from app.errors import SonoSeekError

MEDIA_TYPE = "application/problem+json"


class Problem(SonoSeekError):
    """An error that HTTP itself made, such as a path that does not exist."""

    def __init__(self, status: int, code: str, detail: str, *, hint: str) -> None:
        super().__init__(code, detail, hint=hint)
        self.status = status
        self.title = HTTPStatus(status).phrase


def internal_error() -> Problem:
    """What a caller is told of an error that nobody expected: nothing of its text."""
    return Problem(
        500, "internal_error", "something went wrong that should not have", hint="report the request id to the operator"
    )


def problem_response(error: SonoSeekError, request_id: str) -> Response:
    """The response to an error."""
    headers = {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers["Retry-After"] = "1"
    if error.status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
        headers["Connection"] = "close"  # the rest of the body is not wanted
    body = {
        "type": f"urn:sonoseek:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "hint": error.hint,
        "request_id": request_id,
    }
    return JSONResponse(body, error.status, headers, media_type=MEDIA_TYPE)


def add_problem_handlers(app: FastAPI) -> None:
    """Turn every expected error of the app into a problem."""
    app.add_exception_handler(SonoSeekError, _own)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)


def _own(request: Request, error: Exception) -> Response:
    assert isinstance(error, SonoSeekError)
    if not error.recorded:
        record_refusal(request, error.code)
    return problem_response(error, request.state.request_id)


def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Only names are repeated, never what was sent: it may hold an identity.
    record_refusal(request, "invalid_parameter")
    names = sorted({".".join(str(part) for part in item["loc"][1:]) or "body" for item in error.errors()})
    problem = Problem(
        422,
        "invalid_parameter",
        f"not usable: {', '.join(names)}",
        hint="see /docs for what each parameter may be",
    )
    return problem_response(problem, request.state.request_id)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.NOT_FOUND:
        problem = Problem(404, "unknown_path", "there is nothing at this path", hint="see /docs")
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        problem = Problem(405, "wrong_method", "this path answers another method", hint="see /docs")
    else:
        problem = Problem(error.status_code, "http_error", "the request cannot be answered", hint="see /docs")
    response = problem_response(problem, request.state.request_id)
    response.headers.update(error.headers or {})  # such as Allow
    return response
