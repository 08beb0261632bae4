"""What report.json looks like, as a JSON Schema (draft 2020-12).

``python -m app.evaluation.report_schema > app/evaluation/report.schema.json`` renews the committed file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.evaluation.controls import ControlFigures
from app.evaluation.hubness import Hubness
from app.evaluation.index_size import IndexSizeCurve
from app.evaluation.leakage import Leakage
from app.evaluation.overlap import Overlap
from app.evaluation.paper_tables import PaperFigures
from app.evaluation.patient_figures import KindFigures
from app.evaluation.permutation import PermutationFigures
from app.evaluation.significance import PairedDifference
from app.evaluation.subgroups import AttributeLeakage, SubgroupFigures
from app.library.reference import LibraryInfo


@dataclass(frozen=True, slots=True)
class PaperKindFigures(KindFigures):
    """The figures of a kind under the paper's protocol, and as the paper's own tables count them."""

    as_the_paper: PaperFigures


class EncoderFigures(BaseModel):
    """What is said of one encoder: label kind -> figures. ``patient`` is not there under the paper's protocol alone."""

    model_config = ConfigDict(extra="forbid")

    digest: str
    patient: dict[str, KindFigures] = Field(default={})
    paper: dict[str, PaperKindFigures]
    leakage: dict[str, Leakage]
    hubness: dict[str, Hubness]
    index_size: dict[str, IndexSizeCurve]
    subgroups: dict[str, list[SubgroupFigures]]
    attribute_leakage: dict[str, list[AttributeLeakage]]
    permutations: dict[str, list[PermutationFigures]]


class ReportBody(BaseModel):
    """The whole of report.json."""

    model_config = ConfigDict(extra="forbid", title="SonoSeek evaluation report")

    schema_file: str = Field(alias="$schema", description="The schema's file beside the report.")
    form: str = Field(alias="schema", description="Name and version of this form.")
    purpose: str
    made_at: str = Field(description="UTC, ISO 8601.")
    library: LibraryInfo
    warnings: list[str] = Field(description="What must be read before the figures.")
    summary: list[str]
    encoders: dict[str, EncoderFigures]
    controls: list[ControlFigures]
    differences: list[PairedDifference]
    overlaps: list[Overlap]
    skipped: dict[str, str] = Field(description="Label kind -> why it was not judged.")
    provenance: dict[str, str]
    times_s: dict[str, float]


def report_schema() -> dict[str, Any]:
    """The schema of report.json."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:sonoseek:report:1"}
    return head | ReportBody.model_json_schema()


if __name__ == "__main__":
    print(json.dumps(report_schema(), indent=1))
