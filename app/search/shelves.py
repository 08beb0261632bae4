"""Keeps one snapshot per library and encoder, brought up to date when the library's version has moved."""

import threading
from collections import Counter, defaultdict
from collections.abc import Container, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import NamedTuple

from app.encoders.base import Encoder
from app.errors import Conflict
from app.library.catalogue import Catalogue
from app.library.reference import Edition
from app.logs import get_logger
from app.search.index_makers import IndexMaker
from app.search.rebuild import reembed_command
from app.search.snapshot import Snapshot, rebuilt, rows_of, snapshot_of, with_changes

log = get_logger("shelves")


_MANY = 2_000
"""So many changes are followed one by one at least; beyond, and beyond a quarter of all, reading anew is faster."""


class _Key(NamedTuple):
    library: str
    digest: str


class Shelves:
    """Hands out snapshots. Other processes write too: every call compares the stored edition.

    What has changed is put into the snapshot at once, behind the rows that its engine was built from. Engines are
    built on a thread of their own, and no search waits for that.
    """

    def __init__(self, catalogue: Catalogue, maker: IndexMaker) -> None:
        self._catalogue = catalogue
        self._maker = maker
        self._snapshots: dict[_Key, Snapshot] = {}
        self._renewing: defaultdict[_Key, threading.Lock] = defaultdict(threading.Lock)
        self._builder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="index")
        self._building: dict[_Key, Future[None]] = {}
        self._forgotten: Counter[_Key] = Counter()

    def snapshot(self, library: str, encoder: Encoder) -> Snapshot:
        """The present snapshot; raises NotFound, or Conflict ``digest_mismatch`` where vectors are missing."""
        return self.snapshot_at(library, self._catalogue.library(library).edition, encoder)

    def snapshot_at(self, library: str, edition: Edition, encoder: Encoder) -> Snapshot:
        """The same where the stored edition is known already."""
        key = _Key(library, encoder.digest)
        found = self._snapshots.get(key)
        if found is None or found.info.edition != edition:
            found = self._renew(key, edition, encoder)
        if found.missing:
            raise self._mismatch(found, encoder)
        return found

    def forget(self, library: str, uid: str, ids: Sequence[str] | None) -> list[str]:
        """Drop what is held of a library: after an erasure nothing of the patient is left in memory.

        ``ids`` were removed from the library, None: it was deleted. Returns sentences on what remains elsewhere.
        """
        for key in [key for key in list(self._renewing) if key.library == library]:
            with self._renewing[key]:  # whoever reads the library just now ends first
                self._snapshots.pop(key, None)
                self._forgotten[key] += 1  # what is being built of it holds the patient too
        return self._maker.forget(uid, ids)

    def keep(self, libraries: Container[str]) -> None:
        """Drop what is held of all other libraries: another process has deleted them."""
        for key in [key for key in list(self._snapshots) if key.library not in libraries]:
            with self._renewing[key]:
                self._snapshots.pop(key, None)
                self._forgotten[key] += 1

    def is_present(self, snapshot: Snapshot) -> bool:
        """Whether an index that lies elsewhere may still be taken for that of the snapshot: it moves by itself.

        What came since the snapshot does not matter, which knows nothing of it: searches go on beside an enrolment.
        """
        if self._maker.keeps_vectors or self._edition(snapshot.info.name) == snapshot.info.edition:
            return True
        touched = self._catalogue.embeddings.touched(snapshot.info.name, snapshot.info.edition)
        return touched is not None and touched.isdisjoint(snapshot.row_of)

    def settle(self) -> None:
        """Wait until all engines that are being built stand."""
        wait(list(self._building.values()))

    def close(self) -> None:
        """Stop building."""
        self._builder.shutdown(wait=True, cancel_futures=True)
        self._maker.close()

    def _renew(self, key: _Key, edition: Edition, encoder: Encoder) -> Snapshot:
        with self._renewing[key]:  # one reads what changed, those who need the same wait; other libraries do not
            found = self._snapshots.get(key)
            if found is not None and found.info.version > edition.version and self._has_gone_back(found):
                found = None
            if found is None or not _is_at(found, edition):
                found = self._snapshots[key] = self._changed(key, found) or self._read(key.library, encoder)
                if self._maker.wants_building(found.index, found.rows):
                    self._build_later(key)
            return found

    def _changed(self, key: _Key, old: Snapshot | None) -> Snapshot | None:
        """An older state brought up to date; None where there is none, or its library was made anew."""
        changes = old and self._catalogue.embeddings.changes(*key, since=old.info.edition)
        if not old or not changes or len(changes.shelf) + len(changes.removed) > max(_MANY, old.size // 4):
            return None
        return with_changes(old, changes, self._maker)

    def _has_gone_back(self, snapshot: Snapshot) -> bool:
        """Whether an older database was restored beneath; else the caller has been slow, and knows an old edition."""
        present = self._edition(snapshot.info.name)
        return present is not None and present.version < snapshot.info.version

    def _edition(self, library: str) -> Edition | None:
        return self._catalogue.editions().get(library)

    def _read(self, library: str, encoder: Encoder) -> Snapshot:
        """What is stored now, read as a whole."""
        info, shelf = self._catalogue.embeddings.shelf(library, encoder.digest, with_vectors=self._maker.keeps_vectors)
        rows = rows_of(info, encoder.name, encoder.digest, encoder.dim, shelf)
        return snapshot_of(rows, shelf, self._maker.first(rows, shelf.vectors))

    def _build_later(self, key: _Key) -> None:
        running = self._building.get(key)
        if running is None or running.done():
            self._building[key] = self._builder.submit(self._build, key)

    def _build(self, key: _Key) -> None:
        try:
            with self._renewing[key]:
                old, forgotten = self._snapshots.get(key), self._forgotten[key]
            if old is None:
                return
            built = rebuilt(old, self._maker)
            with self._renewing[key]:
                is_known = key in self._snapshots and self._forgotten[key] == forgotten
                if is_known and (newest := self._changed(key, built)) is not None:
                    self._snapshots[key] = newest
                self._build_again(key)
        except Exception as error:  # the old snapshot goes on answering, exactly as before
            log.error("index_not_built", library=key.library, error=type(error).__name__)

    def _build_again(self, key: _Key) -> None:
        """What was built may be of no use, or behind: then once more."""
        present = self._snapshots.get(key)
        if present is not None and self._maker.wants_building(present.index, present.rows):
            with suppress(RuntimeError):  # the service is closing
                self._building[key] = self._builder.submit(self._build, key)

    def _mismatch(self, snapshot: Snapshot, encoder: Encoder) -> Conflict:
        library = snapshot.info.name
        others = [
            (name, digest)
            for digest, (name, _count) in self._catalogue.embeddings.counts(library).items()
            if digest != encoder.digest
        ]
        stored = ", ".join(f"{name} {digest}" for name, digest in others) or "no other encoder"
        if any(name == encoder.name for name, _ in others):
            stored += f", made with other weights, preprocessing or precision (now {encoder.precision})"
        return Conflict(
            "digest_mismatch",
            f"{snapshot.missing} of {snapshot.info.size} references of library {library!r} have no vector of "
            f"{encoder.name} {encoder.digest}; stored are vectors of {stored}",
            hint=f"run: {reembed_command(library, encoder.name)}",
        )


def _is_at(snapshot: Snapshot, edition: Edition) -> bool:
    """Whether a snapshot is of that state of its library, or of a later one."""
    return snapshot.info.uid == edition.uid and snapshot.info.version >= edition.version
