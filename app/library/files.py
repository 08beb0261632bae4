"""The stored frames: one PNG per reference, written whole or not at all."""

import os
import shutil
import uuid
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from app.errors import Misconfigured
from app.library.faults import named_file_faults

_OWNER = "database"


Judge = Callable[[BaseException], bool]
"""Whether nobody can tell by an error if the rows were changed."""


def never(_error: BaseException) -> bool:
    """Every error says that the rows are as they were."""
    return False


class FrameFiles:
    """Frames under a directory, by reference id."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, reference_id: str) -> Path:
        """Where the frame of a reference lies."""
        return self._root / reference_id[:2] / f"{reference_id}.png"

    def write(self, reference_id: str, png: bytes) -> None:
        """Store a frame: temporary name, fsync, rename; raises StorageFull or Unavailable ``read_only``."""
        path = self.path(reference_id)
        with named_file_faults():
            if not path.parent.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                _sync_names(self._root)
            _write_whole(path, png)

    @contextmanager
    def replacing(self, reference_id: str, png: bytes, is_unknown: Judge = never) -> Iterator[None]:
        """Store another frame of a reference; the old one comes back where the block fails.

        Where ``is_unknown`` says of an error that the rows may have changed all the same, both stay.
        """
        path = self.path(reference_id)
        kept = path.with_name(f"{reference_id}.{uuid.uuid4().hex}.tmp")
        with suppress(FileNotFoundError), named_file_faults():
            _keep(path, kept)
        try:
            self.write(reference_id, png)
            yield
        except BaseException as error:
            if not is_unknown(error):
                with suppress(FileNotFoundError):
                    kept.replace(path)
                    kept.unlink(missing_ok=True)  # two names of one file: then renaming does nothing
            raise
        kept.unlink(missing_ok=True)

    def read(self, reference_id: str) -> bytes:
        """The PNG of a reference; raises Misconfigured ``frame_missing``."""
        try:
            return self.path(reference_id).read_bytes()
        except FileNotFoundError:
            raise Misconfigured(
                "frame_missing",
                f"the stored frame of reference {reference_id} is not there",
                hint="restore the data directory from a backup, or enrol the image again",
            ) from None

    @contextmanager
    def taking_away(self, reference_ids: Sequence[str], is_unknown: Judge = never) -> Iterator[None]:
        """Remove the frames of some references; they come back where the block fails.

        Where ``is_unknown`` says of an error that the rows may be gone all the same, they stay set aside.
        """
        aside: dict[Path, Path] = {}
        try:
            with named_file_faults():
                for path in map(self.path, reference_ids):
                    if path.exists():
                        kept = path.with_name(f"{path.stem}.{uuid.uuid4().hex}.tmp")
                        aside[path] = path.rename(kept)
            yield
        except BaseException as error:
            for path, kept in () if is_unknown(error) else aside.items():
                with suppress(FileNotFoundError):
                    kept.rename(path)
            raise
        self.delete(reference_ids)

    def delete(self, reference_ids: Iterable[str]) -> None:
        """Remove the frames of some references, and what interrupted writers left of them."""
        with named_file_faults():
            for reference_id in reference_ids:
                path = self.path(reference_id)
                path.unlink(missing_ok=True)
                for left in path.parent.glob(f"{reference_id}.*.tmp"):
                    left.unlink(missing_ok=True)

    def suspects(self, known: Container[str]) -> list[Path]:
        """Files of no reference, and those that a writer has set aside or not finished."""
        return [path for path in self._root.glob("*/*") if path.suffix == ".tmp" or path.stem not in known]

    def holds(self, reference_id: str) -> bool:
        """Whether the frame of a reference is there."""
        return self.path(reference_id).exists()

    def holds_frames(self) -> bool:
        """Whether there is any frame."""
        return next(self._root.glob("*/*.png"), None) is not None

    def owner(self) -> str | None:
        """The database that these frames belong to; None where none has claimed them."""
        try:
            return (self._root / _OWNER).read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return None

    def name_owner(self, database: str) -> None:
        """Say to which database the frames belong; raises Unavailable ``read_only``."""
        with named_file_faults():
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write_whole(self._root / _OWNER, database.encode("ascii") + b"\n")


def _keep(path: Path, kept: Path) -> None:
    try:
        kept.hardlink_to(path)  # a second name takes no room, even on a full disk
    except FileNotFoundError:
        raise
    except OSError:  # a file system without second names
        shutil.copyfile(path, kept)


def _write_whole(path: Path, content: bytes) -> None:
    # A random name: two containers on one volume may have equal process ids.
    with NamedTemporaryFile(dir=path.parent, prefix=f"{path.stem}.", suffix=".tmp", delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    _sync_names(path.parent)


def _sync_names(folder: Path) -> None:
    """A new name survives a power cut only when its directory has been written."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
