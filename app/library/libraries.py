"""Libraries: their names, editions and taxonomies."""

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.domain import Taxonomy
from app.library.database import writing
from app.library.queries import created, holdings_of, info_of, library_row, locked_library
from app.library.reference import Edition, Holdings, LibraryInfo, check_library_name
from app.library.rules import regroup
from app.library.tables import LibraryRow

_LIBRARIES = LibraryRow.__table__.c

# Every search asks this: putting a statement together costs as much as SQLite needs to answer it.
_EDITIONS = select(_LIBRARIES.name, _LIBRARIES.uid, _LIBRARIES.version).order_by(_LIBRARIES.name)


class Libraries:
    """Reads and writes the rows of libraries."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = writing(engine)

    def close(self) -> None:
        """Close all connections. SQLite's log then becomes part of its file, which can be copied or mounted alone."""
        self._engine.dispose()

    def libraries(self) -> list[Holdings]:
        """All libraries by name with what they hold, as one transaction sees them."""
        with Session(self._engine) as session, session.begin():
            rows = session.scalars(select(LibraryRow).order_by(LibraryRow.name)).all()
            return [holdings_of(session, row) for row in rows]

    def holdings(self, name: str) -> Holdings:
        """What one library holds; raises NotFound ``unknown_library``."""
        with Session(self._engine) as session, session.begin():
            return holdings_of(session, library_row(session, name))

    def library(self, name: str) -> LibraryInfo:
        """One library; raises NotFound ``unknown_library``."""
        with Session(self._engine) as session:
            return info_of(session, library_row(session, name))

    def editions(self) -> dict[str, Edition]:
        """Name -> edition of all libraries, in order of names."""
        with self._engine.connect() as connection:
            return {row.name: Edition(row.uid, row.version) for row in connection.execute(_EDITIONS)}

    def names(self) -> list[str]:
        """The names of all libraries."""
        return list(self.editions())

    def taxonomy(self, name: str) -> Taxonomy:
        """The taxonomy of a library; raises NotFound ``unknown_library``."""
        with Session(self._engine) as session:
            return Taxonomy(**library_row(session, name).taxonomy)

    def put_library(self, name: str, taxonomy: Taxonomy | None = None, *, actor: str = "local") -> bool:
        """Create a library, or replace the taxonomy of one that exists; returns whether it is new.

        Groups that this changes are appended to the history of their references.

        Raises BadInput ``bad_library_name``.
        """
        check_library_name(name)
        wanted = None if taxonomy is None else {"organs": dict(taxonomy.organs), "diagnoses": dict(taxonomy.diagnoses)}
        with Session(self._writing) as session, session.begin():
            if created(session, name, wanted or {"organs": {}, "diagnoses": {}}):
                return True
            row = locked_library(session, name)
            if wanted is not None and row.taxonomy != wanted:
                old, row.taxonomy = Taxonomy(**row.taxonomy), wanted
                row.version += 1
                regroup(session, row, old, Taxonomy(**wanted), actor)
        return False
