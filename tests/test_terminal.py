"""What the tables on a terminal show, at the widths that terminals have."""

from datetime import UTC, datetime

import pytest

from app.api.schemas.base import DreamSimBody, EncoderBody, LabelsBody
from app.api.schemas.libraries import LibraryBody
from app.api.schemas.search import IndexBody, NeighbourBody, QueryBody, ScopeBody, SearchBody
from app.security.access_log import AccessLine
from app.terminal.console import out
from app.terminal.libraries import print_access
from app.terminal.search import print_search

LABELS = {"organ": "trans-cerebellar", "organ_group": "fetal head", "plane": "axial"}
DIAGNOSES = ["ventriculomegaly", "agenesis of the corpus callosum"]
ID = "3f2504e0-4f89-51d3-9a0c-0305e82c3301"


def answer(*, dreamsim=True, diagnoses=()):
    scores = {"histogram": 0.87, "mse": 1213.4, "dreamsim": None}
    if dreamsim:
        scores["dreamsim"] = DreamSimBody(distance=0.0912, similarity=0.9088)
    labels = LabelsBody(**LABELS, diagnoses=list(diagnoses), diagnosis_groups=[], findings=[])
    found = NeighbourBody(
        rank=1, reference_id=ID, external_id=None, distance=0.31, similarity=0.95,
        labels=labels, attributes={}, scores=scores, image="/x",
    )  # fmt: skip
    query = QueryBody(
        sha256="", format="png", width=640, height=480, frame=None, region=None, region_source="none",
        reference_id=None, patient_excluded=False,
    )  # fmt: skip
    return SearchBody(
        request_id="", query=query, library=LibraryBody(name="fetal", version=1, size=1),
        encoder=EncoderBody(name="resnet-us", digest="", dim=256, precision="fp32"), target=None,
        index=IndexBody(engine="exact", exact=True), neighbours=[found, found], evidence=[],
        scope=ScopeBody(verdict="unknown", warnings=[]), unavailable={}, timings_ms={"total": 1.0},
    )  # fmt: skip


@pytest.fixture
def printed(monkeypatch, capsys):
    def lines(body, columns):
        monkeypatch.setattr(out, "_width", columns)  # COLUMNS is read once, where it is set at the start
        print_search(body)
        return capsys.readouterr().out.splitlines()[1:]  # what stands above the table may be longer

    return lines


@pytest.mark.parametrize("columns", [80, 100, 160])
@pytest.mark.parametrize("diagnoses", [(), DIAGNOSES])
def test_the_dreamsim_distance_has_a_column(printed, columns, diagnoses):
    lines = printed(answer(diagnoses=diagnoses), columns)
    assert "dreamsim" in lines[0].split()
    assert lines[1].split()[:3] == ["1", "0.310", "0.091"]
    assert "trans-cerebellar" in lines[1]
    assert all(len(line) <= columns for line in lines)
    assert any("dreamsim: the distance, 0 is the same" in line for line in lines)


def test_a_wide_terminal_shows_all_columns_and_a_narrow_one_says_which_it_leaves_out(printed):
    wide, narrow = (printed(answer(diagnoses=DIAGNOSES), columns) for columns in (160, 80))
    assert wide[0].split() == [
        "rank", "distance", "dreamsim", "histogram", "mse", "organ", "plane", "diagnoses", "reference"
    ]  # fmt: skip
    assert ID in wide[1]
    assert not any("no room" in line for line in wide)
    assert narrow[0].split() == ["rank", "distance", "dreamsim", "mse", "organ", "diagnoses", "reference"]
    assert any("no room for plane, histogram: --json shows all" in line for line in narrow)


def test_without_dreamsim_there_is_no_column_for_it(printed):
    lines = printed(answer(dreamsim=False), 80)
    assert lines[0].split() == ["rank", "distance", "histogram", "mse", "organ", "plane", "reference"]
    assert not any("dreamsim" in line for line in lines)


def test_the_access_log_has_one_line_each_at_any_width(monkeypatch, capsys):
    monkeypatch.setattr(out, "_width", 40)
    at = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
    others = ID.replace("3f25", "4f25"), ID.replace("3f25", "5f25")
    print_access(
        [
            AccessLine(2, at, "key-" + "a" * 24, "reference.add", "a-library-of-a-long-name", (ID, *others), "added"),
            AccessLine(1, at, "local", "patient.erase", None, (), "no_patient_id"),
        ]
    )
    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading.split() == ["time", "actor", "action", "library", "outcome", "objects"]
    assert first.split()[:1] == ["2026-03-01T09:30:00Z"]
    assert first.endswith(",".join((ID, *others)))
    assert second.split()[1:] == ["local", "patient.erase", "-", "no_patient_id", "-"]
