"""Collections of a Qdrant server, brought to a snapshot's version before it is searched."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from app.domain import Vectors
from app.encoders.base import Encoder
from app.errors import Conflict, SonoSeekError, Unavailable
from app.indexes.base import SearchIndex
from app.indexes.qdrant import QdrantStore
from app.indexes.qdrant_index import QdrantIndex
from app.indexes.qdrant_points import Place, PointChanges, Points, Repaired
from app.library.catalogue import Catalogue
from app.library.embeddings import Shelf
from app.library.reference import Edition
from app.logs import get_logger
from app.search.index_makers import Rows

log = get_logger("qdrant")

_ATTEMPTS = 8
"""How often a collection is brought up to date because another process changed it meanwhile."""

_BYTES = (
    "the disks of Qdrant: its points are deleted and no search finds them, but their bytes go only when Qdrant next "
    "rewrites the segments they lie in, and stay in snapshots that were made of it"
)


class RemoteIndexes:
    """Indexes whose vectors lie in Qdrant. The rows of the database are the truth, which fills a collection again.

    Whoever finds a collection behind the library brings it up to date, once: the collection says how far it is.
    """

    keeps_vectors = False

    def __init__(self, store: QdrantStore, catalogue: Catalogue) -> None:
        self._store = store
        self._catalogue = catalogue
        self._followed: dict[Place, int] = {}

    def first(self, rows: Rows, _vectors: Vectors) -> QdrantIndex:
        """The collection of these rows, filled where it lacks anything."""
        place = _place(rows)
        self._bring_up(place, rows.info.version)
        return QdrantIndex(self._store, place, rows.row_of, self._vectors_of(rows))

    def grown(self, _index: SearchIndex, rows: Rows, more: Vectors) -> QdrantIndex:
        """The same after what has changed."""
        return self.first(rows, more)

    def built(self, rows: Rows, vectors: Vectors) -> QdrantIndex:
        """The same: the server builds its graphs by itself."""
        return self.first(rows, vectors)

    def wants_building(self, _index: SearchIndex, _rows: Rows) -> bool:
        """Never."""
        return False

    def forget(self, uid: str, ids: Sequence[str] | None) -> list[str]:
        """Delete the points of references in the collections of every encoder, or with None the collections."""
        try:
            if ids is None:
                touched = self._store.retire(uid, keep=[])
            else:
                enrolled_again = {found.id for found in self._catalogue.get_many(ids)}
                touched = self._store.forget(uid, [key for key in ids if key not in enrolled_again])
        except SonoSeekError as error:  # the rows are gone, and no search finds the points any more
            return [f"the points in Qdrant, until sonoseek sync has run ({error.detail})"]
        for place in [place for place in list(self._followed) if ids is None and place.uid == uid]:
            self._followed.pop(place, None)
        return [_BYTES] if touched else []

    def close(self) -> None:
        """Close the connections."""
        self._store.close()

    def sync(self, library: str, encoder: Encoder, progress: Callable[[int], None] = lambda _done: None) -> Repaired:
        """Compare the collection of a library and an encoder with the database, reference by reference, and mend it.

        Raises NotFound ``unknown_library`` and what QdrantStore raises.
        """
        info = self._catalogue.library(library)
        place = Place(info.uid, info.name, encoder.name, encoder.digest, encoder.dim)
        if (edition := self._store.edition(place)) is not None:
            self._start_anew_if_ahead(place, edition)
        return self._sync(place, progress)

    def tidy(self) -> list[str]:
        """Delete this database's collections of libraries, or of vectors, that are no more; returns their names."""
        gone = self._store.drop_orphans({edition.uid for edition in self._catalogue.editions().values()})
        for info, encoders in ((held.info, held.encoders) for held in self._catalogue.libraries()):
            if info.size:  # an empty library has no vectors, and is searched all the same
                keep = [Place(info.uid, info.name, encoder, digest, 0) for digest, (encoder, _) in encoders.items()]
                gone += self._store.retire(info.uid, keep)
        return gone

    def _sync(self, place: Place, progress: Callable[[int], None] = lambda _done: None) -> Repaired:
        info, truth = self._catalogue.embeddings.versions(place.library, place.digest)
        if info.uid != place.uid:
            raise _made_anew()

        def load(keys: Sequence[str]) -> Points:
            return _points(self._catalogue.embeddings.some(keys, place.digest), info.version)

        repaired = self._store.sync(place, info.version, truth, load, progress)
        self._followed[place] = info.version
        return repaired

    def _bring_up(self, place: Place, version: int) -> None:
        for _ in range(_ATTEMPTS):
            edition = self._store.edition(place)
            if edition is None or self._start_anew_if_ahead(place, edition):
                self._sync(place)
            elif edition >= version and self._followed.get(place, edition) >= version:
                self._followed.setdefault(place, edition)
                return
            else:
                self._follow(place, min(edition, self._followed.get(place, edition)))
        raise Unavailable(
            "qdrant_behind",
            "Qdrant does not reach the library's present version",
            hint="search again; if it stays so, run: sonoseek sync LIBRARY",
        )

    def _start_anew_if_ahead(self, place: Place, edition: int) -> bool:
        """Whether a collection knew more than its library has ever been, and so was dropped.

        A collection is brought to a version after the database has it: an older database was restored, and what the
        collection holds is of a history that did not happen.
        """
        present = self._catalogue.editions().get(place.library)
        if present is None or present.uid != place.uid or present.version >= edition:
            return False
        log.warning("qdrant_ahead", library=place.library, hint="was an older database restored? Filling it anew")
        self._store.drop(place)
        self._followed.pop(place, None)
        return True

    def _follow(self, place: Place, since: int) -> None:
        changes = self._catalogue.embeddings.changes(place.library, place.digest, Edition(place.uid, since))
        if changes is None:
            raise _made_anew()
        points = _points(changes.shelf, changes.info.version)
        if self._store.follow(place, PointChanges(since, changes.info.version, points, changes.removed)):
            self._followed[place] = changes.info.version

    def _vectors_of(self, rows: Rows) -> Callable[[NDArray[np.int64]], Vectors]:
        """The stored vectors (n, dim) of some rows; what has been removed meanwhile is infinitely far."""

        def vectors_of(some: NDArray[np.int64]) -> Vectors:
            ids = [rows.ids[row] for row in some]
            stored = self._catalogue.embeddings.many(ids, rows.digest)
            gone = np.full(rows.dim, np.inf, dtype=np.float32)
            return np.stack([stored.get(key, gone) for key in ids])

        return vectors_of


def _place(rows: Rows) -> Place:
    return Place(rows.info.uid, rows.info.name, rows.encoder, rows.digest, rows.dim)


def _points(shelf: Shelf, version: int) -> Points:
    """References as points of a version: none of them has changed since."""
    return Points(shelf.ids, shelf.vectors, [version] * len(shelf), shelf.labels, shelf.attributes)


def _made_anew() -> Conflict:
    return Conflict("library_changed", "the library was deleted and made anew meanwhile", hint="try again")
