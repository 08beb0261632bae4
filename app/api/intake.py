"""Reading a request's body: within a size, within a time, and never to the disk."""

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from app.config import ServerSettings
from app.errors import BadRequest, TooLarge, TooSlow, WrongMediaType

_RAW_TYPES = {"application/dicom", "application/octet-stream"}
_HINT_TYPES = (
    "send the image as multipart part 'image' (curl -F image=@scan.dcm) or as the raw body with Content-Type "
    "image/*, application/dicom or application/octet-stream (curl --data-binary @scan.dcm -H 'Content-Type: ...')"
)


@dataclass(frozen=True, slots=True)
class Upload:
    """The files and the plain fields of a body; a raw body is the file ``image``."""

    files: dict[str, bytes] = field(repr=False)
    fields: dict[str, str] = field(repr=False)

    def expect(self, *, files: tuple[str, ...], fields: tuple[str, ...] = ()) -> None:
        """Refuse parts that a path does not know: a misplaced one would be silently ignored."""
        if set(self.files) - set(files) or set(self.fields) - set(fields):
            raise BadRequest(
                "unknown_part",
                "the body has a part that this path does not know",
                hint=f"file parts are: {', '.join(files)}; fields: {', '.join(fields) or 'none'}; "
                "all else is a parameter of the address",
            )

    def file(self, name: str) -> bytes:
        """The bytes of one file; raises BadRequest ``no_image``."""
        if name not in self.files:
            raise BadRequest(
                "no_image",
                f"the body has no file part named {name!r}",
                hint=f"with curl: -F {name}=@scan.png (the @ sends the file and not its name)",
            )
        return self.files[name]


async def read_upload(request: Request, settings: ServerSettings) -> Upload:
    """The body of a request, multipart or raw; raises TooLarge, TooSlow, WrongMediaType or BadRequest."""
    media_type = parse_options_header(request.headers.get("content-type", ""))[0].decode("latin-1").lower()
    _refuse_declared_size(request, settings)
    stream = _bounded(request, settings)
    if media_type == "multipart/form-data":
        return await _parse_multipart(request, stream, settings)
    if media_type in _RAW_TYPES or media_type.startswith("image/"):
        return Upload({"image": b"".join([chunk async for chunk in stream])}, {})
    raise WrongMediaType("unsupported_media_type", "a body of that content type is not understood", hint=_HINT_TYPES)


def _refuse_declared_size(request: Request, settings: ServerSettings) -> None:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > settings.max_body_bytes:
        raise _too_large(settings)


async def _bounded(request: Request, settings: ServerSettings) -> AsyncGenerator[bytes, None]:
    """The chunks of a body, counted and against a deadline that grows with what has come."""
    received, start = 0, time.monotonic()
    chunks = request.stream()
    while True:
        deadline = start + settings.body_grace_s + received / settings.body_min_rate
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise TooSlow(
                "body_too_slow",
                "the body did not arrive in time",
                hint=f"send at least {settings.body_min_rate // 1024} KiB per second",
            ) from None
        if chunk is None:
            return
        received += len(chunk)
        if received > settings.max_body_bytes:
            raise _too_large(settings)
        yield chunk


async def _parse_multipart(request: Request, stream: AsyncGenerator[bytes, None], settings: ServerSettings) -> Upload:
    # Starlette spools parts over 1 MB to a temporary file: a patient's picture on disk.
    parser = MultiPartParser(request.headers, stream, max_files=4, max_fields=16, max_part_size=64 * 1024)
    parser.spool_max_size = settings.max_body_bytes + 1
    try:
        form = await parser.parse()
    except MultiPartException:
        raise BadRequest(
            "bad_multipart",
            "the multipart body is malformed",
            hint="let the HTTP client write the Content-Type with its boundary by itself",
        ) from None
    try:
        files: dict[str, bytes] = {}
        fields: dict[str, str] = {}
        for name, value in form.multi_items():
            if name in files or name in fields:
                raise BadRequest("repeated_part", "a part stands twice in the body", hint="send one image at a time")
            if isinstance(value, UploadFile):
                files[name] = await value.read()
            else:
                fields[name] = value
        return Upload(files, fields)
    finally:
        await form.close()


def _too_large(settings: ServerSettings) -> TooLarge:
    return TooLarge(
        "body_too_large",
        f"the body is larger than {settings.max_body_bytes} bytes",
        hint="send one frame or a smaller file, or raise SONOSEEK_SERVER__MAX_BODY_BYTES",
    )
