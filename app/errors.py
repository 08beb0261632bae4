"""Every error that SonoSeek raises on purpose.

SonoSeekError
├── BadInput            422  the caller's image or parameter cannot be used         exit 3
│   ├── BadRequest      400  the request itself is malformed                        exit 2
│   ├── TooLarge        413  over a limit that is checked before decoding           exit 3
│   ├── WrongMediaType  415  a content type that is none of ours                    exit 3
│   └── TooSlow         408  the body trickled in                                   exit 3
├── NotFound            404  no such library, reference or encoder                  exit 3
├── Conflict            409  the request contradicts what is stored                 exit 3
├── Refused             403  host, origin or key are not allowed                    exit 3
│   └── Unauthorised    401  a key is needed                                        exit 3
├── Unavailable         503  not now: starting, stopping                            exit 1
│   ├── Busy            429  all permits are taken                                  exit 1
│   └── DeviceLost      503  the GPU has failed for good: the process ends          exit 1
├── CallerLeft          499  nobody waits for the answer any more                       exit 1
├── TimedOut            504  the deadline passed before the answer was there        exit 1
├── StorageFull         507  no room for a change, of which nothing was stored      exit 1
└── Misconfigured       500  settings, files or secrets that forbid a start         exit 2

Each carries a ``code`` (stable, snake case), a sentence ``detail`` and a ``hint``: what the person
who gets it can do. None of the three ever contains an identity or the bytes of a request.
"""


class SonoSeekError(Exception):
    """The root: an expected refusal with a code, a sentence and a hint."""

    status = 500
    exit_code = 1
    title = "Internal error"
    recorded = False  # whether the access log has a line that ends with it

    def __init__(self, code: str, detail: str, *, hint: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """How a copy is made in another process: pickle knows no keyword arguments."""
        return _remade, (type(self), self.code, self.detail, self.hint)


def _remade(kind: type[SonoSeekError], code: str, detail: str, hint: str) -> SonoSeekError:
    return kind(code, detail, hint=hint)


class BadInput(SonoSeekError):
    """The caller's image or parameter cannot be used."""

    status = 422
    exit_code = 3
    title = "The input cannot be used"


class BadRequest(BadInput):
    """The request itself is malformed."""

    status = 400
    exit_code = 2
    title = "The request is malformed"


class TooLarge(BadInput):
    """Over a limit that is checked before anything is decoded."""

    status = 413
    title = "Too large"


class WrongMediaType(BadInput):
    """A content type that is none of ours."""

    status = 415
    title = "Unsupported media type"


class TooSlow(BadInput):
    """The body trickled in."""

    status = 408
    title = "The request body came too slowly"


class NotFound(SonoSeekError):
    """No such library, reference or encoder."""

    status = 404
    exit_code = 3
    title = "Not found"


class Conflict(SonoSeekError):
    """The request contradicts what is stored."""

    status = 409
    exit_code = 3
    title = "Conflict with what is stored"


class Refused(SonoSeekError):
    """Host, origin or key are not allowed."""

    status = 403
    exit_code = 3
    title = "Refused"


class Unauthorised(Refused):
    """A key is needed."""

    status = 401
    title = "A key is needed"


class Unavailable(SonoSeekError):
    """Not now: the service is starting or stopping."""

    status = 503
    title = "Not available now"


class Busy(Unavailable):
    """All permits are taken."""

    status = 429
    title = "Too many requests at once"


class DeviceLost(Unavailable):
    """The device that encodes has failed, and this process cannot get it back."""

    title = "The device has failed"


class CallerLeft(SonoSeekError):
    """Nobody waits for the answer any more: seen in logs only, with the status that nginx has for it."""

    status = 499
    title = "The caller has left"


class TimedOut(SonoSeekError):
    """The deadline passed before the answer was there."""

    status = 504
    title = "Timed out"


class StorageFull(SonoSeekError):
    """There is no room for a change, and nothing of it was stored; of a batch, earlier changes are."""

    status = 507
    title = "The storage is full"


class Misconfigured(SonoSeekError):
    """Settings, files or secrets that forbid a start."""

    exit_code = 2
    title = "The service is not set up correctly"


def stopping() -> Unavailable:
    """What a caller is told whose request the end of the service cut off."""
    return Unavailable("stopping", "the service is stopping", hint="send the request to another instance, or later")


def device_lost() -> DeviceLost:
    """What callers are told when the device has failed, until the process has ended."""
    return DeviceLost(
        "device_lost",
        "the device that computes embeddings has failed; this process ends so that it can be started anew",
        hint="send the request again in a minute; nvidia-smi and the kernel's log tell the operator what happened",
    )
