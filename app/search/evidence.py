"""How often a label occurs among the neighbours, against chance."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain import LABEL_KINDS
from app.indexes.base import Mask
from app.search.snapshot import Condition, Snapshot

LOW_SUPPORT = 20
"""Labels with fewer references than this are marked (the paper: 20-30 images a class are needed)."""


@dataclass(frozen=True, slots=True)
class LabelEvidence:
    """A label among the neighbours: ``lift`` = found / expected by chance; ``patients`` it comes from."""

    kind: str
    label: str
    found: int
    patients: int
    expected: float
    lift: float
    low_support: bool


def weigh_evidence(
    snapshot: Snapshot, rows: NDArray[np.int64], visible: Mask, *, max_per_patient: int | None = None
) -> list[LabelEvidence]:
    """The evidence of every label among the neighbours' rows, strongest first within a kind.

    ``expected`` = k x (share of the label among what could be seen). Without ``max_per_patient`` that is
    the share of visible references (DESIGN section 5). With it a patient counts for at most that many
    references, with the share of his own that carry the label: a patient who was scanned from head to toe
    would otherwise be expected under every label at once.
    """
    weights = _weights(snapshot, visible, max_per_patient)
    evidence = []
    for (kind, label), found in _carriers_among(snapshot, rows).items():
        carriers = snapshot.rows_with[kind, label]
        expected = len(rows) * float(weights[carriers].sum() / weights.sum())
        evidence.append(
            LabelEvidence(
                kind=kind,
                label=label,
                found=len(found),
                patients=len(set(snapshot.patients[found].tolist())),
                expected=expected,
                lift=len(found) / expected,
                low_support=len(carriers) < LOW_SUPPORT,
            )
        )
    return sorted(evidence, key=_strength)


def _carriers_among(snapshot: Snapshot, rows: NDArray[np.int64]) -> dict[Condition, list[int]]:
    """The labels of some rows, each with those of them that carry it."""
    found: dict[Condition, list[int]] = defaultdict(list)
    for row in rows.tolist():
        labels = snapshot.references[row].labels
        for kind in LABEL_KINDS:
            for label in labels.values(kind):
                found[kind, label].append(row)
    return found


def _weights(snapshot: Snapshot, visible: Mask, cap: int | None) -> NDArray[np.float64]:
    """How much each row counts: 1 where it is visible, less where its patient has more visible rows than the cap."""
    weights = visible.astype(np.float64)
    if cap is not None:
        of_patient = np.bincount(snapshot.patients, weights=weights)[snapshot.patients]
        weights *= np.minimum(1.0, cap / np.maximum(of_patient, 1.0))
    return weights


def _strength(evidence: LabelEvidence) -> tuple[int, int, float, str]:
    return LABEL_KINDS.index(evidence.kind), -evidence.found, -evidence.lift, evidence.label
