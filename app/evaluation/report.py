"""Everything that an evaluation has to say, before it becomes files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.domain import Vectors
from app.evaluation.controls import ControlFigures
from app.evaluation.ground import Contestant, Ground
from app.evaluation.one_query import Gallery
from app.evaluation.overlap import Overlap
from app.evaluation.paper_tables import PaperFigures
from app.evaluation.patient_report import PatientFigures, Rankings
from app.evaluation.tables import Table


@dataclass(frozen=True, slots=True)
class Section:
    """Tables that belong together under a heading."""

    title: str
    text: str
    tables: Sequence[Table]


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of some encoders over a library.

    ``summary`` are the sentences on top, ``warnings`` what must be read before them. ``rankings`` are by contestant
    in the order of ``figures``; ``contestants`` hold the vectors from which the page draws its map and distances;
    ``controls`` are empty where they were not asked for, ``natural`` are vectors of photographs by contestant.
    ``times`` (seconds by stage) and ``made_at`` are all that differs between two runs.
    """

    ground: Ground
    figures: PatientFigures
    paper: Mapping[str, Mapping[str, PaperFigures]]
    rankings: Sequence[Rankings]
    overlaps: Sequence[Overlap]
    summary: Sequence[str]
    warnings: Sequence[str]
    sections: Sequence[Section]
    galleries: Sequence[Gallery]
    queries: Table
    provenance: Mapping[str, str]
    times: Mapping[str, float]
    made_at: str
    contestants: Sequence[Contestant] = ()
    controls: Sequence[ControlFigures] = ()
    natural: Mapping[str, Vectors] = field(default_factory=dict)

    @property
    def tables(self) -> list[Table]:
        """All tables in their order."""
        return [table for section in self.sections for table in section.tables]
