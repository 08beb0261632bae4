"""One who keeps a copy of a library by its changes alone, as an index does."""

from stores import DIGEST

from app.library.catalogue import Catalogue
from app.library.embeddings import Shelf
from app.library.reference import LibraryInfo


class Follower:
    """A copy of a library under one digest: id -> what a search knows of the reference."""

    def __init__(self, catalogue: Catalogue, library: str = "fetal", digest: str = DIGEST) -> None:
        self._ask = (library, digest)
        self._embeddings = catalogue.embeddings
        self.rebuilt = 0
        self._rebuild()

    def follow(self) -> None:
        """Apply what has changed."""
        library, digest = self._ask
        changes = self._embeddings.changes(library, digest, self.info.edition)
        if changes is None:
            self._rebuild()
            return
        assert changes.info.version >= self.info.version
        assert not set(changes.removed) & set(changes.shelf.ids)
        for key in changes.removed:
            self.copy.pop(key, None)
        self.copy.update(contents(changes.shelf))
        self._move_to(changes.info)

    def _rebuild(self) -> None:
        info, shelf = self._embeddings.shelf(*self._ask)
        self.copy = contents(shelf)
        self.rebuilt += 1
        self._move_to(info)

    def _move_to(self, info: LibraryInfo) -> None:
        self.info = info


def contents(shelf: Shelf) -> dict[str, tuple]:
    """Id -> everything that a shelf says of it."""
    columns = (shelf.external_ids, shelf.labels, shelf.patient_keys, shelf.fingerprints, shelf.frame_digests)
    vectors = [vector.tobytes() for vector in shelf.vectors]
    attributes = [tuple(sorted(found.items())) for found in shelf.attributes]
    return dict(zip(shelf.ids, zip(*columns, vectors, attributes, strict=True), strict=True))
