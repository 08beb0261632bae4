"""References as Qdrant's points, and what a query may see as Qdrant's filters."""

from collections.abc import Sequence

from qdrant_client import models

from app.domain import LABEL_KINDS
from app.indexes.base import Sight
from app.indexes.qdrant_collection import LABELS, VERSION
from app.indexes.qdrant_points import Points


def structs(points: Points, start: int, stop: int) -> list[models.PointStruct]:
    """Some of the points, as they are sent.

    Their payload holds what filters ask for and nothing else: no patient, since a search names the references that
    it leaves out.
    """
    vectors = points.vectors[start:stop].tolist()
    return [
        models.PointStruct(id=points.ids[row], vector=vector, payload=_payload(points, row))
        for row, vector in enumerate(vectors, start=start)
    ]


def in_words(sight: Sight) -> models.Filter | None:
    """The filter of a sight: of each kind one of its values, and none of some references."""
    must: list[models.Condition] = [
        models.FieldCondition(key=LABELS, match=models.MatchAny(any=[_text(kind, value) for value in values]))
        for kind, values in sight.where
    ]
    must_not: list[models.Condition] = [models.HasIdCondition(has_id=sorted(sight.without))] if sight.without else []
    return models.Filter(must=must, must_not=must_not) if must or must_not else None


def not_after(version: int) -> models.Filter:
    """Only points that nobody changed who knew more of the library than its given version."""
    return models.Filter(must_not=[models.FieldCondition(key=VERSION, range=models.Range(gt=version))])


def just_these(ids: Sequence[str]) -> models.Filter:
    """Some points, whatever their version."""
    return models.Filter(must=[models.HasIdCondition(has_id=list(ids))])


def of_these(ids: Sequence[str], version: int) -> models.Filter:
    """Some points, without those that were changed after a version."""
    return models.Filter(must=[models.HasIdCondition(has_id=list(ids))], must_not=not_after(version).must_not)


def _payload(points: Points, row: int) -> dict[str, object]:
    labels, attributes = points.labels[row], points.attributes[row]
    texts = [_text(kind, value) for kind in LABEL_KINDS for value in labels.values(kind)]
    texts += [_text(name, value) for name, value in attributes.items()]
    return {LABELS: texts, VERSION: points.versions[row]}


def _text(kind: str, value: str) -> str:
    return f"{kind}:{value}"
