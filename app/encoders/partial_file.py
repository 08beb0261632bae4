"""A file that is being downloaded: what of it is there, of which version, and that one process writes it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from app.errors import Conflict, Misconfigured

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class PartialFile:
    """``NAME.part`` and ``NAME.part.version``, the server's name for the version that the bytes are of."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.path = place.with_name(f"{place.name}.part")
        self._version = place.with_name(f"{place.name}.part.version")

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def version(self) -> str | None:
        """The ETag, or the date, that the server gave with these bytes; None where they cannot be continued."""
        with suppress(OSError, UnicodeDecodeError):
            return self._version.read_text(encoding="ascii") or None
        return None

    def begin(self, version: str | None) -> None:
        """Start over with a version; its name is written last, so that it never stands beside older bytes."""
        self.discard()
        self.path.touch()
        self._version.write_text(version or "", encoding="ascii")

    @contextmanager
    def continued(self) -> Iterator[BinaryIO]:
        """The file, open at its end."""
        with self.path.open("ab") as file:
            yield file

    def discard(self) -> None:
        """Delete what is there."""
        self._version.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Give the whole file its name, safe from a crash from then on."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        self.path.replace(self.place)
        self._version.unlink(missing_ok=True)


@contextmanager
def alone(path: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Keep others out by a lock file, which ends with the process; raises Conflict ``locked`` after ``wait_s``."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=wait_s)
    except Timeout:
        raise Conflict(
            "locked",
            f"another process is writing into {path.parent}",
            hint="wait until it has ended, then repeat: what it brought is used",
        ) from None
    try:
        yield
    finally:
        # Deleted while it is held: a process that waits for this file sees that it is gone and makes a new one.
        with suppress(OSError):
            path.unlink()
        lock.release()


@contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Say plainly what the disk says; raises Misconfigured ``no_space`` or ``folder_unwritable``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise no_space(folder) from error
        raise Misconfigured(
            "folder_unwritable",
            f"{folder} cannot be written ({type(error).__name__})",
            hint="check its permissions and whether it is mounted read-only; --to DIR downloads into another folder",
        ) from error


def no_space(folder: Path) -> Misconfigured:
    """The error of a full disk."""
    return Misconfigured(
        "no_space",
        f"the disk of {folder} has no room for the file",
        hint="make room and repeat: what is there is continued; --to DIR downloads to another disk",
    )
