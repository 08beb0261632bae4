"""The commands ``sonoseek bench ...``."""

import json
import os
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.current_settings import current_settings
from app.terminal.console import err, out

if TYPE_CHECKING:
    from app.bench.encoders import Row
    from app.domain import Vectors
    from app.encoders.weights import WeightStore

bench = typer.Typer(no_args_is_help=True, help="How fast this machine is.")

_PAPER = "the paper, on its GPU: below 70 min, about 20 min under 400 dimensions"


@bench.callback()
def group() -> None:
    """How fast this machine is."""


@bench.command("encoders")
def bench_encoders(
    encoders: Annotated[str | None, typer.Option(help="Names, comma separated; all that are installed.")] = None,
    precisions: Annotated[
        str | None,
        typer.Option(
            help="fp32, bf16, fp16, comma separated; fp32, and bf16 where the device has instructions for it."
        ),
    ] = None,
    batches: Annotated[str, typer.Option(help="Batch sizes to try, comma separated.")] = "1,2,4,8,16",
    random_weights: Annotated[bool, typer.Option(help="Random weights where none are installed.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write machine and rows there.")] = None,
) -> None:
    """Time encoders, each in a process of its own, as shares of the machine's own matrix products."""
    from app.bench.encoders import measure_encoders
    from app.encoders.weights import WeightStore

    settings = current_settings()
    chosen, sizes = _precisions(precisions, settings.encoders.device), _sizes(batches)
    _refuse_unwritable(json_file)
    names = encoders.split(",") if encoders else _installed(WeightStore(settings.models_dir))
    machine, rows = measure_encoders(
        names,
        chosen,
        settings.models_dir,
        device=settings.encoders.device,
        threads=settings.encoders.threads,
        batches=sizes,
        random_weights=random_weights,
        progress=lambda what: err.print(f"measuring {what}"),
    )
    out.print(", ".join(f"{key} {value}" for key, value in machine.items()))
    out.print(_markdown(rows))
    if json_file:
        document = {"machine": machine, "rows": [asdict(row) for row in rows]}
        json_file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _installed(store: "WeightStore") -> list[str]:
    broken = store.broken()
    return [name for name in store.names() if name not in broken and store.find(name).installed]


def _refuse_unwritable(file: Path | None) -> None:
    """A measurement takes minutes: whether its result can be written is told before."""
    if file is None:
        return
    place = file if file.exists() else file.parent
    if file.is_dir() or not file.parent.is_dir() or not os.access(place, os.W_OK):
        raise typer.BadParameter(f"--json cannot write {file}: name a file in a folder that exists and can be written")


@bench.command("search")
def bench_search(
    n: Annotated[str, typer.Option("--n", help="Numbers of vectors, comma separated.")] = "15000",
    dim: Annotated[str, typer.Option(help="Lengths of synthetic vectors, comma separated.")] = "384",
    engines: Annotated[str | None, typer.Option(help="Comma separated; all of them.")] = None,
    k: Annotated[str, typer.Option(help="Numbers of neighbours, comma separated.")] = "10",
    data: Annotated[
        str, typer.Option(help="synthetic, real, real-isotropic; the real ones need --manifest.")
    ] = "synthetic",
    manifest: Annotated[
        Path | None, typer.Option(help="Images whose embeddings are repeated with jitter.", exists=True, dir_okay=False)
    ] = None,
    encoder: Annotated[str, typer.Option(help="Which encoder embeds them.")] = "resnet-us",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write machine and rows there.")] = None,
    append: Annotated[bool, typer.Option("--append", help="Keep other rows that the JSON file holds.")] = False,
    plot_file: Annotated[Path | None, typer.Option("--plot", help="Draw all rows there, as PNG or SVG.")] = None,
) -> None:
    """Time ways to search against a plain scan, each in a process of its own with one thread."""
    from app.bench.search import measure_search, sets_of
    from app.bench.search_data import DATA
    from app.bench.search_file import SearchFile, describe_search_machine
    from app.bench.search_rivals import RIVALS
    from app.bench.search_table import figure_class, markdown, plot

    names = _names(engines, RIVALS, "--engines")
    sizes, lengths, counts = (_numbers(text, name) for text, name in ((n, "--n"), (dim, "--dim"), (k, "--k")))
    if counts[-1] > sizes[0]:
        raise typer.BadParameter("--k is at most the least --n")
    kinds = _names(data, DATA, "--data")
    _refuse_unwritable(json_file)
    if plot_file:
        figure_class()
    real = _real_vectors(kinds, manifest, encoder)
    report = SearchFile.read(json_file) if append and json_file else SearchFile()
    report.machine = describe_search_machine()
    sets = sets_of(kinds, sizes, lengths, real)
    for floor, rows in measure_search(sets, names, counts, real=real, progress=lambda what: err.print(what)):
        report.add(floor, rows)
        if json_file:
            report.write(json_file)
    out.print(", ".join(f"{key} {value}" for key, value in report.machine.items()))
    out.print("\n" + markdown(report.rows, report.floors))
    if plot_file:
        plot(report.rows, report.floors, plot_file)


def _real_vectors(kinds: list[str], manifest: Path | None, encoder: str) -> "Vectors | None":
    from app.bench.search_data import embedded

    if kinds == ["synthetic"]:
        return None
    if manifest is None:
        raise typer.BadParameter("--data real and real-isotropic need --manifest")
    return embedded(manifest, encoder, current_settings().models_dir)


def _names(text: str | None, known: Collection[str], option: str) -> list[str]:
    names = text.split(",") if text else list(known)
    if unknown := [name for name in names if name not in known]:
        raise typer.BadParameter(f"{option} knows {', '.join(known)}, not {', '.join(unknown)}")
    return names


def _numbers(text: str, option: str) -> list[int]:
    try:
        numbers = sorted({int(number) for number in text.split(",")})
    except ValueError:
        numbers = [0]
    if numbers[0] < 1:
        raise typer.BadParameter(f"{option} takes whole numbers from 1, comma separated")
    return numbers


def _precisions(text: str | None, device: str) -> list[str]:
    if text is None:
        from app.encoders.device import choose_placement, computes

        return [name for name in ("fp32", "bf16") if computes(choose_placement(device, name))]
    names = text.split(",")
    if unknown := [name for name in names if name not in ("fp32", "bf16", "fp16")]:
        raise typer.BadParameter(f"--precisions knows fp32, bf16 and fp16, not {', '.join(unknown)}")
    return names


def _sizes(text: str) -> list[int]:
    """Batch sizes, 1 always among them: its time is a column of its own."""
    try:
        sizes = {1, *(int(size) for size in text.split(","))}
    except ValueError:
        sizes = {0}
    if min(sizes) < 1:
        raise typer.BadParameter("--batches are whole numbers from 1, comma separated")
    return sorted(sizes)


def _markdown(rows: "list[Row]") -> str:
    lines = [
        f"| encoder | precision | ms, batch 1 | best batch | images/s | min for 10,000 ({_PAPER}) | GFLOP | GFLOP/s "
        "| share of GEMM rate | peak MB | start s |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row.encoder}{' (random weights)' if row.random_weights else ''} | {row.precision} | {row.ms:.1f} "
        f"| {row.batch} | {row.images_per_s:.1f} | {row.minutes_per_10000:.1f} | {row.gflop:.1f} "
        f"| {row.gflop_per_s:.0f} of {row.gemm_gflop_per_s:.0f} | {row.share_of_gemm:.0%} | {row.rss_mb} "
        f"| {row.start_s:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)
