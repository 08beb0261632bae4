"""How the index of a snapshot is made and kept up to date."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from app.domain import Vectors
from app.indexes.base import SearchIndex
from app.indexes.layered import LayeredIndex
from app.indexes.registry import open_index
from app.indexes.scan import ScanIndex
from app.library.reference import LibraryInfo

_LATE = 256
_LATE_SHARE = 1 / 16
"""So many late or removed rows are borne, at least or as a share of all, before an engine is built anew."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows that an index is over: the library and the encoder, the id of each row, the row of each living id."""

    info: LibraryInfo
    encoder: str
    digest: str
    dim: int
    ids: Sequence[str]
    row_of: dict[str, int]


class IndexMaker(Protocol):
    """Makes indexes; ``keeps_vectors`` says whether they want the vectors of their rows or have them elsewhere."""

    keeps_vectors: bool

    def first(self, rows: Rows, vectors: Vectors) -> SearchIndex:
        """An index over a whole library that answers at once."""
        ...

    def grown(self, index: SearchIndex, rows: Rows, more: Vectors) -> SearchIndex:
        """An index with more rows, the last ones of ``rows``."""
        ...

    def built(self, rows: Rows, vectors: Vectors) -> SearchIndex:
        """An index whose engine is built over all rows, which may take long."""
        ...

    def wants_building(self, index: SearchIndex, rows: Rows) -> bool:
        """Whether the engine is not built yet, or so much has come and gone that it should be built anew."""
        ...

    def forget(self, uid: str, ids: Sequence[str] | None) -> list[str]:
        """Take away references that were removed from a library, None: all of it; says what remains where."""
        ...

    def close(self) -> None:
        """Close connections."""
        ...


class LocalIndexes:
    """Engines in this process. A plain scan stands in until one is built; late rows are measured beside it."""

    keeps_vectors = True

    def __init__(self, engine: str) -> None:
        self._engine = engine

    def first(self, rows: Rows, vectors: Vectors) -> LayeredIndex:
        """A plain scan under the engine's name."""
        return LayeredIndex(self._engine, ScanIndex(vectors), vectors, vectors[:0], rows.ids)

    def grown(self, index: SearchIndex, rows: Rows, more: Vectors) -> LayeredIndex:
        """The same engine and late rows beside it."""
        assert isinstance(index, LayeredIndex)
        return index.grown(more, rows.ids)

    def built(self, rows: Rows, vectors: Vectors) -> LayeredIndex:
        """The engine over all rows."""
        return LayeredIndex(self._engine, open_index(self._engine, vectors), vectors, vectors[:0], rows.ids)

    def wants_building(self, index: SearchIndex, rows: Rows) -> bool:
        """Whether the plain scan still stands in, or many rows came late or have gone."""
        assert isinstance(index, LayeredIndex)
        spoilt = index.late + len(rows.ids) - len(rows.row_of)
        return not index.is_built or spoilt > max(_LATE, _LATE_SHARE * len(rows.row_of))

    def forget(self, _uid: str, _ids: Sequence[str] | None) -> list[str]:
        """Nothing remains: an index that nobody holds is gone."""
        return []

    def close(self) -> None:
        """Nothing to close."""
