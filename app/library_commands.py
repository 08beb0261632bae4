"""The commands that fill libraries, take them out, delete of them, and say who changed what."""

import csv
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.current_settings import current_settings
from app.errors import Misconfigured
from app.terminal.console import err, out, print_json
from app.terminal.libraries import import_counts, print_access, print_import, print_libraries
from app.terminal.progress import progress_bar

if TYPE_CHECKING:
    from app.search.importer import ImportReport

libraries = typer.Typer(invoke_without_command=True, help="List libraries, or delete one.")
patients = typer.Typer(no_args_is_help=True, help="Patients.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
LibraryName = Annotated[str, typer.Argument(help="Name of the library.")]


def enrol(
    library: Annotated[str, typer.Argument(help="Name of the library; it is created where there is none.")],
    manifest: Annotated[
        Path, typer.Argument(exists=True, help="CSV file, see docs/manifest.md, or the folder of an export.")
    ],
    taxonomy: Annotated[Path | None, typer.Option(help="taxonomy.toml: label -> group.")] = None,
    map_file: Annotated[Path | None, typer.Option("--map", help="Write manifest line -> reference id there.")] = None,
    attribute: Annotated[list[str] | None, typer.Option(help="Another column to store and return.")] = None,
    on_conflict: Annotated[str, typer.Option(help="error, skip or update where labels differ.")] = "error",
    allow_unmasked: Annotated[bool, typer.Option(help="Enrol pictures without a known scan region too.")] = False,
    new_patients: Annotated[
        bool, typer.Option(help="Enrol an export that was made with another secret; its patients become new ones.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Enrol the images of a manifest, or an export; running it again changes nothing."""
    from app.search.export_reader import is_export
    from app.search.importer import ImportReport
    from app.wiring import running_service

    if on_conflict not in ("error", "skip", "update"):
        raise typer.BadParameter("--on-conflict is one of error, skip, update")
    exported = is_export(manifest)
    if exported and (taxonomy or attribute or allow_unmasked):
        raise typer.BadParameter("an export brings its taxonomy, its attributes and its frames as they are")
    if not exported and (manifest.is_dir() or new_patients):
        raise typer.BadParameter("that is no export: there is no export.json beside a manifest.csv")
    if not exported:
        from app.library.manifest import read_manifest, read_taxonomy

        rows = read_manifest(manifest, read_taxonomy(taxonomy) if taxonomy else None, attribute or ())
    with (
        _map_writer(map_file, manifest, taxonomy) as write_map,
        running_service(current_settings()) as service,
        _told_if_cut_short(report := ImportReport()),
    ):
        importer = service.importer
        options: dict[str, Any] = {"on_conflict": on_conflict, "report": report}
        if exported:
            export = importer.open_export(manifest, new_patients=new_patients)
            with progress_bar(f"enrolling {library}", len(export.rows)) as advance:
                importer.run_export(library, export, progress=advance, **options)
        else:
            with progress_bar(f"enrolling {library}", len(rows.rows)) as advance:
                importer.run(library, rows, allow_unmasked=allow_unmasked, progress=advance, **options)
        write_map(report.ids)
    _tell(report, () if exported else rows.dropped, as_json=as_json)


def export(
    library: LibraryName,
    folder: Annotated[Path, typer.Argument(file_okay=False, help="A new or empty folder.")],
    vectors: Annotated[bool, typer.Option(help="Write the vectors of all encoders too.")] = False,
) -> None:
    """Write a library to a folder: frames, labels, keys; sonoseek enrol brings it back, here or elsewhere."""
    from app.search.exporter import Exporter
    from app.wiring import open_library

    opened = open_library(current_settings())
    size = opened.catalogue.library(library).size
    with progress_bar(f"exporting {library}", size) as advance:
        report = Exporter(opened.catalogue, opened.keyer).run(library, folder, vectors=vectors, progress=advance)
    out.print(f"{report.references} references in {folder}; keep it as safe as the library itself")
    if report.changed:
        err.print("  the library changed meanwhile: export it again if you need one state of it")


def access_log(
    limit: Annotated[int, typer.Option(min=1, help="So many of the newest lines.")] = 50,
    as_json: Json = False,
) -> None:
    """Print who changed what, the newest line first."""
    from app.wiring import open_library

    lines = open_library(current_settings()).access_log.read(limit)
    if as_json:
        print_json(
            [
                {
                    "at": line.at.isoformat(),
                    "actor": line.actor,
                    "action": line.action,
                    "library": line.library,
                    "objects": list(line.objects),
                    "outcome": line.outcome,
                }
                for line in lines
            ]
        )
    else:
        print_access(lines)


@libraries.callback()
def list_libraries(context: typer.Context, as_json: Json = False) -> None:
    """List the libraries."""
    from app.api.schemas.libraries import library_list_body
    from app.loading import served_digests
    from app.wiring import open_library

    if context.invoked_subcommand is not None:
        return
    opened = open_library(current_settings())
    served = served_digests(opened.settings.encoders, opened.weights)
    bodies = [library_list_body(held, served) for held in opened.catalogue.libraries()]
    if as_json:
        print_json([body.model_dump() for body in bodies])
    else:
        print_libraries(bodies)


@libraries.command("delete")
def delete_library(
    name: LibraryName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for the name once more.")] = False,
) -> None:
    """Delete a library with all its references; its name is asked for once more. Only a backup brings it back."""
    from app.search.recorder import LOCAL
    from app.wiring import open_library

    opened = open_library(current_settings())
    confirm = name
    if not yes:
        size = opened.catalogue.library(name).size
        confirm = typer.prompt(f"{size} references will be gone; type the name of the library", err=True)
    deleted = opened.editor.delete_library(name, confirm=confirm, by=LOCAL)
    out.print(f"{name} deleted with {deleted.references} references")
    for sentence in deleted.remains:
        out.print(f"  may remain: {sentence}")


@libraries.command("drop-vectors")
def drop_vectors(
    name: LibraryName,
    digest: Annotated[str, typer.Argument(help="Digest of a former encoder, or its beginning, as libraries shows it.")],
) -> None:
    """Remove the vectors of a former encoder from a library. Those of an encoder that is served are refused."""
    from app.loading import served_digests
    from app.search.recorder import LOCAL
    from app.wiring import open_library

    opened = open_library(current_settings())
    dropped = opened.editor.drop_vectors(
        name, digest, served=served_digests(opened.settings.encoders, opened.weights), by=LOCAL
    )
    out.print(f"{dropped.vectors} vectors of {dropped.encoder} {dropped.digest} removed from {name}")
    if opened.settings.index.engine == "qdrant":
        out.print(f"  their collection in Qdrant goes with the next: sonoseek sync {name}")


@patients.command("erase")
def erase_patient(as_json: Json = False) -> None:
    """Remove everything of a patient from all libraries. The id is read from standard input, or asked for."""
    from app.search.recorder import LOCAL
    from app.wiring import open_library

    opened = open_library(current_settings())
    asked = sys.stdin.isatty()  # not an argument: shells keep those in a file
    patient_id = typer.prompt("patient id", hide_input=True, err=True) if asked else sys.stdin.readline()
    erased = opened.editor.erase(patient_id, by=LOCAL)
    if as_json:
        print_json(
            {
                "libraries": dict(erased.libraries),
                "reference_ids": list(erased.references),
                "remains": list(erased.remains),
            }
        )
        return
    for library, count in erased.libraries.items():
        out.print(f"{library}: {count} references removed")
    if not erased.libraries:
        out.print("no library holds anything of that patient")
    for sentence in erased.remains:
        out.print(f"  may remain: {sentence}")


@contextmanager
def _map_writer(path: Path | None, *inputs: Path | None) -> Iterator[Callable[[dict[int, str]], None]]:
    """A function that writes manifest lines and reference ids; the file is opened before hours of work."""
    if path is None:
        yield lambda _ids: None
        return
    if any(given is not None and path.exists() and path.samefile(given) for given in inputs):
        raise typer.BadParameter("--map would overwrite a file that this command reads")
    try:
        file = path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise Misconfigured(
            "map_unwritable", f"the map file cannot be written ({type(error).__name__})", hint="check --map"
        ) from None
    with file:
        writer = csv.writer(file)
        writer.writerow(["line", "reference_id"])
        yield lambda ids: writer.writerows(sorted(ids.items()))


@contextmanager
def _told_if_cut_short(report: "ImportReport") -> Iterator[None]:
    """Say what was done where an error or Ctrl-C ends an enrolment."""
    try:
        yield
    except BaseException:
        if report.ids:
            err.print(f"ended early: {import_counts(report)}; some of the rows after these may be stored too")
            err.print("  run the same command again: it goes on where it was")
        raise


def _tell(report: "ImportReport", dropped: tuple[str, ...], *, as_json: bool) -> None:
    """What became of the rows; exit code 3 where some are bad."""
    if as_json:
        bad = [{"line": one.line, "reason": one.reason} for one in report.bad]
        counts = {name: getattr(report, name) for name in ("added", "unchanged", "updated", "skipped")}
        print_json({**counts, "bad": bad, "dropped": dropped})
    else:
        print_import(report, dropped)
    if report.bad:
        raise typer.Exit(3)
