"""Lists of what is in a library: pages of references, checksums."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import ColumnElement, Engine, and_, false, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.library.elements import Elements
from app.library.filters import refuse_unknown_filters
from app.library.queries import library_row
from app.library.reference import Reference
from app.library.rows import MANY_LABELS, ONE_LABEL, reference_of
from app.library.tables import ReferenceRow
from app.library.view import LibraryView


class Listing:
    """Reads pages and lists."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._elements = Elements(engine.dialect.name)

    def page(
        self,
        library: str,
        *,
        where: Sequence[tuple[str, str]] = (),
        external_id: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Reference]:
        """At most ``limit`` references in order of id, those after an id; raises NotFound ``unknown_library``.

        ``where`` holds label kinds or attributes with a value: the same name means or, different names and. Raises
        BadInput ``unknown_filter`` for other names.
        """
        with Session(self._engine) as session, session.begin():
            in_library = ReferenceRow.library_id == library_row(session, library).id
            refuse_unknown_filters(
                (name for name, _ in where), lambda name: self._is_attribute(session, name, in_library)
            )
            found = select(ReferenceRow).where(in_library, *self._conditions(where))
            if external_id is not None:
                found = found.where(_equal(ReferenceRow.external_id, external_id))
            if after is not None:
                found = found.where(ReferenceRow.id > _storable(after))
            rows = session.scalars(found.order_by(ReferenceRow.id).limit(limit))
            return [reference_of(row, library) for row in rows]

    @contextmanager
    def view(self, library: str) -> Iterator[LibraryView]:
        """A library as one transaction sees it, which ends with the block; raises NotFound ``unknown_library``."""
        with Session(self._engine) as session, session.begin():
            yield LibraryView(session, library_row(session, library))

    def checksums(self, library: str) -> dict[str, str]:
        """Id -> sha256 (hex) of the file of every reference; raises NotFound ``unknown_library``."""
        with Session(self._engine) as session, session.begin():
            rows = session.execute(
                select(ReferenceRow.id, ReferenceRow.sha256).where(
                    ReferenceRow.library_id == library_row(session, library).id
                )
            )
            return {row.id: row.sha256 for row in rows}

    def _conditions(self, where: Iterable[tuple[str, str]]) -> list[ColumnElement[bool]]:
        by_name: defaultdict[str, list[str]] = defaultdict(list)
        for name, value in where:
            by_name[name].append(value)
        return [or_(*(self._condition(name, value) for value in values)) for name, values in by_name.items()]

    def _condition(self, name: str, value: str) -> ColumnElement[bool]:
        if name in ONE_LABEL:
            return _equal(getattr(ReferenceRow, name), value)
        if name in MANY_LABELS:
            labels = self._elements.of_list(getattr(ReferenceRow, name))
            return select(1).select_from(labels).where(_equal(labels.c.value, value)).exists()
        pairs = self._elements.of_object(ReferenceRow.attributes)
        match = and_(_equal(pairs.c.key, name), _equal(pairs.c.value, value))
        return select(1).select_from(pairs).where(match).exists()

    def _is_attribute(self, session: Session, name: str, in_library: ColumnElement[bool]) -> bool:
        """Whether any reference of a library has an attribute of that name."""
        pairs = self._elements.of_object(ReferenceRow.attributes)
        one = select(1).select_from(pairs).where(_equal(pairs.c.key, name)).exists()
        return session.scalar(select(ReferenceRow.id).where(in_library, one).limit(1)) is not None


def _storable(value: str) -> str:
    """The value without what no database text can hold: zeros and halves of characters."""
    return value.replace("\0", "").encode("utf-8", "ignore").decode()


def _equal(column: ColumnElement[str] | InstrumentedAttribute[str | None], value: str) -> ColumnElement[bool]:
    return column == value if _storable(value) == value else false()
