"""A ground without some labels: what a figure of a kind shall not be about."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from app.domain import Labels
from app.errors import BadInput
from app.evaluation.ground import Ground
from app.search.lookup import Lookup


def without_labels(ground: Ground, kind: str, labels: Collection[str]) -> Ground:
    """The same references, not annotated with some labels of a kind; groups and other kinds stay.

    So a source of one class (``head circumference plane``) can count for its group and not be found by its scanner.
    Raises BadInput ``unknown_label`` for one that nobody carries.
    """
    unknown = sorted(set(labels) - set(ground.carriers(kind)))
    if unknown:
        raise BadInput(
            "unknown_label",
            f"no reference carries {kind} {', '.join(map(repr, unknown))}",
            hint=f"labels of the kind are: {', '.join(ground.carriers(kind)) or 'none'}",
        )
    references = [replace(one, labels=_without(one.labels, kind, labels)) for one in ground.references]
    return replace(ground, references=references, rows_with=Lookup.of(one.conditions() for one in references))


def _without(labels: Labels, kind: str, left_out: Collection[str]) -> Labels:
    kept = tuple(value for value in labels.values(kind) if value not in left_out)
    single = not isinstance(getattr(labels, kind), tuple)
    return replace(labels, **{kind: (kept[0] if kept else None) if single else kept})  # type: ignore[arg-type]
