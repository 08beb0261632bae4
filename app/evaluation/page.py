"""A report as one HTML file that needs nothing else: no network, no fonts, and it can be read without its script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.errors import Misconfigured
from app.evaluation import plots
from app.evaluation.columns import titled
from app.evaluation.drawing import Drawing
from app.evaluation.galleries import shown_galleries
from app.evaluation.map2d import SIZE, Map, map_of
from app.evaluation.pair_distances import pair_distances
from app.evaluation.patient_figures import KindFigures
from app.evaluation.protocol import KINDS, Protocol, with_patients
from app.evaluation.report import Report
from app.evaluation.report_files import shown
from app.evaluation.roles import name_of
from app.evaluation.shared_labels import confusion_of
from app.evaluation.tables import Cell, Table
from app.evaluation.thumbnails import ReadFrame, data_uri
from app.version import PURPOSE, VERSION

_TEMPLATES = Path(__file__).parent / "templates"
_MAP_SIDE = 112
_MAP_QUALITY = 70
_WIDE = 12  # columns from which on a table of few rows is easier to read turned
_FEW = 8


@dataclass(frozen=True, slots=True)
class ShownTable:
    """A table as it is printed: ``numbers`` says of each column whether it is set flush right."""

    key: str
    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[bool]
    formula: str
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class KindPart:
    """What the page says of one label kind: the main figures, and plots (none where there is one class only)."""

    kind: str
    title: str
    table: ShownTable
    drawings: Sequence[Drawing]


def render_page(report: Report, frame: ReadFrame) -> str:
    """The page; ``frame`` gives the stored frame of a row, None where pictures are not wanted.

    The same report gives the same bytes. Raises Misconfigured ``extra_missing`` where Jinja, matplotlib or
    scikit-learn is not installed.
    """
    try:
        import jinja2
    except ModuleNotFoundError:
        raise Misconfigured(
            "extra_missing", "the page of a report needs Jinja", hint="pip install 'sonoseek[evaluation]'"
        ) from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (_TEMPLATES / "report.js").read_text(encoding="utf-8").strip()
    chart = _map(report)
    return environment.get_template("report.html").render(
        report=report,
        info=report.ground.info,
        purpose=PURPOSE,
        version=VERSION,
        main=report.figures.settings.protocol.value,
        kinds=[_kind_part(report, kind) for kind in report.figures.kinds],
        drawings=_captioned(report, _common_drawings(report)),
        map=chart,
        map_size=SIZE,
        thumbnails=_thumbnails(chart, frame),
        galleries=shown_galleries(report.ground, report.galleries, frame),
        sections=[(section, [_shown_table(table) for table in section.tables]) for section in report.sections],
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _kind_part(report: Report, kind: str) -> KindPart:
    figures = _figures(report, kind)
    glance = _shown_table(_glance(report, kind, figures))
    if len(figures[0].classes) == 1:
        return KindPart(kind, titled(kind), glance, ())
    curves = [one.index_size[kind] for one in report.figures.contestants if kind in one.index_size]
    drawings = [plots.overview(kind, figures), plots.precision_per_class(kind, figures)]
    drawings += [one for one in [plots.lift_per_class(kind, figures)] if one is not None]
    drawings.append(plots.precision_against_size(kind, figures))
    if curves:
        drawings.append(plots.index_size(kind, curves))
    return KindPart(kind, titled(kind), glance, _captioned(report, drawings))


def _captioned(report: Report, drawings: Sequence[Drawing]) -> list[Drawing]:
    return [replace(one, caption=_about_patients(report, one.caption)) for one in drawings]


def _about_patients(report: Report, caption: str) -> str:
    return with_patients(report.ground, report.figures.settings.protocol, caption)


def _figures(report: Report, kind: str, protocol: Protocol | None = None) -> list[KindFigures]:
    wanted = protocol or report.figures.settings.protocol
    return [one.figures[wanted][kind] for one in report.figures.contestants]


def _glance(report: Report, kind: str, figures: Sequence[KindFigures]) -> Table:
    """The figures that decide, with the intervals that can be trusted beside those that are usual."""
    settings, coverage = report.figures.settings, figures[0].coverage
    leaks = settings.protocol is Protocol.PATIENT
    paper = _figures(report, kind, Protocol.PAPER) if leaks else figures
    rows: list[list[Cell]] = []
    for one, theirs, contestant in zip(figures, paper, report.figures.contestants, strict=True):
        row: list[Cell] = [
            one.contestant,
            one.p_at_10.micro,
            _interval(one.both_roles.low, one.both_roles.high),
            _interval(one.p_at_10.low, one.p_at_10.high),
            one.chance.micro,
            one.lift,
            one.p_at_10.macro,
            _interval(one.macro_both_roles.low, one.macro_both_roles.high),
        ]
        rows.append([*row, theirs.p_at_10.micro, contestant.leakage[kind].own_same.value] if leaks else row)
    caption = (
        f"{coverage.annotated} of {coverage.images} images carry a label, of {coverage.classes} classes and "
        f"{coverage.patients} patients; {coverage.trials} pairs of a query and a label were judged. Macro figures are "
        f"over the {coverage.macro_classes} classes of at least {figures[0].min_images} images."
        + ("" if coverage.classes > 1 else " There is one class only, so there is nothing to tell apart.")
    )
    columns = (
        "encoder",
        "P@10",
        "95 %, both roles",
        "95 %, BCa",
        "chance",
        "lift",
        "macro P@10",
        "macro 95 %, both roles",
    )
    more = (
        " Paper: P@10 where a query sees its own patient too; own patient: how many of its ten are then pictures of "
        "its own patient with the same label."
    )
    return Table(
        key=f"glance-{kind}",
        title=f"{titled(kind)}: the figures that decide",
        caption=_about_patients(report, caption),
        columns=(*columns, "paper P@10", "own patient in 10") if leaks else columns,
        rows=rows,
        formula="P@10: neighbours among ten that carry the query's label / 10; lift: found / expected by chance "
        "without the query itself and what it may not see",
        notes=(
            "Both roles: every patient is left out in turn, as query and in the gallery; trust this one. BCa: "
            "bootstrap over the queries' patients, conditional on the gallery and too narrow."
            + (more if leaks else ""),
        ),
    )


def _common_drawings(report: Report) -> list[Drawing]:
    """Confusion of the groups under the best encoder, and distances under all."""
    kinds = report.figures.kinds
    grouped = next((kind for kind in ("organ_group", *KINDS) if kind in kinds and _classes(report, kind) > 1), None)
    drawings = []
    if grouped is not None:
        ranked = report.rankings[_best(report, grouped)][report.figures.settings.protocol][grouped]
        drawings.append(plots.confusion(confusion_of(report.ground, ranked)))
    telling = next((kind for kind in kinds if _classes(report, kind) > 1), None)
    if telling is not None and report.contestants:
        main, seed = report.figures.settings.protocol, report.figures.settings.seed
        pairs = zip(report.contestants, report.rankings, strict=True)
        found = [
            pair_distances(report.ground, one, ranked[main][telling], report.natural.get(one.name), seed=seed)
            for one, ranked in pairs
        ]
        drawings.append(plots.distances(telling, found))
    return drawings


def _classes(report: Report, kind: str) -> int:
    return len(_figures(report, kind)[0].classes)


def _best(report: Report, kind: str) -> int:
    """Which contestant has the highest P@10, the first among equals."""
    found = [one.p_at_10.micro or 0.0 for one in _figures(report, kind)]
    return found.index(max(found))


def _map(report: Report) -> Map | None:
    if not report.contestants:
        return None
    ground = report.ground
    kind = next((kind for kind in report.figures.kinds if _classes(report, kind) > 1), report.figures.kinds[0])
    labels = [ground.references[row].labels for row in range(len(ground))]
    words = ["; ".join(value for kind in KINDS for value in one.values(kind)) or "not annotated" for one in labels]
    said = [f"{name_of(ground, row)}: {text}" for row, text in enumerate(words)]
    best = report.contestants[_best(report, kind)]
    return map_of(ground, best, kind, said, seed=report.figures.settings.seed)


def _thumbnails(chart: Map | None, frame: ReadFrame) -> dict[str, str]:
    """Row -> data URI, for the points of the map."""
    frames = {} if chart is None else {point.row: frame(point.row) for point in chart.points}
    return {str(row): data_uri(pixels, _MAP_SIDE, _MAP_QUALITY) for row, pixels in frames.items() if pixels is not None}


def _interval(low: float | None, high: float | None) -> str | None:
    return None if low is None or high is None else f"{shown(low)}\u00a0to\u00a0{shown(high)}"


def _shown_table(table: Table) -> ShownTable:
    """With numbers set; a table of many columns and few rows is turned, first column on top."""
    rows = [[shown(cell) for cell in row] for row in table.rows]
    columns: list[str] = list(table.columns)
    numbers = [_are_numbers([row[place] for row in table.rows]) for place in range(len(columns))]
    if len(columns) > _WIDE and 0 < len(rows) <= _FEW:
        turned = [list(cells) for cells in zip(columns, *rows, strict=True)]
        columns, rows, numbers = turned[0], turned[1:], [False] + [True] * len(table.rows)
    return ShownTable(table.key, table.title, table.caption, columns, rows, numbers, table.formula, table.notes)


def _are_numbers(cells: Sequence[Cell]) -> bool:
    return any(isinstance(cell, int | float) for cell in cells)
