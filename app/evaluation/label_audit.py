"""What the labels of a library lack: small classes, missing labels and groups, patients and classes that are alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.domain import LABEL_KINDS, Taxonomy
from app.evaluation.ground import Ground

LEAST_IMAGES = 20
"""The paper: so many images a class are needed before its figures mean something."""

JUDGED_KINDS = ("organ", "diagnoses")
"""Kinds with groups in a taxonomy, whose classes exclude each other."""


@dataclass(frozen=True, slots=True)
class SmallClass:
    """A label that fewer than 20 references carry."""

    kind: str
    label: str
    images: int


@dataclass(frozen=True, slots=True)
class OnePatientClass:
    """A label whose references are all of one patient: without that patient nothing of it can be found."""

    kind: str
    label: str
    images: int


@dataclass(frozen=True, slots=True)
class SimilarLabels:
    """Labels of one kind that differ only in case, spaces or punctuation: probably one class, written twice."""

    kind: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PatientSpread:
    """How the patients of a library spread over the classes of a kind.

    ``patients`` have a labelled reference of the kind, ``one_image`` of them just one, ``one_class`` several that all
    carry the same; ``without`` is the number of references that have no patient.
    """

    kind: str
    patients: int
    one_image: int
    one_class: int
    without: int


@dataclass(frozen=True, slots=True)
class LabelAudit:
    """What was found about the labels. ``annotated`` counts references by kind, ``ungrouped`` labels by kind."""

    annotated: Mapping[str, int]
    unlabelled: tuple[int, ...]
    small: tuple[SmallClass, ...]
    ungrouped: Mapping[str, tuple[str, ...]]
    similar: tuple[SimilarLabels, ...]
    one_patient: tuple[OnePatientClass, ...]
    spread: tuple[PatientSpread, ...]


def audit_labels(ground: Ground, taxonomy: Taxonomy) -> LabelAudit:
    """Look at the labels of every reference; ``unlabelled`` are rows that carry none of any kind."""
    annotated = {kind: int(ground.annotated(kind).sum()) for kind in LABEL_KINDS}
    present = [kind for kind in LABEL_KINDS if annotated[kind]]
    nothing = [row for row, one in enumerate(ground.references) if not any(one.labels.values(k) for k in LABEL_KINDS)]
    return LabelAudit(
        annotated=annotated,
        unlabelled=tuple(nothing),
        small=tuple(
            SmallClass(kind, label, len(rows))
            for kind in present
            for label, rows in ground.carriers(kind).items()
            if len(rows) < LEAST_IMAGES
        ),
        ungrouped={
            kind: tuple(label for label in ground.carriers(kind) if label not in groups)
            for kind, groups in (("organ", taxonomy.organs), ("diagnoses", taxonomy.diagnoses))
        },
        similar=tuple(alike for kind in present for alike in _similar(kind, ground.carriers(kind))),
        one_patient=tuple(_one_patient_classes(ground)),
        spread=tuple(_spread(ground, kind) for kind in JUDGED_KINDS if annotated[kind]),
    )


def _similar(kind: str, labels: Iterable[str]) -> list[SimilarLabels]:
    by_letters: defaultdict[str, list[str]] = defaultdict(list)
    for label in labels:
        by_letters["".join(filter(str.isalnum, label.casefold()))].append(label)
    return [SimilarLabels(kind, tuple(same)) for same in by_letters.values() if len(same) > 1]


def _one_patient_classes(ground: Ground) -> Iterable[OnePatientClass]:
    for kind in JUDGED_KINDS:
        for label, rows in ground.carriers(kind).items():
            keys = {ground.references[row].patient_key for row in rows}
            if len(rows) > 1 and len(keys) == 1 and None not in keys:
                yield OnePatientClass(kind, label, len(rows))


def _spread(ground: Ground, kind: str) -> PatientSpread:
    seen: defaultdict[str, list[tuple[str, ...]]] = defaultdict(list)
    without = 0
    for one in ground.references:
        if one.patient_key is None:
            without += 1
        elif labels := one.labels.values(kind):
            seen[one.patient_key].append(tuple(sorted(labels)))
    several = [labels for labels in seen.values() if len(labels) > 1]
    same = sum(len(set(labels)) == 1 for labels in several)
    return PatientSpread(kind, len(seen), len(seen) - len(several), same, without)
