"""Which encoder a library's own evaluation found best for each label kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import Session

from app.errors import Conflict
from app.library.database import writing
from app.library.queries import library_row, locked_library
from app.library.reference import Edition
from app.library.tables import AdoptionRow

TARGETS = ("organ", "organ_group", "diagnoses", "findings")
"""The label kinds for which an encoder can be adopted, and a search can ask."""


@dataclass(frozen=True, slots=True)
class Adoption:
    """The encoder that was best for a label kind, judged at one version of a library.

    ``figure`` is its P@10 over all queries (0..1), the query's own patient left out, with the 95 % interval ``low`` to
    ``high`` over patients (None where there is none) and the precision of random neighbours, ``chance``. ``patients``
    says what stood for a patient (``given`` or ``near-duplicates``), ``others`` the figures of the encoders that it
    was chosen from.
    """

    kind: str
    encoder: str
    digest: str
    figure: float
    low: float | None
    high: float | None
    chance: float | None
    patients: str
    others: Mapping[str, float]
    library_version: int
    adopted_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class Adoptions:
    """Reads and writes what a library has adopted. None of it changes what is found: no version grows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = writing(engine)

    def put(self, library: str, edition: Edition, adopted: Sequence[Adoption]) -> None:
        """Store adoptions in the place of those of the same kinds; other kinds keep theirs.

        ``edition`` is the state that was judged. Raises NotFound ``unknown_library``, or Conflict
        ``library_changed`` where it was deleted and made anew since.
        """
        with Session(self._writing) as session, session.begin():
            row = locked_library(session, library)
            if row.uid != edition.uid or row.version < edition.version:
                raise Conflict(
                    "library_changed",
                    f"the library {library!r} is another one than the one that was judged",
                    hint=f"judge it again: sonoseek evaluate {library} --adopt",
                )
            kinds = [one.kind for one in adopted]
            session.execute(delete(AdoptionRow).where(AdoptionRow.library_id == row.id, AdoptionRow.kind.in_(kinds)))
            session.add_all(_row(row.id, one) for one in adopted)

    def all(self, library: str) -> dict[str, Adoption]:
        """Label kind -> adoption of a library, kinds in alphabetical order; raises NotFound ``unknown_library``."""
        with Session(self._engine) as session, session.begin():
            found = select(AdoptionRow).where(AdoptionRow.library_id == library_row(session, library).id)
            return {row.kind: _adoption(row) for row in session.scalars(found.order_by(AdoptionRow.kind))}


def _row(library_id: int, one: Adoption) -> AdoptionRow:
    return AdoptionRow(
        library_id=library_id,
        kind=one.kind,
        encoder=one.encoder,
        digest=one.digest,
        figure=one.figure,
        low=one.low,
        high=one.high,
        chance=one.chance,
        patients=one.patients,
        others=dict(one.others),
        library_version=one.library_version,
        adopted_at=one.adopted_at.astimezone(UTC).replace(tzinfo=None),
    )


def _adoption(row: AdoptionRow) -> Adoption:
    return Adoption(
        kind=row.kind,
        encoder=row.encoder,
        digest=row.digest,
        figure=row.figure,
        low=row.low,
        high=row.high,
        chance=row.chance,
        patients=row.patients,
        others=row.others,
        library_version=row.library_version,
        adopted_at=row.adopted_at.replace(tzinfo=UTC),
    )
