"""Keeps one snapshot per library and encoder, renewed when the library's version has moved."""

import threading
from collections import defaultdict

from app.encoders.base import Encoder
from app.errors import Conflict
from app.library.catalogue import Catalogue
from app.search.snapshot import Snapshot, build_snapshot


class Shelves:
    """Hands out snapshots. Other processes write too: every call compares the stored version."""

    def __init__(self, catalogue: Catalogue, engine: str) -> None:
        self._catalogue = catalogue
        self._engine = engine
        self._snapshots: dict[tuple[str, str], Snapshot] = {}
        self._building: defaultdict[tuple[str, str], threading.Lock] = defaultdict(threading.Lock)

    def snapshot(self, library: str, encoder: Encoder) -> Snapshot:
        """The present snapshot; raises NotFound, or Conflict ``digest_mismatch`` where vectors are missing."""
        return self.snapshot_at(library, self._catalogue.version(library), encoder)

    def snapshot_at(self, library: str, version: int, encoder: Encoder) -> Snapshot:
        """The same where the stored version is known already."""
        key = (library, encoder.digest)
        found = self._snapshots.get(key)
        if found is None or found.info.version != version:
            found = self._renew(key, version)
        if found.missing:
            raise self._mismatch(found, encoder)
        return found

    def _renew(self, key: tuple[str, str], version: int) -> Snapshot:
        with self._building[key]:  # one builds, those who need the same wait; other libraries do not
            found = self._snapshots.get(key)
            if found is None or found.info.version < version:
                library, digest = key
                found = build_snapshot(self._catalogue.shelf(library, digest), digest, self._engine)
                self._snapshots[key] = found
            return found

    def _mismatch(self, snapshot: Snapshot, encoder: Encoder) -> Conflict:
        library = snapshot.info.name
        stored = ", ".join(
            f"{name} {digest}"
            for digest, (name, _count) in self._catalogue.encoders(library).items()
            if digest != encoder.digest
        )
        return Conflict(
            "digest_mismatch",
            f"{snapshot.missing} of {snapshot.info.size} references of library {library!r} have no vector of "
            f"{encoder.name} {encoder.digest}; stored are vectors of {stored or 'no other encoder'}",
            hint=f"run: sonoseek reembed {library} --encoder {encoder.name}",
        )
