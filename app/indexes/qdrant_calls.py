"""Calls to Qdrant: the connection, retries with a ceiling, and errors that name neither keys nor contents."""

import math
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from json import JSONDecodeError
from typing import Any, TypeVar
from urllib.parse import urlsplit

import stamina
from grpc import RpcError, StatusCode
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from app.config import QdrantSettings
from app.errors import Misconfigured, SonoSeekError, Unavailable

Result = TypeVar("Result")

IN_MEMORY = ":memory:"
_DOWN_S = 1.0
"""So long after all attempts were in vain nobody tries again."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_LATER = {408, 429, 502, 503, 504}
_GRPC_LATER = {StatusCode.RESOURCE_EXHAUSTED, StatusCode.ABORTED}
_GRPC_STATUS = {StatusCode.UNAUTHENTICATED: 401, StatusCode.PERMISSION_DENIED: 403, StatusCode.NOT_FOUND: 404}


class NoCollection(Unavailable):
    """Qdrant does not know the collection, as before its first filling."""


class _NotNow(Exception):
    """A failure that may pass; ``after_s`` is what the server asked to wait, 0 where it said nothing.

    ``is_silence`` where there was no answer at all.
    """

    def __init__(self, what: str, after_s: float = 0.0, *, is_silence: bool = False) -> None:
        super().__init__(what)
        self.after_s = after_s
        self.is_silence = is_silence


class Calls:
    """Makes calls, each of which may be repeated without harm. Safe to use from several threads.

    Reading has a shorter time-out than writing, and the client knows only one of them: so there are two clients.
    """

    def __init__(self, settings: QdrantSettings, api_key: str | None) -> None:
        check_address(settings.url, api_key)
        self._settings = settings
        self.in_memory = settings.url == IN_MEMORY
        self._reader = _open(settings, api_key, settings.timeout_s)
        self._writer = self._reader if self.in_memory else _open(settings, api_key, settings.write_timeout_s)
        self._down: tuple[float, _NotNow] | None = None
        # The engine in memory is plain Python that several threads would confuse.
        self._alone: AbstractContextManager[Any] = threading.RLock() if self.in_memory else nullcontext()

    def read(self, call: Callable[[QdrantClient], Result]) -> Result:
        """The result of a call that changes nothing; raises Unavailable, Misconfigured or NoCollection."""
        return self._repeated(call, self._reader)

    def write(self, call: Callable[[QdrantClient], Result]) -> Result:
        """The result of a call that may be made twice; raises the same."""
        return self._repeated(call, self._writer)

    def close(self) -> None:
        """Close the connections."""
        for client in {id(client): client for client in (self._reader, self._writer)}.values():
            client.close()

    def _repeated(self, call: Callable[[QdrantClient], Result], client: QdrantClient) -> Result:
        settings = self._settings
        if self._down is not None and time.monotonic() < self._down[0]:
            raise _unreachable(settings.url or "", self._down[1])
        try:
            for attempt in stamina.retry_context(
                on=self._pause,
                attempts=settings.attempts,
                timeout=settings.retry_s,
                wait_max=settings.retry_s / 2,
                wait_jitter=0.2,
            ):
                with attempt:
                    result = self._once(call, client)
            self._down = None
            return result
        except _NotNow as failure:
            if failure.is_silence:  # others need not wait for the same time-outs, one after the other
                self._down = (time.monotonic() + _DOWN_S, failure)
            raise _unreachable(settings.url or "", failure) from None

    def _pause(self, error: Exception) -> bool | float:
        """Whether to try again, or after how many seconds the server wants to be asked again."""
        if not isinstance(error, _NotNow) or error.after_s > self._settings.retry_s:
            return False
        return error.after_s or True

    def _once(self, call: Callable[[QdrantClient], Result], client: QdrantClient) -> Result:
        try:
            with self._alone:
                return call(client)
        # What they say may quote what was sent; only their kind goes on.
        except ResourceExhaustedResponse as error:
            raise _NotNow("it has too much to do (429)", float(error.retry_after_s)) from None
        except ResponseHandlingException as error:
            raise _cut_off(error.source) from None
        except UnexpectedResponse as error:
            raise _answered(error.status_code or 0) from None
        except RpcError as error:
            raise _refused(error) from None
        except ValueError as error:  # of every kind, by the engine in memory
            if self.in_memory and "not found" in str(error):
                raise _no_collection() from None
            if isinstance(error, JSONDecodeError):
                raise _other_language() from None
            raise


def check_address(url: str | None, api_key: str | None) -> None:
    """Raise Misconfigured for an address that is missing or unsafe, without ever repeating it."""
    if url == IN_MEMORY:
        return
    parts = urlsplit(url or "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Misconfigured(
            "qdrant_address",
            "the engine qdrant needs the address of a server",
            hint="set SONOSEEK_QDRANT__URL to an address such as https://qdrant.example:6333",
        )
    if parts.username or parts.password:
        raise Misconfigured(
            "qdrant_address",
            "the address of Qdrant holds a user name or a password, which would be written into logs",
            hint="take it out of SONOSEEK_QDRANT__URL and put the key into the file SONOSEEK_QDRANT__API_KEY_FILE",
        )
    if api_key and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise Misconfigured(
            "qdrant_insecure_key",
            "the key of Qdrant would cross the network in the clear",
            hint="use an https address; or, on a network of its own, run Qdrant without a key",
        )


def where(url: str) -> str:
    """Host and port of an address, for messages."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6333}" if parts.hostname else url


def _open(settings: QdrantSettings, api_key: str | None, timeout_s: float) -> QdrantClient:
    if settings.url == IN_MEMORY:
        return QdrantClient(IN_MEMORY, force_disable_check_same_thread=True)
    return QdrantClient(
        url=settings.url,
        grpc_port=settings.grpc_port,
        prefer_grpc=settings.grpc,
        timeout=math.ceil(timeout_s),
        # As a header it is checked above, where the client would only warn.
        headers={"api-key": api_key} if api_key else None,
        # It asks in a thread of its own and warns into the void; the store asks for the version itself.
        check_compatibility=False,
    )


def _cut_off(source: Exception) -> Exception:
    if isinstance(source, ValueError):  # an answer that is none of Qdrant's
        return _other_language()
    return _silent(is_late="Timeout" in type(source).__name__)


def _silent(*, is_late: bool) -> _NotNow:
    return _NotNow("it did not answer in time" if is_late else "the connection failed", is_silence=True)


def _answered(status: int) -> Exception:
    if status in _LATER:
        return _NotNow(f"it answered with status {status}")
    if status in (401, 403):
        return _key_refused()
    if status == 404:
        return _no_collection()
    return _strange(f"it answered with status {status}")


def _refused(error: RpcError) -> Exception:
    code = error.code() if hasattr(error, "code") else StatusCode.UNKNOWN
    if code in (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED):  # the client's words for no answer at all
        return _silent(is_late=code is StatusCode.DEADLINE_EXCEEDED)
    if code in _GRPC_LATER:
        return _NotNow(f"it answered with {code.name} over gRPC")
    if code in _GRPC_STATUS:
        return _answered(_GRPC_STATUS[code])
    return _strange(f"it answered with {code.name} over gRPC")


def _unreachable(url: str, failure: _NotNow) -> Unavailable:
    return Unavailable(
        "qdrant_unreachable",
        f"Qdrant at {where(url)} cannot be used: {failure}",
        hint="send the request again in a minute; the operator sees whether Qdrant runs, and SONOSEEK_QDRANT__URL "
        "names it. Nothing is lost: sonoseek sync repairs what Qdrant has missed",
    )


def _no_collection() -> NoCollection:
    return NoCollection(
        "qdrant_collection_missing",
        "Qdrant does not hold this library, or no longer",
        hint="run: sonoseek sync LIBRARY",
    )


def _key_refused() -> SonoSeekError:
    return Misconfigured(
        "qdrant_key_refused",
        "Qdrant does not accept the key, or wants one",
        hint="put the key that Qdrant was started with into the file that SONOSEEK_QDRANT__API_KEY_FILE names",
    )


def no_qdrant() -> SonoSeekError:
    """What is told of a server that is another one."""
    return Misconfigured(
        "qdrant_address",
        "what answers at the address of Qdrant does not speak as Qdrant does",
        hint="see that SONOSEEK_QDRANT__URL names Qdrant itself, with its port (6333 unless it was set otherwise)",
    )


def _other_language() -> SonoSeekError:
    return _strange("what answers there does not speak as Qdrant does")


def _strange(what: str) -> SonoSeekError:
    return Unavailable(
        "qdrant_failed",
        f"Qdrant could not do what it was asked: {what}",
        hint="Qdrant's own log says why; a full disk and a proxy in between are the usual reasons",
    )
