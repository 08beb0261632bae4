"""The command ``sonoseek audit``, and ``sonoseek datasets import``, which brings public data in to be audited."""

import json
from pathlib import Path
from typing import Annotated

import typer

from app.current_settings import current_settings
from app.errors import Misconfigured
from app.terminal.console import out, print_json
from app.terminal.progress import stage_progress

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def audit(
    library: Annotated[str, typer.Argument(help="Name of the library.")],
    encoders: Annotated[
        str | None, typer.Option(help="Names, comma separated; all that have a vector of every reference.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Write audit.html, with pictures, and audit.json.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Look for duplicates, likely wrong labels, small classes and burned-in text. Findings are no errors."""
    from app.evaluation.audit import audit_library
    from app.evaluation.audit_page import audit_page
    from app.evaluation.audit_report import audit_json, audit_lines
    from app.evaluation.frame_audit import stored_pixels
    from app.wiring import open_library

    _make_folder(folder)
    catalogue = open_library(current_settings()).catalogue
    with stage_progress() as progress:
        found = audit_library(
            catalogue, library, [name.strip() for name in encoders.split(",")] if encoders else (), progress
        )
    if folder is not None:
        page = audit_page(found, lambda row: stored_pixels(catalogue, found.ground.references[row]))
        (folder / "audit.html").write_text(page, encoding="utf-8")
        (folder / "audit.json").write_text(json.dumps(audit_json(found), indent=1) + "\n", encoding="utf-8")
    if as_json:
        print_json(audit_json(found))
        return
    for line in audit_lines(found):
        out.print(line)
    if folder is not None:
        out.print(f"pictures: {folder / 'audit.html'}; all of it: {folder / 'audit.json'}")


def import_public_set(
    name: Annotated[str, typer.Argument(help="fetal-planes-db, hc18, busi or nt.")],
    source: Annotated[Path, typer.Argument(exists=True, help="The archive as downloaded, or its unpacked folder.")],
    folder: Annotated[Path, typer.Argument(help="Folder for manifest.csv and taxonomy.toml; images of archives too.")],
    unlabelled: Annotated[bool, typer.Option(help="Keep images without a label of ours too.")] = False,
    as_json: Json = False,
) -> None:
    """Turn a public data set as it is downloaded into a manifest with taxonomy, see docs/datasets.md."""
    from app.evaluation.public_sets import PUBLIC_SETS, import_set

    if name not in PUBLIC_SETS:
        raise typer.BadParameter(f"known sets are {', '.join(PUBLIC_SETS)}, not {name!r}")
    _make_folder(folder)
    with stage_progress() as progress:
        done = import_set(PUBLIC_SETS[name], source, folder, keep_unlabelled=unlabelled, progress=progress)
    if as_json:
        print_json({"rows": done.rows, "left_out": done.left_out, "notes": done.notes})
        return
    out.print(f"{done.rows} images in {folder / 'manifest.csv'}; left out: {done.left_out_text}")
    for note in done.notes:
        out.print(f"  note: {note}")
    out.print(f"next: sonoseek enrol NAME {folder / 'manifest.csv'} --taxonomy {folder / 'taxonomy.toml'}")


def _make_folder(folder: Path | None) -> None:
    """What cannot be written is told before the work."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".sonoseek-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise Misconfigured(
            "folder_unwritable",
            f"the folder {folder.name!r} cannot be written ({type(error).__name__})",
            hint="name a folder that exists or can be made",
        ) from None
