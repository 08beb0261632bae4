"""What holds within a library: an image is in it once, external ids are unique, groups follow from the taxonomy."""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain import LABEL_KINDS, Taxonomy
from app.errors import Conflict
from app.library.reference import NewReference
from app.library.rows import label_columns, labels_of
from app.library.tables import LabelHistoryRow, LibraryRow, ReferenceRow


def refuse_taken(session: Session, library_id: int, ids: Sequence[str], new: Sequence[NewReference]) -> None:
    """Raise Conflict ``external_id_taken`` or ``already_enrolled`` for references that must not be added."""
    externals = [item.external_id for item in new if item.external_id is not None]
    refuse_taken_names(session, library_id, externals)
    if session.scalar(select(ReferenceRow.id).where(ReferenceRow.id.in_(ids))) or len(set(ids)) < len(ids):
        raise Conflict(
            "already_enrolled",
            "the same image is already in this library",
            hint="relabel the reference that is there",
        )


def refuse_taken_names(session: Session, library_id: int, externals: Sequence[str], key: str | None = None) -> None:
    """Raise Conflict ``external_id_taken`` where another reference than ``key`` has one of some external ids."""
    taken = select(ReferenceRow.id).where(
        ReferenceRow.library_id == library_id, ReferenceRow.external_id.in_(externals), ReferenceRow.id != (key or "")
    )
    if session.scalar(taken) is not None or len(set(externals)) < len(externals):
        raise Conflict(
            "external_id_taken",
            "another image of this library already has that external id",
            hint="external ids are unique in a library; choose another",
        )


def regroup(session: Session, library: LibraryRow, old: Taxonomy, taxonomy: Taxonomy, actor: str) -> None:
    """Bring the groups of all references up to date: those that the old taxonomy gave go with it.

    What changes is appended to the history of each reference.
    """
    for row in session.scalars(select(ReferenceRow).where(ReferenceRow.library_id == library.id)):
        labels = labels_of({kind: getattr(row, kind) for kind in LABEL_KINDS})
        renewed = taxonomy.complete(old.without_groups(labels))
        if renewed != labels:
            columns = label_columns(renewed)
            row.organ_group, row.diagnosis_groups = columns["organ_group"], columns["diagnosis_groups"]
            row.version = library.version
            session.add(LabelHistoryRow(reference_id=row.id, actor=actor, labels=asdict(renewed)))
