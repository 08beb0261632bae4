"""The command line: thin commands over what the service and the jobs do."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from ulid import ULID

from app.audit_commands import audit, import_public_set
from app.bench_commands import bench
from app.current_settings import current_settings
from app.domain import MAX_K, Box
from app.errors import Misconfigured, SonoSeekError
from app.evaluate_commands import evaluate
from app.library_commands import access_log, enrol, export, libraries, patients
from app.model_commands import models
from app.terminal.console import out, print_error, print_json, print_unexpected
from app.terminal.progress import progress_bar, stage_progress
from app.terminal.search import print_search, score_text
from app.version import VERSION

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
datasets = typer.Typer(no_args_is_help=True, help="Synthetic data, and public data sets.")
app.add_typer(models, name="models")
app.add_typer(bench, name="bench")
app.add_typer(datasets, name="datasets")
app.add_typer(libraries, name="libraries")
app.add_typer(patients, name="patients")
app.command("enrol")(enrol)
app.command("export")(export)
app.command("access-log")(access_log)
app.command("audit")(audit)
app.command("evaluate")(evaluate)
datasets.command("import")(import_public_set)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
FileArgument = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="An image, DICOM or other.")]


def main() -> None:
    """Run a command; exit codes: 0 done, 1 failed, 2 wrong use, 3 refused by data."""
    try:
        app()
    except SonoSeekError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except Exception as error:  # its text may quote what a library was given
        print_unexpected(error)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False) -> None:
    """SonoSeek finds the labelled ultrasound images that look most like yours. Not a diagnosis."""
    if version:
        out.print(f"sonoseek {VERSION}")
        raise typer.Exit


@app.command()
def serve() -> None:
    """Serve the API and the page; SONOSEEK_SERVER__HOST and SONOSEEK_SERVER__PORT say where."""
    from app.serving import run_server

    run_server(current_settings())


@app.command()
def search(
    file: FileArgument,
    library: Annotated[str | None, typer.Option(help="Library to search; may be left out when there is one.")] = None,
    k: Annotated[int, typer.Option(min=1, max=MAX_K, help="Number of neighbours.")] = 10,
    encoder: Annotated[str | None, typer.Option(help="A loaded encoder.")] = None,
    target: Annotated[
        str | None, typer.Option(help="organ, organ_group, diagnoses or findings: the encoder adopted for it.")
    ] = None,
    where: Annotated[list[str] | None, typer.Option(help="KIND:VALUE; may be repeated.")] = None,
    frame: Annotated[int | None, typer.Option(help="Frame of a cine, from 1.")] = None,
    region: Annotated[str | None, typer.Option(help="x0,y0,x1,y1 of the scan region.")] = None,
    scores: Annotated[str | None, typer.Option(help="Names, comma separated; empty for none.")] = None,
    max_per_patient: Annotated[int | None, typer.Option(min=1, help="At most that many of one patient.")] = None,
    exclude_patient_id: Annotated[str | None, typer.Option(help="Patient whose references are left out.")] = None,
    include_self: Annotated[bool, typer.Option(help="Keep a reference that is the query itself.")] = False,
    as_json: Json = False,
) -> None:
    """Search the library for the references that look most like an image."""
    from app.api.schemas.search import SearchBody
    from app.search.answer import ImageQuery, Wish, parse_condition, parse_names
    from app.wiring import running_service

    wish = Wish(
        library=library,
        encoder=encoder,
        target=target,
        k=k,
        where=tuple(parse_condition(text) for text in where or ()),
        scores=parse_names(scores),
        max_per_patient=max_per_patient,
        include_self=include_self,
    )
    query = ImageQuery(file.read_bytes(), frame, Box.parse(region) if region else None, exclude_patient_id)
    with running_service(current_settings()) as service:
        body = SearchBody.of(service.finder.find(query, wish), str(ULID()))
    if as_json:
        out.print_json(body.model_dump_json())
    else:
        print_search(body)


@app.command()
def compare(
    a: FileArgument,
    b: FileArgument,
    region_a: Annotated[str | None, typer.Option(help="x0,y0,x1,y1 of the first scan region.")] = None,
    region_b: Annotated[str | None, typer.Option(help="x0,y0,x1,y1 of the second scan region.")] = None,
    as_json: Json = False,
) -> None:
    """Compare two images: distance of their embeddings and all scores."""
    from app.api.schemas.comparison import CompareBody
    from app.search.answer import ImageQuery
    from app.wiring import running_service

    first = ImageQuery(a.read_bytes(), region=Box.parse(region_a) if region_a else None)
    second = ImageQuery(b.read_bytes(), region=Box.parse(region_b) if region_b else None)
    with running_service(current_settings()) as service:
        comparison = service.comparer.compare(first, second)
    body = CompareBody.of(comparison, str(ULID()))
    if as_json:
        out.print_json(body.model_dump_json())
        return
    out.print(f"distance {body.distance:.4f}, similarity {body.similarity:.4f} ({body.encoder.name})")
    for name, value in body.scores.items():
        out.print(f"{name}: {body.unavailable.get(name, '') if value is None else score_text(value)}")


@app.command()
def train(
    manifests: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="CSV files, one a source.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder to write weights and manifest.toml into.")],
    seed: Annotated[int, typer.Option(help="The same seed, data and machine give the same weights.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of training; the schedule's own without it.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 takes every core.")] = 0,
) -> None:
    """Train the weights of resnet-us on labelled manifests."""
    from app.training.fit import Schedule
    from app.training.resnet import train_resnet

    with stage_progress() as progress:
        schedule = Schedule(steps=steps) if steps else Schedule()
        trained = train_resnet(manifests, folder, seed=seed, schedule=schedule, threads=threads, progress=progress)
    out.print(
        f"{trained.pictures} pictures, {len(trained.organs)} organs, {len(trained.groups)} groups; "
        f"loss {trained.losses[0]:.3f} at first, {trained.losses[-1]:.3f} at last; weights in {trained.folder}",
    )


@app.command()
def reembed(
    library: Annotated[str, typer.Argument(help="Name of the library.")],
    encoder: Annotated[str | None, typer.Option(help="A loaded encoder; the default without it.")] = None,
) -> None:
    """Embed the references of a library that have no vectors of an encoder yet; can be interrupted."""
    from app.search.rebuild import reembed as embed_missing
    from app.search.recorder import LOCAL
    from app.wiring import running_service

    with (
        running_service(current_settings()) as service,
        service.recorder.recording(LOCAL, "library.reembed", library) as attempt,
    ):
        chosen = service.batcher.encoder(encoder)
        missing = len(service.catalogue.embeddings.missing(library, chosen.digest))
        with progress_bar(f"embedding {library}", missing) as advance:
            embedded = embed_missing(service.catalogue, service.batcher, chosen, library, advance)
        attempt.outcome = "embedded" if embedded else "unchanged"
    out.print(f"{embedded} references embedded with {chosen.name}")
    if embedded < missing:
        out.print(f"{missing - embedded} were removed or changed meanwhile: run the command again to be sure")


@app.command()
def sync(
    library: Annotated[str, typer.Argument(help="Name of the library.")],
    encoder: Annotated[str | None, typer.Option(help="A loaded encoder; the default without it.")] = None,
    as_json: Json = False,
) -> None:
    """Compare a library's collection in Qdrant with the database and mend it: missing, stale and surplus points."""
    from app.wiring import open_qdrant, running_service

    settings = current_settings()
    if settings.qdrant.url == ":memory:":
        raise Misconfigured(
            "qdrant_in_memory",
            "an index in memory ends with the process that made it: there is nothing to bring up to date",
            hint="set SONOSEEK_QDRANT__URL to the address of a Qdrant server",
        )
    with running_service(settings) as service:
        chosen = service.batcher.encoder(encoder)
        total = len(service.catalogue.embeddings.versions(library, chosen.digest)[1])
        with progress_bar(f"comparing {library}", total) as advance:
            indexes = open_qdrant(service.settings, service.catalogue)
            repaired = indexes.sync(library, chosen, advance)
            orphans = indexes.tidy()
    if as_json:
        print_json({**repaired._asdict(), "orphans": orphans})
        return
    out.print(
        f"{library}, {chosen.name}: {total} references; {repaired.missing} were missing in Qdrant, "
        f"{repaired.stale} were out of date, {repaired.surplus} were too many",
    )
    if orphans:
        out.print(f"{len(orphans)} collections of deleted libraries or removed vectors were deleted")


@datasets.command("phantoms")
def write_phantom_data(
    folder: Annotated[Path, typer.Argument(help="Directory to write into.")],
    count: Annotated[int, typer.Option(min=1, help="Number of images.")] = 250,
    seed: Annotated[int, typer.Option(help="The same seed gives the same pictures.")] = 1,
) -> None:
    """Write synthetic ultrasound images with a manifest, a taxonomy and example queries."""
    from app.images.phantom import write_phantoms

    with progress_bar("drawing phantoms", count) as advance:
        write_phantoms(folder, count=count, seed=seed, progress=lambda _done: advance(1))


@app.command()
def openapi() -> None:
    """Print the OpenAPI document of the service."""
    from app.main import bare_app

    print_json(bare_app().openapi())
