"""What a writer left that was killed between files and rows: the rows say which file is right."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.errors import Unavailable
from app.library.faults import CONNECTION_LOST
from app.library.files import FrameFiles

MOST = 1000
"""Frames without a row that a crash may leave; more of them are another mistake's, and are kept."""


@dataclass(frozen=True, slots=True)
class Swept:
    """How many files were deleted, how many frames came back, and how many were kept though no row knows them."""

    deleted: int = 0
    restored: int = 0
    kept: int = 0


def is_unknown(error: BaseException) -> bool:
    """Whether nobody can tell by an error if the transaction that it broke was stored."""
    if isinstance(error, Unavailable):
        return error.code == CONNECTION_LOST
    return not isinstance(error, Exception)  # Ctrl-C may come between the end of a transaction and its return


def put_right(files: FrameFiles, suspects: Sequence[Path], checksums: Mapping[str, str | None]) -> Swept:
    """Delete what belongs to no reference, and give references the frame that their row names.

    ``suspects`` are of ``FrameFiles.suspects``, ``checksums`` the frames' sha256 of all references among them, while
    nobody else writes. Since the suspects were listed, rows may have come and files may have gone.
    """
    suspects = [path for path in suspects if path.exists()]
    unknown = [path for path in suspects if reference_of(path) not in checksums]
    kept = [path for path in unknown if path.suffix == ".png"] if len(unknown) > MOST else []
    for path in set(unknown) - set(kept):
        path.unlink(missing_ok=True)
    known = [path for path in suspects if reference_of(path) in checksums]
    aside = [path for path in known if path != files.path(reference_of(path))]
    restored = sum(_restore(files, path, checksums[reference_of(path)]) for path in aside)
    return Swept(len(unknown) - len(kept) + len(aside) - restored, restored, len(kept))


def reference_of(path: Path) -> str:
    """The id in a file's name."""
    return path.name.split(".")[0]


def _restore(files: FrameFiles, aside: Path, checksum: str | None) -> bool:
    """Put a frame that was set aside in its place, where that is empty or holds another than the row names."""
    place = files.path(reference_of(aside))
    is_right = checksum in (None, _sha256(aside))
    if place.exists() and (not is_right or checksum in (None, _sha256(place))):
        is_right = False
    if is_right:
        aside.replace(place)
    aside.unlink(missing_ok=True)  # also where both were names of one file: then replacing does nothing
    return is_right


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
