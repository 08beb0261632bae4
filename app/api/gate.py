"""What stands before every route: request id, Host and Origin, key, permit; behind it, the log line."""

import asyncio
import re
import threading
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from ulid import ULID

from app.api.caller import Caller
from app.api.problems import internal_error, problem_response
from app.config import ServerSettings
from app.encoders.pending import caller_left
from app.errors import Busy, Refused, SonoSeekError, Unauthorised, stopping
from app.logs import get_logger
from app.security.keys import BearerKey

_LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+)(:[0-9]+)?")
_WORK = {"POST", "PUT", "PATCH", "DELETE"}
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_PAGE = "/"
_FREE = ("/health/", "/static/", "/docs")
_FREE_EXACTLY = {_PAGE, "/version", "/openapi.json", "/favicon.ico"}

log = get_logger("http")


class Gate:
    """Refuses what must not come in, in this order: Host, origin, key, permit."""

    def __init__(self, app: ASGIApp, *, settings: ServerSettings, key: BearerKey | None) -> None:
        self._app = app
        self._key = key
        self._hosts = _LOCAL_NAMES | {settings.host.lower()} | set(settings.allowed_hosts)
        self._origins = set(settings.allowed_origins)
        self._permits = threading.BoundedSemaphore(settings.permits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = str(ULID())
        actor = self._key.id if self._key is not None else "local"  # whoever comes through has the key
        scope.setdefault("state", {}).update(request_id=request_id, actor=actor)
        exchange = _Exchange(send, request_id, scope["method"])
        if scope["method"] == "HEAD":  # a GET whose body the server leaves out
            scope = {**scope, "method": "GET"}
        try:
            self._check(scope)
            await self._pass(scope, receive, exchange.send)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        except asyncio.CancelledError:  # the server stops and did not wait any longer
            if exchange.status is None:
                await problem_response(stopping(), request_id)(scope, receive, exchange.send)
        except SonoSeekError as error:
            await problem_response(error, request_id)(scope, receive, exchange.send)
        except Exception as error:  # whatever it is, the caller gets a problem and the log no text
            log.error("unexpected error", exc_info=error, request_id=request_id)
            if exchange.status is None:
                await problem_response(internal_error(), request_id)(scope, receive, exchange.send)
        finally:
            exchange.log(scope)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if not scope["path"].startswith("/health/"):
            self._check_host(headers)
            self._check_origin(scope, headers)
        if self._key is not None and not _is_free(scope["path"]):
            self._check_key(self._key, headers)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in _WORK and not scope["path"].endswith("/neighbours"):
            await self._app(scope, receive, send)
            return
        if not self._permits.acquire(blocking=False):
            raise Busy("busy", "too many requests are in work", hint="try again in a second")
        caller = Caller(receive)
        caller_left.set(caller.left)
        try:
            await self._app(scope, caller.receive, send)
        finally:
            caller.stop()
            self._permits.release()

    def _check_host(self, headers: Headers) -> None:
        host = _host_name(headers.get("host", ""))
        if host not in self._hosts:
            raise Refused(
                "foreign_host",
                "the Host of this request is not one that this service goes by",
                hint="add the name to SONOSEEK_SERVER__ALLOWED_HOSTS",
            )

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """Refuse what another web page makes a browser send, but let links to the page through."""
        origin = headers.get("origin")
        if origin is not None and origin.lower() in self._origins:
            return
        navigation = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if navigation and scope["path"] == _PAGE:
            return
        own = origin is None or _is_own(origin, headers.get("host", ""))
        if headers.get("sec-fetch-site") == "cross-site" or not own:
            raise Refused(
                "foreign_origin",
                "this request was sent by a web page of another site",
                hint="add its origin to SONOSEEK_SERVER__ALLOWED_ORIGINS if it may use this service",
            )

    def _check_key(self, key: BearerKey, headers: Headers) -> None:
        scheme, _, presented = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not presented.strip():
            raise Unauthorised(
                "key_needed", "this service asks for a key", hint="send the header Authorization: Bearer KEY"
            )
        if not key.opens(presented.strip()):
            raise Unauthorised(
                "wrong_key", "the key is not the right one", hint="ask the operator of this service for the key"
            )


class _Exchange:
    """One request's answer on its way out: stamps it, remembers its status, logs it."""

    def __init__(self, send: Send, request_id: str, method: str) -> None:
        self._send = send
        self._method = method if method in _METHODS else "other"
        self._request_id = request_id
        self._start = time.perf_counter()
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._request_id
            headers.setdefault("X-Content-Type-Options", "nosniff")
            headers.setdefault("Referrer-Policy", "no-referrer")
            headers.setdefault("Cache-Control", "no-store")
        await self._send(message)

    def log(self, scope: Scope) -> None:
        # The route's template and not the path: a path that nobody knows may hold anything.
        route = getattr(scope.get("route"), "path", None)
        milliseconds = round(1000 * (time.perf_counter() - self._start), 1)
        level = log.debug if route and route.startswith("/health/") else log.info
        level(
            "request",
            method=self._method,
            route=route,
            status=self.status,
            ms=milliseconds,
            request_id=self._request_id,
        )


def _is_free(path: str) -> bool:
    return path in _FREE_EXACTLY or path.startswith(_FREE)


def _host_name(host: str) -> str:
    """The name in a Host header, without port and brackets; empty for what is no host."""
    match = _HOST.fullmatch(host)
    return match["name"].strip("[]").lower() if match else ""


def _is_own(origin: str, host: str) -> bool:
    """Whether an Origin is that of this service as the caller addressed it."""
    scheme, separator, rest = origin.partition("://")
    return separator == "://" and scheme in ("http", "https") and rest.lower() == host.lower()
