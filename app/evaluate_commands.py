"""The command ``sonoseek evaluate``."""

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated

import typer

from app.current_settings import current_settings
from app.errors import Misconfigured
from app.terminal.console import err, out, print_json
from app.terminal.progress import progress_bar

if TYPE_CHECKING:
    from app.domain import Pixels
    from app.encoders.base import Encoder
    from app.evaluation.controls import Sources
    from app.evaluation.ground import Ground
    from app.evaluation.natural import OpenEncoder
    from app.evaluation.report import Report
    from app.evaluation.roles import PixelSet
    from app.library.catalogue import Catalogue
    from app.wiring import Library

Json = Annotated[bool, typer.Option("--json", help="Print the report's JSON.")]


def evaluate(
    library: Annotated[str, typer.Argument(help="Name of the library.")],
    encoders: Annotated[
        str | None,
        typer.Option(
            help="Names, comma separated; also pixels-32, histogram, untrained-resnet. All stored without it."
        ),
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="patient: without the query's own patient; paper: with it. Both are computed.")
    ] = "patient",
    patients: Annotated[
        str, typer.Option(help="given, or near-duplicates where the library names no patients.")
    ] = "given",
    folder: Annotated[
        Path | None, typer.Option("--out", help="Write report.html, .json, .md and tables there.")
    ] = None,
    min_images: Annotated[int, typer.Option(min=1, help="Classes of fewer images are cut.")] = 20,
    leave_out: Annotated[list[str] | None, typer.Option(help="An organ that no organ figure shall be about.")] = None,
    search_bench: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="JSON of bench search, for Tables 4 and 5.")
    ] = None,
    pixel_set: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="CSV of path and role for Tables 6 to 8, see the documents."),
    ] = None,
    example: Annotated[str | None, typer.Option(help="Reference id or external id for the one-query tables.")] = None,
    controls: Annotated[
        str | None,
        typer.Option(
            help="Shortcut controls, which embed everything again: the manifest that the library was enrolled from, or "
            "the word frames for what stored frames alone can tell."
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=100, help="Bootstraps and permutations are scaled by it.")] = 2000,
    images: Annotated[bool, typer.Option(help="Show pictures of the library in the report.")] = True,
    adopt: Annotated[
        bool, typer.Option(help="Store the best encoder of each label kind for target= of a search.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Judge encoders by how often the ten nearest share a label: the paper's tables and a rigorous protocol."""
    from app.evaluation.names import complete_encoders
    from app.evaluation.options import Options
    from app.evaluation.patient_report import Settings
    from app.evaluation.protocol import Patients, Protocol
    from app.evaluation.run import evaluate as run
    from app.evaluation.served_tables import tables_4_and_5
    from app.search.recorder import LOCAL
    from app.wiring import open_library

    if protocol not in [one.value for one in Protocol]:
        raise typer.BadParameter("--protocol is patient or paper")
    if patients not in [one.value for one in Patients]:
        raise typer.BadParameter("--patients is given or near-duplicates")
    if adopt and (protocol != Protocol.PATIENT.value or leave_out):
        raise typer.BadParameter("--adopt goes with --protocol patient, and not with --leave-out")
    if folder is not None:
        _check_folder(folder)
    opened = open_library(current_settings())
    options = Options(
        encoders=complete_encoders(opened.catalogue, library) if encoders is None else _names(encoders),
        settings=Settings(
            Protocol(protocol), Patients(patients), min_images, draws=draws, flips=5 * draws, permutations=draws // 2
        ),
        left_out=leave_out or (),
        times=() if search_bench is None else tables_4_and_5(search_bench),
        pixel_set=None if pixel_set is None else _pixel_set(opened, pixel_set),
        precision=_precision(opened) if folder is not None else "fp32",
        pixels=folder is not None,
        example=example,
        controls=_sources(opened, controls) if controls else None,
        encoder=_opener(opened),
        partial=folder,
        command=shlex.join(["sonoseek", *sys.argv[1:]]),
    )
    report = run(opened.catalogue, opened.weights, library, options, _Bars())
    if folder is not None:
        _write(opened.catalogue, report, folder, images=images)
    if adopt:  # after the report, which a library that has changed meanwhile must not cost
        with opened.recorder.recording(LOCAL, "library.adopt", library):
            _adopt(opened.catalogue, report)
    if as_json:
        from app.evaluation.report_files import report_json

        print_json(report_json(report))
        return
    for line in (*report.warnings, *report.summary):
        out.print(line)
    if folder is not None:
        out.print(f"report: {folder / 'report.html'}")


def _names(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]


def _pixel_set(opened: "Library", path: Path) -> "PixelSet":
    from app.evaluation.roles import read_pixel_set

    return read_pixel_set(path, opened.keyer)


def _precision(opened: "Library") -> str:
    from app.encoders.device import choose_placement

    settings = opened.settings.encoders
    return choose_placement(settings.device, settings.precision, settings.threads).precision


def _sources(opened: "Library", wanted: str) -> "Callable[[Ground], Sources]":
    """Where the pictures of the controls come from."""
    from app.evaluation.control_sources import manifest_sources, stored_sources
    from app.images.reader import ReadLimits
    from app.library.manifest import read_manifest

    if wanted == "frames":
        return partial(stored_sources, opened.catalogue)
    path = Path(wanted)
    if not path.is_file():
        raise typer.BadParameter("--controls is the path of a manifest, or frames")
    manifest = read_manifest(path)
    return partial(manifest_sources, opened.catalogue, manifest=manifest, keyer=opened.keyer, limits=ReadLimits())


def _opener(opened: "Library") -> "OpenEncoder":
    """Opens an encoder, once."""
    from app.encoders.device import choose_placement
    from app.encoders.registry import open_encoder

    settings = opened.settings.encoders

    @cache
    def opener(name: str) -> "Encoder":
        placement = choose_placement(settings.device, settings.precision, settings.threads)
        return open_encoder(name, opened.weights, placement)

    return opener


class _Bars:
    """A progress bar for each stage."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        with progress_bar(title, total) as advance:
            yield advance

    def note(self, text: str) -> None:
        err.print(text)


def _adopt(catalogue: "Catalogue", report: "Report") -> None:
    from app.evaluation.adoption import adopt

    for choice in adopt(catalogue, report.ground, report.figures, report.overlaps):
        what = choice.adoption.encoder if choice.adoption else f"nothing adopted: {choice.why_not}"
        err.print(f"{choice.kind}: {what}")


def _write(catalogue: "Catalogue", report: "Report", folder: Path, *, images: bool) -> None:
    from app.evaluation.frame_audit import stored_pixels
    from app.evaluation.page import render_page
    from app.evaluation.partial import forget_partial
    from app.evaluation.report_files import write_report

    def frame(row: int) -> "Pixels | None":
        return stored_pixels(catalogue, report.ground.references[row]) if images else None

    write_report(report, folder, render_page(report, frame))
    forget_partial(folder)


def _check_folder(folder: Path) -> None:
    """What a report lacks, or where it cannot be written, is told before the work."""
    from app.evaluation.extra import check_report_extra

    check_report_extra()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise Misconfigured(
            "folder_unwritable",
            f"nothing can be written into the folder that --out names ({type(error).__name__})",
            hint="name a folder that can be made and written",
        ) from None
