"""What commands print: tables on a terminal, progress, errors with their hints."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from app.errors import SonoSeekError

if TYPE_CHECKING:  # a command that prints no table must not pay for them
    from app.api.schemas.libraries import LibraryListBody
    from app.api.schemas.search import NeighbourBody, SearchBody, TargetBody
    from app.encoders.listing import ListedModel
    from app.encoders.manifest import EncoderManifest
    from app.search.importer import ImportReport
    from app.security.access_log import AccessLine

# Labels and names are printed as they are: nothing in them is markup, an emoji or a number to colour.
out = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
err = Console(markup=False, emoji=False, highlight=False, soft_wrap=True, stderr=True)

_LINE_EVERY_S = 10.0
_NUMBERS = ("rank", "distance", "dreamsim", "histogram", "mse")
_MODEL_NUMBERS = ("dim", "served", "whole", "MB")
_MODEL_HEADINGS = ("name", "here", *_MODEL_NUMBERS, "in", "licence")
_HEADINGS = (*_NUMBERS, "organ", "plane", "diagnoses", "reference")
_GIVING_WAY = ("plane", "histogram", "mse")
"""Columns of a search that are left out, in this order, where lines are too short."""

_LEAST = {"organ": 24, "plane": 24, "diagnoses": 12, "reference": 12}
"""Characters that columns of text need to be read when they are folded; all others are never folded."""


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A function that is told how many more are done: a bar on a terminal, else a line in ten seconds."""
    if not sys.stderr.isatty():
        yield _line_progress(what, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


@contextmanager
def stage_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A function that is told the stage, how many are done in it and of how many."""
    if not sys.stderr.isatty():
        yield _StageLines().tell
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(stage: str, done: int, of: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=of)
            progress.update(tasks[stage], completed=done)

        yield tell


@contextmanager
def transfer_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A function that is told a file, its bytes that are there and of how many (0: unknown)."""
    if not sys.stderr.isatty():
        lines = _StageLines()
        yield lambda file, done, of: lines.say(f"{file}: {_megabytes(done)} of {_megabytes(of) if of else 'unknown'}")
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=err) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(file: str, done: int, of: int) -> None:
            if file not in tasks:
                # What an earlier run brought came in no time: it would spoil the speed.
                tasks[file] = progress.add_task(file, total=of or None, completed=done)
            progress.update(tasks[file], completed=done, total=of or None)

        yield tell


def print_error(error: SonoSeekError) -> None:
    """An error and what can be done about it."""
    err.print(Text(error.code, "bold red") + f": {error.detail}")
    err.print(f"  {error.hint}")


def print_unexpected(error: Exception) -> None:
    """What nobody expected: its type and place, not its text, which may quote what a library was given."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    err.print(f"internal_error: {type(error).__name__} in {frame.name} ({frame.filename}:{frame.lineno})")
    err.print("  this is a defect of SonoSeek: report this line")


def print_search(body: SearchBody) -> None:
    """The answer of a search as a table, with the evidence below."""
    query = body.query
    out.print(
        f"{query.width} x {query.height} {query.format}, region {query.region} ({query.region_source}); "
        f"library {body.library.name} ({body.library.size} references), encoder {body.encoder.name}, "
        f"{body.timings_ms['total']:.0f} ms",
    )
    if body.target:
        out.print(f"  {target_text(body.target)}")
    _print_neighbours([_cells(found) for found in body.neighbours])
    for evidence in body.evidence:
        support = "  (few references)" if evidence.low_support else ""
        out.print(
            f"  library label {evidence.kind} {evidence.label}: {evidence.found} of {len(body.neighbours)} carry it, "
            f"{evidence.expected:.1f} expected by chance{support}",
        )
    for text in (*body.scope.warnings, *(f"{name}: {why}" for name, why in body.unavailable.items())):
        out.print(f"  note: {text}")


def target_text(target: TargetBody) -> str:
    """Why an encoder searched: what the library adopted it by."""
    interval = ""
    if target.low is not None and target.high is not None:
        interval = f" (95 % interval {10 * target.low:.1f} to {10 * target.high:.1f})"
    chance = "" if target.chance is None else f", {10 * target.chance:.1f} by chance"
    return (
        f"adopted for {target.kind}: {10 * target.figure:.1f} of ten neighbours shared it{interval}{chance}, judged "
        f"at library version {target.library_version}"
    )


def score_text(score: object) -> str:
    """A score as a number, or each of its numbers by name."""
    if isinstance(score, float | int):
        return f"{score:.4g}"
    numbers = vars(score)
    return ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())


def print_libraries(libraries: list[LibraryListBody]) -> None:
    """The libraries as a table."""
    table = Table(box=None, pad_edge=False)
    for heading in ("library", "version", "references", "encoders"):
        table.add_column(heading)
    for library in libraries:
        encoders = ", ".join(f"{encoder.name} ({encoder.vectors})" for encoder in library.encoders)
        table.add_row(library.name, str(library.version), str(library.size), encoders)
    out.print(table)


def print_access(lines: list[AccessLine]) -> None:
    """Who changed what, a line each; many objects are only counted."""
    table = Table(box=None, pad_edge=False)
    for heading in ("time (UTC)", "actor", "action", "library", "objects", "outcome"):
        table.add_column(heading, overflow="fold")
    for line in lines:
        objects = line.objects[0] if len(line.objects) == 1 else str(len(line.objects) or "")
        moment = line.at.strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(moment, line.actor, line.action, line.library or "", objects, line.outcome)
    out.print(table)


def print_models(models: list[ListedModel]) -> None:
    """The encoders as a table that fits 80 columns; long licences take several lines."""
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    for heading in _MODEL_HEADINGS:
        justify: Literal["left", "right"] = "right" if heading in _MODEL_NUMBERS else "left"
        table.add_column(heading, justify=justify, no_wrap=heading != "licence")
    for model in models:
        table.add_row(
            model.name,
            "yes" if model.installed else "no",
            str(model.dim),
            _number(model.params / 1e6, 1),
            _number(model.published_params and model.published_params / 1e6, 1),
            _number(model.size_mb, 1),
            model.precision,
            model.licence,
        )
    out.print(table)
    out.print("served, whole: million parameters, of what is computed with and of the published model;")
    out.print("in: the precision on this machine; --json shows more")
    for model in models:
        if model.official:
            out.print(changed_preparation(model.name, {"fit": model.fit, "size": model.size}, model.official))


def changed_preparation(name: str, now: Mapping[str, object], official: Mapping[str, object]) -> str:
    """How an encoder prepares pictures where that is not the official way."""
    return f"{name} prepares pictures with " + ", ".join(
        f"{key} {now[key]} (officially {value})" for key, value in official.items()
    )


def print_source_files(manifest: EncoderManifest) -> None:
    """What is about to be downloaded: licence, files, addresses and the size in all."""
    out.print(f"{manifest.name}: {manifest.description}")
    out.print(f"licence: {manifest.licence}")
    for source in manifest.source:
        size = "size unknown" if source.bytes is None else _megabytes(source.bytes)
        digest = "" if source.sha256 else ", digest unknown"
        out.print(f"  {source.file}, {size}{digest}: {source.url}")
    total = sum(source.bytes or 0 for source in manifest.source)
    known = all(source.bytes is not None for source in manifest.source)
    said = f"{'' if known else 'more than '}{_megabytes(total)}" if total else "size unknown"
    out.print(f"in all: {said}")


def print_json(value: object) -> None:
    """Plain JSON for scripts."""
    out.file.write(json.dumps(value, indent=2) + "\n")


def print_import(report: ImportReport, dropped: tuple[str, ...]) -> None:
    """What became of a manifest, bad rows last."""
    out.print(
        f"{report.added} added, {report.unchanged} unchanged, {report.updated} updated, "
        f"{report.skipped} skipped, {len(report.bad)} bad rows",
    )
    if dropped:
        out.print(f"columns not stored: {', '.join(dropped)} (--attribute NAME keeps one)")
    for bad in report.bad:
        out.print(f"  line {bad.line}: {bad.reason}")


class _StageLines:
    """A line in ten seconds, for logs and pipes."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def tell(self, stage: str, done: int, of: int) -> None:
        self.say(f"{stage}: {done} of {of}")

    def say(self, line: str) -> None:
        if time.monotonic() - self._last >= _LINE_EVERY_S:
            self._last = time.monotonic()
            err.print(line)


def _line_progress(what: str, total: int) -> Callable[[int], None]:
    lines, done = _StageLines(), 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        lines.tell(what, done, total)

    return advance


def _print_neighbours(rows: list[dict[str, str]]) -> None:
    """Ranks, distances and scores, then the labels; columns that would be empty are left out."""
    if not rows:
        out.print("no neighbours")
        return
    headings = [heading for heading in _HEADINGS if any(row[heading] for row in rows)]
    longest = {heading: max(len(heading), *(len(row[heading]) for row in rows)) for heading in headings}
    least = {heading: min(length, _LEAST.get(heading, length)) for heading, length in longest.items()}
    shown = _fitting(headings, least)
    needed = _width(shown, least)
    table = Table(box=None, pad_edge=False, width=needed if needed > out.width else None)
    for heading in shown:
        justify: Literal["left", "right"] = "right" if heading in _NUMBERS else "left"
        table.add_column(heading, justify=justify, overflow="fold", no_wrap=longest[heading] == least[heading])
    for row in rows:
        table.add_row(*(row[heading] for heading in shown))
    out.print(table)
    if "dreamsim" in shown:
        out.print("  dreamsim: the distance, 0 is the same")
    if left_out := [heading for heading in _GIVING_WAY if heading in headings and heading not in shown]:
        out.print(f"  no room for {', '.join(left_out)}: --json shows all")


def _fitting(headings: list[str], least: Mapping[str, int]) -> list[str]:
    """The headings without those that must give way for the others to be read at this width."""
    shown = headings
    for heading in _GIVING_WAY:
        if _width(shown, least) > out.width:
            shown = [name for name in shown if name != heading]
    return shown


def _width(headings: list[str], least: Mapping[str, int]) -> int:
    return sum(least[heading] + 2 for heading in headings)  # each with a space on either side


def _cells(found: NeighbourBody) -> dict[str, str]:
    labels, scores = found.labels, found.scores
    dreamsim = scores.get("dreamsim")
    return {
        "rank": str(found.rank),
        "distance": f"{found.distance:.3f}",
        "dreamsim": "" if dreamsim is None or isinstance(dreamsim, float) else f"{dreamsim.distance:.3f}",
        "histogram": _number(scores.get("histogram"), 2),
        "mse": _number(scores.get("mse"), 0),
        "organ": labels.organ or "",
        "plane": labels.plane or "",
        "diagnoses": ", ".join(labels.diagnoses),
        "reference": found.external_id or found.reference_id,
    }


def _number(value: object, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, float) else ""


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
