"""How often a label occurs among the neighbours, against chance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain import LABEL_KINDS
from app.indexes.base import Mask
from app.search.snapshot import Snapshot

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
    snapshot: Snapshot, rows: NDArray[np.int64], visible: Mask, *, by_patient: bool
) -> list[LabelEvidence]:
    """The evidence of every label among the neighbours' rows, strongest first within a kind.

    ``expected`` = k x (visible references that carry the label) / (visible references), DESIGN section 5;
    ``by_patient`` counts patients instead of references, as ``max_per_patient`` asks.
    """
    chosen = set(rows.tolist())
    total = _count(snapshot, np.flatnonzero(visible), by_patient)
    evidence = []
    for (kind, label), carriers in snapshot.rows_with.items():
        found = [row for row in carriers.tolist() if row in chosen] if kind in LABEL_KINDS else []
        if not found:
            continue
        share = _count(snapshot, carriers[visible[carriers]], by_patient) / total
        expected = len(rows) * share
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


def _count(snapshot: Snapshot, rows: NDArray[np.int64], by_patient: bool) -> int:
    return len(np.unique(snapshot.patients[rows])) if by_patient else len(rows)


def _strength(evidence: LabelEvidence) -> tuple[int, int, float, str]:
    return LABEL_KINDS.index(evidence.kind), -evidence.found, -evidence.lift, evidence.label
