"""Libraries: which there are, what became of a manifest, and who changed what."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.table import Table

from app.terminal.console import out

if TYPE_CHECKING:  # a command that prints no table must not pay for them
    from app.api.schemas.libraries import LibraryEncoderBody, LibraryListBody
    from app.search.importer import ImportReport
    from app.security.access_log import AccessLine


def print_libraries(libraries: list[LibraryListBody]) -> None:
    """The libraries as a table."""
    table = Table(box=None, pad_edge=False)
    for heading in ("library", "version", "references", "encoders"):
        table.add_column(heading)
    for library in libraries:
        names = Counter(encoder.name for encoder in library.encoders)
        encoders = ", ".join(_vectors(encoder, of=names[encoder.name]) for encoder in library.encoders)
        table.add_row(library.name, str(library.version), str(library.size), encoders)
    out.print(table)


def _vectors(encoder: LibraryEncoderBody, of: int) -> str:
    """An encoder with its number of vectors; of several digests of one name, and of a former encoder, which one."""
    which = f" {encoder.digest.removeprefix('sha256:')[:8]}" if of > 1 or not encoder.served else ""
    return f"{encoder.name}{which} ({encoder.vectors}{'' if encoder.served else ', not served'})"


def print_import(report: ImportReport, dropped: tuple[str, ...]) -> None:
    """What became of a manifest, bad rows last."""
    out.print(import_counts(report))
    if dropped:
        out.print(f"columns not stored: {', '.join(dropped)} (--attribute NAME keeps one)")
    for bad in report.bad:
        out.print(f"  line {bad.line}: {bad.reason}")


def import_counts(report: ImportReport) -> str:
    """What became of how many rows."""
    return (
        f"{report.added} added, {report.unchanged} unchanged, {report.updated} updated, "
        f"{report.skipped} skipped, {len(report.bad)} bad rows"
    )


def print_access(lines: list[AccessLine]) -> None:
    """Who changed what, one line each however wide it is: ``-`` stands for nothing, so that columns can be cut out.

    On a terminal only the first of many objects is shown; what is piped to grep holds all of them.
    """
    rows = [("time", "actor", "action", "library", "outcome", "objects"), *map(_access_cells, lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for *cells, objects in rows:
        out.print("  ".join([*(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=False)), objects]))


def _access_cells(line: AccessLine) -> tuple[str, ...]:
    shown = line.objects[:1] if out.is_terminal else line.objects
    more = f" and {len(line.objects) - len(shown)} more" if len(line.objects) > len(shown) else ""
    moment = line.at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return moment, line.actor, line.action, line.library or "-", line.outcome, (",".join(shown) or "-") + more
