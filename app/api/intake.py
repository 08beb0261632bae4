"""Reading a request's body: within a size, within a time, and never to the disk."""

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from app.config import ServerSettings
from app.errors import BadRequest, TooLarge, TooSlow, WrongMediaType

_RAW_TYPES = {"application/dicom", "application/octet-stream"}
_HINT_TYPES = (
    "send the image as multipart part 'image' (curl -F image=@scan.dcm) or as the raw body with Content-Type "
    "image/*, application/dicom or application/octet-stream (curl --data-binary @scan.dcm -H 'Content-Type: ...')"
)


_MOST_JSON = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Form:
    """What a multipart body may be: how many files, how long a field, and which file part comes more than once.

    ``needed`` says how to send a form where a raw image does not do.
    """

    max_files: int = 4
    max_field_bytes: int = 64 * 1024
    repeated: str | None = None
    needed: str | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """The files and the plain fields of a body; a raw body is the file ``image``.

    ``repeated`` holds the files of the part that may come more than once, in their order.
    """

    files: dict[str, bytes] = field(repr=False)
    fields: dict[str, str] = field(repr=False)
    repeated: list[bytes] = field(default_factory=list, repr=False)

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

    def json(self, name: str) -> bytes:
        """The bytes of a JSON part, whether it was sent as a field or as a file; raises BadRequest ``no_labels``."""
        if name in self.files:
            return self.files[name]
        if name in self.fields:
            return self.fields[name].encode("utf-8", "replace")
        raise BadRequest(
            f"no_{name}",
            f"the body has no part named {name!r}",
            hint=f"with curl: -F {name}=@{name}.json, or the JSON itself: -F '{name}=...'",
        )


async def read_upload(request: Request, settings: ServerSettings, expected: Form = Form()) -> Upload:
    """The body of a request, multipart or raw; raises TooLarge, TooSlow, WrongMediaType or BadRequest."""
    media_type = _media_type(request)
    if media_type == "multipart/form-data":
        return await _parse_multipart(request, _bounded(request, settings, settings.max_body_bytes), settings, expected)
    if media_type not in _RAW_TYPES and not media_type.startswith("image/"):
        hint = expected.needed or _HINT_TYPES
        raise WrongMediaType("unsupported_media_type", "a body of that content type is not understood", hint=hint)
    if expected.needed:
        raise WrongMediaType("multipart_needed", "a raw image has no place for its labels", hint=expected.needed)
    return Upload({"image": await _whole(request, settings, settings.max_body_bytes)}, {})


async def read_json(request: Request, settings: ServerSettings) -> bytes:
    """The body of a request that must be JSON, not parsed yet; raises TooLarge, TooSlow or WrongMediaType."""
    if _media_type(request) != "application/json":
        raise WrongMediaType(
            "json_needed", "this path wants JSON", hint="with curl: -H 'Content-Type: application/json' -d '{...}'"
        )
    return await _whole(request, settings, min(_MOST_JSON, settings.max_body_bytes))


def _media_type(request: Request) -> str:
    return parse_options_header(request.headers.get("content-type", ""))[0].decode("latin-1").lower()


async def _whole(request: Request, settings: ServerSettings, most: int) -> bytes:
    return b"".join([chunk async for chunk in _bounded(request, settings, most)])


async def _bounded(request: Request, settings: ServerSettings, most: int) -> AsyncGenerator[bytes, None]:
    """The chunks of a body of at most that many bytes, against a deadline that grows with what has come."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise _too_large(most)
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
        if received > most:
            raise _too_large(most)
        yield chunk


async def _parse_multipart(
    request: Request, stream: AsyncGenerator[bytes, None], settings: ServerSettings, expected: Form
) -> Upload:
    parser = MultiPartParser(
        request.headers, stream, max_files=expected.max_files, max_fields=16, max_part_size=expected.max_field_bytes
    )
    # Starlette spools parts over 1 MB to a temporary file: a patient's picture on disk.
    parser.spool_max_size = settings.max_body_bytes + 1
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise _multipart_refusal(error, expected) from None
    try:
        return await _sorted_parts(form, expected)
    finally:
        await form.close()


async def _sorted_parts(form: FormData, expected: Form) -> Upload:
    upload = Upload({}, {})
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) and name == expected.repeated:
            upload.repeated.append(await value.read())
            continue
        if name in upload.files or name in upload.fields:
            raise BadRequest("repeated_part", "a part stands twice in the body", hint="send one image at a time")
        if isinstance(value, UploadFile):
            upload.files[name] = await value.read()
        else:
            upload.fields[name] = value
    return upload


def _multipart_refusal(error: MultiPartException, expected: Form) -> BadRequest:
    if error.message.startswith("Too many files"):
        return BadRequest(
            "too_many_files", "the body has more files than this path takes", hint=f"at most {expected.max_files}"
        )
    return BadRequest(
        "bad_multipart",
        "the multipart body is malformed",
        hint="let the HTTP client write the Content-Type with its boundary by itself",
    )


def _too_large(most: int) -> TooLarge:
    return TooLarge(
        "body_too_large",
        f"the body is larger than {most} bytes",
        hint="send one frame or a smaller file, or raise SONOSEEK_SERVER__MAX_BODY_BYTES",
    )
