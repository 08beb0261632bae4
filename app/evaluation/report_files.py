"""A report as files: JSON, Markdown, CSV per table, one row per query, and the page."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from app.evaluation.report import Report
from app.evaluation.tables import Cell, Table
from app.version import PURPOSE

SCHEMA = "sonoseek-report/1"
SCHEMA_FILE = Path(__file__).parent / "report.schema.json"
"""Made by report_schema.py; it lies beside every report."""


def write_report(report: Report, folder: Path, page: str | None) -> None:
    """Write ``report.json`` with its schema, ``report.md``, ``tables/*.csv``, ``queries.csv``, and the page if any."""
    tables = folder / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    for former in tables.glob("*.csv"):
        former.unlink()  # of another protocol, or with controls: they would be read beside this report
    text = json.dumps(report_json(report), indent=1, allow_nan=False, ensure_ascii=False)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8")
    (folder / SCHEMA_FILE.name).write_bytes(SCHEMA_FILE.read_bytes())
    (folder / "report.md").write_text(markdown(report), encoding="utf-8")
    for table in report.tables:
        _write_csv(tables / f"{table.key}.csv", table)
    _write_csv(folder / "queries.csv", report.queries)
    if page is not None:
        (folder / "report.html").write_text(page, encoding="utf-8")


def report_json(report: Report) -> dict[str, Any]:
    """The figures for programs: ``encoders.<name>.<protocol>.<kind>``, see docs/evaluation.md."""
    encoders: dict[str, Any] = {}
    for one in report.figures.contestants:
        by_protocol = {
            protocol.value: {kind: asdict(found) for kind, found in kinds.items()}
            for protocol, kinds in one.figures.items()
        }
        for kind, found in report.paper[one.name].items():
            by_protocol["paper"][kind]["as_the_paper"] = asdict(found)
        checks = ("leakage", "hubness", "index_size", "subgroups", "attribute_leakage", "permutations")
        encoders[one.name] = {
            "digest": one.digest,
            **by_protocol,
            **{name: _plain(getattr(one, name)) for name in checks},
        }
    return {
        "$schema": SCHEMA_FILE.name,
        "schema": SCHEMA,
        "purpose": PURPOSE,
        "made_at": report.made_at,
        "library": asdict(report.ground.info),
        "warnings": list(report.warnings),
        "summary": list(report.summary),
        "encoders": encoders,
        "controls": [asdict(one) for one in report.controls],
        "differences": [asdict(one) for one in report.figures.differences],
        "overlaps": [asdict(one) for one in report.overlaps],
        "skipped": dict(report.figures.skipped),
        "provenance": dict(report.provenance),
        "times_s": dict(report.times),
    }


def markdown(report: Report) -> str:
    """The whole report as text with tables."""
    info = report.ground.info
    parts = [f"# {info.name}, version {info.version}: how well its labels are found", f"> {PURPOSE}"]
    parts += [f"> **{warning}**" for warning in report.warnings]
    parts.append("\n".join(f"- {sentence}" for sentence in report.summary))
    for section in report.sections:
        parts += [f"## {section.title}", section.text]
        parts += [_markdown_table(table) for table in section.tables]
    parts += ["## Where this comes from", "\n".join(f"- {name}: {text}" for name, text in report.provenance.items())]
    return "\n\n".join(parts) + "\n"


def shown(cell: Cell) -> str:
    """A cell for people: three digits behind the point, a dash for nothing."""
    if cell is None:
        return "–"
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def _markdown_table(table: Table) -> str:
    lines = [f"### {table.title}", "", table.caption, "", _line(table.columns), _line(["---"] * len(table.columns))]
    lines += [_line([shown(cell) for cell in row]) for row in table.rows]
    lines += ["", f"*{table.formula}.*"] if table.formula else []
    lines += [line for note in table.notes for line in ("", note)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _write_csv(path: Path, table: Table) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table.columns)
        writer.writerows(table.rows)


def _plain(value: object) -> object:
    """Dataclasses within mappings and lists as plain data."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value
