"""The commands ``sonoseek bench ...``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.current_settings import current_settings
from app.terminal import err, out

if TYPE_CHECKING:
    from app.bench.encoders import Row

bench = typer.Typer(no_args_is_help=True, help="How fast this machine is.")

_PAPER = "the paper, on its GPU: below 70 min, about 20 min under 400 dimensions"


@bench.callback()
def group() -> None:
    """How fast this machine is."""


@bench.command("encoders")
def bench_encoders(
    encoders: Annotated[str | None, typer.Option(help="Names, comma separated; all that are installed.")] = None,
    precisions: Annotated[str, typer.Option(help="fp32, bf16, fp16, comma separated.")] = "fp32,bf16",
    batches: Annotated[str, typer.Option(help="Batch sizes to try, comma separated.")] = "1,2,4,8,16",
    random_weights: Annotated[bool, typer.Option(help="Random weights where none are installed.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write machine and rows there.")] = None,
) -> None:
    """Time encoders, each in a process of its own, as shares of the machine's own matrix products."""
    from app.bench.encoders import measure_encoders
    from app.encoders.weights import WeightStore

    chosen, sizes = _precisions(precisions), _sizes(batches)
    settings = current_settings()
    store = WeightStore(settings.models_dir)
    names = encoders.split(",") if encoders else [name for name in store.names() if store.find(name).installed]
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


def _precisions(text: str) -> list[str]:
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
