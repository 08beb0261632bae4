"""A library as one transaction sees it: numbers that fit together."""

from sqlalchemy import func, select, true
from sqlalchemy.orm import Session

from app.domain import LABEL_KINDS, Taxonomy
from app.library.elements import Elements
from app.library.queries import holdings_of
from app.library.reference import Holdings
from app.library.rows import MANY_LABELS, ONE_LABEL
from app.library.tables import LibraryRow, ReferenceRow


class LibraryView:
    """Reads counts of one library. Whatever others write meanwhile, all are of one version."""

    def __init__(self, session: Session, row: LibraryRow) -> None:
        self._session = session
        self._row = row
        self._in_library = ReferenceRow.library_id == row.id

    def holdings(self) -> Holdings:
        """The library with its size and its vectors."""
        return holdings_of(self._session, self._row)

    def taxonomy(self) -> Taxonomy:
        """Its taxonomy."""
        return Taxonomy(**self._row.taxonomy)

    def labels(self) -> dict[str, dict[str, int]]:
        """Label kind -> label -> number of references, the most frequent first."""
        return {kind: self._count(kind) for kind in LABEL_KINDS}

    def unlabelled(self) -> int:
        """How many references carry no label of any kind."""
        nothing = [getattr(ReferenceRow, kind).is_(None) for kind in ONE_LABEL]
        nothing += [func.json_array_length(getattr(ReferenceRow, kind)) == 0 for kind in MANY_LABELS]
        counted = select(func.count()).select_from(ReferenceRow).where(self._in_library, *nothing)
        return self._session.scalar(counted) or 0

    def fingerprints(self) -> list[tuple[str, str]]:
        """(id, perceptual hash) of every reference, in order of id."""
        found = select(ReferenceRow.id, ReferenceRow.fingerprint).where(self._in_library).order_by(ReferenceRow.id)
        return [(key, fingerprint) for key, fingerprint in self._session.execute(found)]

    def _count(self, kind: str) -> dict[str, int]:
        column = getattr(ReferenceRow, kind)
        if kind in ONE_LABEL:
            counted = select(column, func.count()).where(self._in_library, column.is_not(None)).group_by(column)
        else:
            labels = Elements(self._session.get_bind().dialect.name).of_list(column)
            counted = (
                select(labels.c.value, func.count(func.distinct(ReferenceRow.id)))
                .select_from(ReferenceRow)
                .join(labels, true())
                .where(self._in_library)
                .group_by(labels.c.value)
            )
        found = [(label, count) for label, count in self._session.execute(counted)]
        return dict(sorted(found, key=lambda pair: (-pair[1], pair[0])))
