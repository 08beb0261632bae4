"""What is in a library: pages of references, counts of labels."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Engine, and_, false, func, or_, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.selectable import TableValuedAlias

from app.domain import LABEL_KINDS
from app.library.filters import refuse_unknown_filters
from app.library.queries import library_row
from app.library.reference import Reference
from app.library.rows import MANY_LABELS, ONE_LABEL, reference_of
from app.library.tables import ReferenceRow


class Listing:
    """Reads pages and counts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._elements = _Elements(engine.dialect.name)

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

    def counts(self, library: str) -> dict[str, dict[str, int]]:
        """Label kind -> label -> number of references, the most frequent first; NotFound ``unknown_library``."""
        with Session(self._engine) as session, session.begin():
            in_library = ReferenceRow.library_id == library_row(session, library).id
            return {kind: self._count(session, kind, in_library) for kind in LABEL_KINDS}

    def unlabelled(self, library: str) -> int:
        """How many references carry no label of any kind; raises NotFound ``unknown_library``."""
        with Session(self._engine) as session, session.begin():
            nothing = [getattr(ReferenceRow, kind).is_(None) for kind in ONE_LABEL]
            nothing += [func.json_array_length(getattr(ReferenceRow, kind)) == 0 for kind in MANY_LABELS]
            in_library = ReferenceRow.library_id == library_row(session, library).id
            return session.scalar(select(func.count()).select_from(ReferenceRow).where(in_library, *nothing)) or 0

    def fingerprints(self, library: str) -> list[tuple[str, str, str | None]]:
        """(id, perceptual hash, patient key) of every reference, in order of id; NotFound ``unknown_library``."""
        with Session(self._engine) as session, session.begin():
            rows = session.execute(
                select(ReferenceRow.id, ReferenceRow.fingerprint, ReferenceRow.patient_key)
                .where(ReferenceRow.library_id == library_row(session, library).id)
                .order_by(ReferenceRow.id)
            )
            return [(key, fingerprint, patient) for key, fingerprint, patient in rows]

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

    def _count(self, session: Session, kind: str, in_library: ColumnElement[bool]) -> dict[str, int]:
        column = getattr(ReferenceRow, kind)
        if kind in ONE_LABEL:
            counted = select(column, func.count()).where(in_library, column.is_not(None)).group_by(column)
        else:
            labels = self._elements.of_list(column)
            counted = (
                select(labels.c.value, func.count(func.distinct(ReferenceRow.id)))
                .select_from(ReferenceRow)
                .join(labels, true())
                .where(in_library)
                .group_by(labels.c.value)
            )
        found = [(label, count) for label, count in session.execute(counted)]
        return dict(sorted(found, key=lambda pair: (-pair[1], pair[0])))


class _Elements:
    """The elements of JSON columns as tables, in the words of each database."""

    def __init__(self, dialect: str) -> None:
        self._is_sqlite = dialect == "sqlite"

    def of_list(self, column: InstrumentedAttribute[list[str]]) -> TableValuedAlias:
        """A table with the column ``value``."""
        function = func.json_each if self._is_sqlite else func.json_array_elements_text
        return function(column).table_valued("value")

    def of_object(self, column: InstrumentedAttribute[dict[str, Any]]) -> TableValuedAlias:
        """A table with the columns ``key`` and ``value``."""
        function = func.json_each if self._is_sqlite else func.json_each_text
        return function(column).table_valued("key", "value")


def _storable(value: str) -> str:
    """The value without what no database text can hold: zeros and halves of characters."""
    return value.replace("\0", "").encode("utf-8", "ignore").decode()


def _equal(column: ColumnElement[str] | InstrumentedAttribute[str | None], value: str) -> ColumnElement[bool]:
    return column == value if _storable(value) == value else false()
