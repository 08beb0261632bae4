"""The stored frames: one PNG per reference, written whole or not at all."""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from app.errors import Misconfigured

_ORPHAN_AGE_S = 3600


class FrameFiles:
    """Frames under a directory, by reference id."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, reference_id: str) -> Path:
        """Where the frame of a reference lies."""
        return self._root / reference_id[:2] / f"{reference_id}.png"

    def write(self, reference_id: str, png: bytes) -> None:
        """Store a frame: temporary name, fsync, rename."""
        path = self.path(reference_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        # A random name: two containers on one volume may have equal process ids.
        with NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            file.write(png)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)

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

    def delete(self, reference_ids: Iterable[str]) -> None:
        """Remove the frames of some references."""
        for reference_id in reference_ids:
            self.path(reference_id).unlink(missing_ok=True)

    def sweep(self, known: set[str]) -> int:
        """Delete frames without a row, left by a crash; returns how many.

        Young ones stay: another process may be between writing a file and its row.
        """
        limit = time.time() - _ORPHAN_AGE_S
        swept = 0
        for path in self._root.glob("*/*"):
            with suppress(FileNotFoundError):  # a writer has just renamed it
                if (path.suffix == ".tmp" or path.stem not in known) and path.stat().st_mtime < limit:
                    path.unlink()
                    swept += 1
        return swept
