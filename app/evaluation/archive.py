"""A public data set as it was downloaded: a zip, a folder of zips, or an unpacked folder, read as files by name."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from app.errors import BadInput

MOST_BYTES = 64 << 20
"""No file that is read from a set is larger; a zip that says otherwise is refused before it is unpacked."""

_BROKEN = (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError)  # RuntimeError: encrypted


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """A file of a set: ``path`` where it lies unpacked, None inside a zip; ``read`` gives its bytes."""

    name: PurePosixPath
    path: Path | None
    read: Callable[[], bytes]


Files = Mapping[PurePosixPath, ArchiveFile]
"""Name -> file, in order of names. Names begin with that of the zip or folder that was opened."""


@contextmanager
def open_archive(source: Path) -> Iterator[Files]:
    """The files of a zip or folder; zips inside count as folders, one level deep. Raises BadInput ``bad_archive``."""
    with ExitStack() as stack:
        try:
            found = list(_of_folder(source, stack) if source.is_dir() else _of_zip(source, _base(source), stack))
        except _BROKEN as error:
            raise _unreadable(source.name, error) from None
        yield {file.name: file for file in sorted(found, key=lambda file: file.name)}


def _base(source: Path) -> PurePosixPath:
    return PurePosixPath(source.stem)


def _of_folder(folder: Path, stack: ExitStack) -> Iterator[ArchiveFile]:
    for path in sorted(folder.rglob("*")):
        name = PurePosixPath(folder.resolve().name, *path.relative_to(folder).parts)
        if not path.is_file() or _is_clutter(name):
            continue
        if path.suffix.lower() == ".zip":
            yield from _of_zip(path, name.with_suffix(""), stack, nested=False)
        else:
            yield ArchiveFile(name, path, _reader(path.name, path.stat().st_size, path.read_bytes))


def _of_zip(
    source: Path | IO[bytes], base: PurePosixPath, stack: ExitStack, nested: bool = True
) -> Iterator[ArchiveFile]:
    packed = stack.enter_context(zipfile.ZipFile(source))
    for member in packed.infolist():
        name = base / PurePosixPath(member.filename.replace("\\", "/").lstrip("/"))
        if member.is_dir() or _is_clutter(name) or ".." in name.parts:
            continue
        if nested and name.suffix.lower() == ".zip":
            yield from _of_zip(_unpacked(packed, member, stack), name.with_suffix(""), stack, nested=False)
        else:
            yield ArchiveFile(name, None, _reader(name.name, member.file_size, _member(packed, member)))


def _member(packed: zipfile.ZipFile, member: zipfile.ZipInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        with packed.open(member) as stream:
            return stream.read(MOST_BYTES + 1)

    return read


def _unpacked(packed: zipfile.ZipFile, member: zipfile.ZipInfo, stack: ExitStack) -> IO[bytes]:
    """An inner zip as a file of its own: looking around in it needs one that can be sought in."""
    file = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    with packed.open(member) as stream:
        shutil.copyfileobj(stream, file)
    return file


def _reader(name: str, size: int, read: Callable[[], bytes]) -> Callable[[], bytes]:
    def checked() -> bytes:
        if size > MOST_BYTES:
            raise BadInput("bad_archive", f"{name} is larger than {MOST_BYTES >> 20} MiB", hint="this is no image")
        try:
            data = read()
        except _BROKEN as error:
            raise _unreadable(name, error) from None
        if len(data) > MOST_BYTES:
            raise BadInput("bad_archive", f"{name} is larger than its archive says", hint="download the archive again")
        return data

    return checked


def _is_clutter(name: PurePosixPath) -> bool:
    """What Finder and Explorer leave behind."""
    return "__MACOSX" in name.parts or name.name.startswith(".") or name.name in ("Thumbs.db", "desktop.ini")


def _unreadable(name: str, error: Exception) -> BadInput:
    return BadInput(
        "bad_archive",
        f"{name} cannot be read ({type(error).__name__})",
        hint="download it again; give the zip as it comes or the folder that it unpacks to",
    )
