"""Downloading one official file: resumable, verified, over the proxy and with the certificates of a hospital."""

from __future__ import annotations

import re
import shutil
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx2

from app.encoders.manifest import SourceFile
from app.encoders.partial_file import PartialFile, alone, no_space, writing_into
from app.encoders.proxy import proxy_of
from app.encoders.weights import sha256_of
from app.errors import BadInput, Misconfigured, Refused, SonoSeekError, Unavailable
from app.version import VERSION

Progress = Callable[[str, int, int], None]
"""Is told the file, the bytes that are there, and of how many (0: unknown)."""

_CARRY = (
    "where there is no internet, run it with --to DIR on a machine that has it, carry DIR over, "
    "then: sonoseek models add NAME DIR"
)
_PASSING = {408, 425, 429}  # and every 5xx
_WHOLE, _PART, _BEYOND = 200, 206, 416
_MOST_BYTES = 8 << 30
"""Of a file whose length nobody knows: more than any official one has, and less than fills a disk."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an unwilling server is asked: attempts in a row that bring nothing, and the pauses between."""

    attempts: int = 5
    first_pause_s: float = 1.0
    longest_pause_s: float = 60.0
    silence_s: float = 60.0
    connect_s: float = 15.0

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row; they double."""
        return min(self.longest_pause_s, self.first_pause_s * float(2 ** (failures - 1)))


class _Interrupted(Exception):
    """An attempt that ended early and may be repeated."""


def fetch_file(
    source: SourceFile,
    folder: Path,
    *,
    progress: Progress = lambda _file, _done, _total: None,
    ca: Path | None = None,
    patience: Patience = Patience(),
) -> Path:
    """Download an official file into a folder, or keep the one that is there; gives its path.

    What an earlier run brought is continued. The file gets its name only when its length, and its sha256 where
    it is known, are right. ``ca`` is a PEM file with certificates to trust beside the system's. Raises
    Unavailable ``download_failed``, BadInput ``wrong_digest``, ``wrong_length`` or ``unknown_length``, Conflict
    ``locked``, Refused ``insecure_redirect``, or Misconfigured where the disk, the proxy or the certificates forbid it.
    """
    part = PartialFile(folder / source.file)
    with writing_into(folder), alone(folder / f".{source.file}.lock"):
        if not _is_official(source, part.place):
            with _client(source, ca, patience) as client:
                is_there = _Download(client, source, part, progress).run(patience)
            if not is_there:
                _verify_digest(source, part)
                part.finish()
    return part.place


class _Download:
    """The attempts to complete one file."""

    def __init__(self, client: httpx2.Client, source: SourceFile, part: PartialFile, progress: Progress) -> None:
        self._client = client
        self._source = source
        self._part = part
        self._progress = progress

    def run(self, patience: Patience) -> bool:
        """Try until all bytes are there; True where the file itself turned out to be there already."""
        failures, most = 0, self._part.size
        while True:
            try:
                return self._attempt()
            except (httpx2.TransportError, _Interrupted) as error:
                _raise_if_lasting(error, self._source)
                failures = 1 if self._part.size > most else failures + 1
                most = max(most, self._part.size)
                if failures >= patience.attempts:
                    raise _failed(self._source, _reason(error)) from error
                time.sleep(patience.pause(failures))
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise _failed(self._source, type(error).__name__) from error

    def _attempt(self) -> bool:
        """One request, always to the official address: what it redirects to may be valid for minutes only."""
        offset = self._part.size if self._part.version else 0
        headers = {"Range": f"bytes={offset}-", "If-Range": self._part.version or ""} if offset else {}
        with self._client.stream("GET", self._source.url, headers=headers) as answer:
            if answer.status_code == _BEYOND and offset:
                return self._after_the_end(answer, offset)
            _check_status(self._source, answer)
            _check_kind(self._source, answer)
            start = self._resumed_at(answer, offset)
            total = self._total(answer, start)
            if self._is_there(total):
                return True
            if start == 0:
                self._part.begin(_version(answer))
            self._receive(answer, total)
        return False

    def _after_the_end(self, answer: httpx2.Response, offset: int) -> bool:
        """Nothing comes after these bytes: they are the whole file, or of another one."""
        if answer.headers.get("content-range", "").strip() == f"bytes */{offset}":
            return False
        self._part.discard()
        raise _Interrupted("the file has become another")

    def _resumed_at(self, answer: httpx2.Response, offset: int) -> int:
        """Where the answer begins: 0 where the server sends the whole again, because it is another or always."""
        if answer.status_code == _WHOLE:
            return 0
        found = re.match(r"bytes (\d+)-", answer.headers.get("content-range", ""))
        if not offset or found is None or int(found[1]) != offset or _is_other(answer, self._part.version or ""):
            self._part.discard()
            raise _Interrupted("the server sent another part than was asked for")
        return offset

    def _total(self, answer: httpx2.Response, start: int) -> int | None:
        """Length of the whole file; None where only its digest can tell that it is complete."""
        length = answer.headers.get("content-length", "")
        total = start + int(length) if length.isdecimal() else self._source.bytes
        if self._source.bytes is not None and total != self._source.bytes:
            self._part.discard()
            raise _wrong_length(self._source, f"{total} bytes", self._source.bytes)
        if total is None and self._source.sha256 is None:
            raise BadInput(
                "unknown_length",
                f"the server does not say how long {self._source.file} is: a cut file could not be told from a whole",
                hint=f"download it with a browser, then: sonoseek models add NAME PATH; address: {self._source.url}",
            )
        if total is not None and total - start > shutil.disk_usage(self._part.place.parent).free:
            raise no_space(self._part.place.parent)
        return total

    def _is_there(self, total: int | None) -> bool:
        """Whether a file without a known digest is there in the length that the server tells."""
        place = self._part.place
        return self._source.sha256 is None and place.is_file() and place.stat().st_size == total

    def _receive(self, answer: httpx2.Response, total: int | None) -> None:
        done, most = self._part.size, _MOST_BYTES if total is None else total
        with self._part.continued() as file:
            for chunk in answer.iter_raw():
                done += len(chunk)
                if done > most:  # without a length of its own, a body may have no end
                    break
                file.write(chunk)
                self._progress(self._source.file, done, total or 0)
        if done > most or total not in (None, done):
            self._part.discard()
            found = f"more than {most:,} bytes" if total is None else f"{done} bytes"
            raise _wrong_length(self._source, found, total)


def _is_official(source: SourceFile, place: Path) -> bool:
    """Whether the file is there and known to be right: by its digest, else by its length."""
    if not place.is_file() or source.bytes not in (None, place.stat().st_size):
        return False
    if source.sha256 is None:
        return source.bytes is not None
    return sha256_of(place) == source.sha256


def _verify_digest(source: SourceFile, part: PartialFile) -> None:
    found = sha256_of(part.path) if source.sha256 else None
    if found != source.sha256:
        part.discard()
        raise BadInput(
            "wrong_digest",
            f"what {source.url} sent is not the official {source.file}: its sha256 is {found}, not {source.sha256}",
            hint="nothing of it is kept; repeat, and ask whoever runs the proxy if it happens again",
        )


def _client(source: SourceFile, ca: Path | None, patience: Patience) -> httpx2.Client:
    """A client that follows redirects and honours the proxies of the environment."""
    secure = source.url.startswith("https://")
    context = _certificates(ca)
    try:
        return httpx2.Client(  # no transport=, which would silently turn the proxies off
            verify=context,
            follow_redirects=True,
            timeout=httpx2.Timeout(patience.silence_s, connect=patience.connect_s),
            headers={"Accept-Encoding": "identity", "User-Agent": f"sonoseek/{VERSION}"},
            event_hooks={"request": [_refuse_plain_http] if secure else []},
        )
    except (ValueError, ImportError, httpx2.InvalidURL):  # their texts may hold the proxy's password
        proxy = proxy_of(source.url)
        raise Misconfigured(
            "bad_proxy",
            f"the proxy {f'{proxy} ' if proxy else ''}that the environment names cannot be used",
            hint="check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY; write http://HOST:PORT",
        ) from None


def _certificates(ca: Path | None) -> ssl.SSLContext:
    """The system's certificates, or those that SSL_CERT_FILE names instead, and beside them those of ``ca``."""
    what = "SSL_CERT_FILE or SSL_CERT_DIR"
    try:
        context = httpx2.create_ssl_context()
        if ca is not None:
            what = str(ca)
            context.load_verify_locations(cafile=ca)
    except OSError as error:  # ssl.SSLError among them
        raise Misconfigured(
            "bad_ca",
            f"the certificates of {what} cannot be read ({type(error).__name__})",
            hint="name a readable PEM file: --ca FILE or SONOSEEK_DOWNLOAD__CA_FILE adds to the system's, "
            "SSL_CERT_FILE replaces them",
        ) from error
    return context


def _refuse_plain_http(request: httpx2.Request) -> None:
    if request.url.scheme != "https":
        raise Refused(
            "insecure_redirect",
            f"the address leads to {request.url.host} without encryption",
            hint="a proxy in between may do that: ask whoever runs it; " + _CARRY,
        )


def _check_status(source: SourceFile, answer: httpx2.Response) -> None:
    status = answer.status_code
    if status in (_WHOLE, _PART):
        return
    # An address that was redirected to may have expired; the official one gives a new one.
    if status in _PASSING or status >= 500 or answer.history:
        raise _Interrupted(f"{answer.url.host} answers {status}")
    raise _failed(source, f"{answer.url.host} answers {status}")


def _check_kind(source: SourceFile, answer: httpx2.Response) -> None:
    if answer.headers.get("content-type", "").startswith("text/html"):
        raise _failed(source, f"{answer.url.host} answers with a web page, as a proxy that wants a login does")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise _failed(source, f"{answer.url.host} answers in another encoding than was asked for")


def _version(answer: httpx2.Response) -> str | None:
    """What If-Range may carry: an ETag that is not weak, else the date of the last change."""
    etag: str = answer.headers.get("etag", "")
    found = etag if etag and not etag.startswith("W/") else answer.headers.get("last-modified")
    return found if found and found.isascii() else None


def _is_other(answer: httpx2.Response, version: str) -> bool:
    """Whether a part is of another version than asked for; a part may leave the date out, which then is the same."""
    field = "etag" if version.startswith('"') else "last-modified"
    return bool(answer.headers.get(field, version) != version)


def _raise_if_lasting(error: BaseException, source: SourceFile) -> None:
    """Raise what no repetition changes: a certificate that is not trusted, an address of another kind."""
    if isinstance(error, httpx2.UnsupportedProtocol):
        raise _failed(source, _reason(error)) from error
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise Misconfigured(
                "untrusted_certificate",
                f"the certificate of the server for {source.file} is not trusted: {cause.verify_message}",
                hint="where a hospital's proxy opens connections, give its certificate: --ca FILE or "
                "SONOSEEK_DOWNLOAD__CA_FILE",
            ) from None
        cause = cause.__cause__ or cause.__context__


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _failed(source: SourceFile, why: str) -> SonoSeekError:
    proxy = proxy_of(source.url)
    through = f" (through the proxy {proxy})" if proxy else ""
    return Unavailable(
        "download_failed", f"{source.file} could not be downloaded from {source.url}{through}: {why}", hint=_CARRY
    )


def _wrong_length(source: SourceFile, found: str, expected: int | None) -> BadInput:
    return BadInput(
        "wrong_length",
        f"what {source.url} sends is not the official {source.file}: {found}{f', not {expected}' if expected else ''}",
        hint="nothing of it is kept; a proxy may have sent a page of its own; " + _CARRY,
    )
