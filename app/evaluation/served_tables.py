"""Tables 1 to 5: the encoders as they are served, and the times that the search benchmark measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.encoders.listing import ListedModel
from app.errors import BadInput
from app.evaluation.tables import Cell, Table

PAPER_ACCURACY = 0.8481
"""The organ accuracy that the paper states for its own ResNet, on its own images."""

_FAMILIES = {1: "DINO and DINOv2", 2: "SAM 2", 3: "DreamSim, ResNet and all others"}
_TABLE_OF_KIND = {"dino": 1, "sam2": 2}
_OTHERS = 3


def tables_1_to_3(
    models: Sequence[ListedModel], *, accuracy: float | None = None, measured_on: str = ""
) -> list[Table]:
    """The encoders by family; ``accuracy`` (0..1) is that of resnet-us, ``measured_on`` says on what."""
    tables = []
    for number, family in _FAMILIES.items():
        rows: list[list[Cell]] = [
            [one.name, one.dim, one.params, one.published_params, one.precision, "yes" if one.installed else "no"]
            for one in models
            if _TABLE_OF_KIND.get(one.kind, _OTHERS) == number
        ]
        tables.append(
            Table(
                key=f"table-{number}",
                title=f"Table {number}: {family} as served",
                caption="Length of the vector and number of parameters, of what is served and of what was published.",
                columns=("encoder", "dimensions", "parameters", "published parameters", "precision", "installed"),
                rows=rows,
                notes=(_accuracy_note(accuracy, measured_on),) if number == _OTHERS else (),
            )
        )
    return tables


def tables_4_and_5(file: Path) -> list[Table]:
    """Build (4) and query times (5) from the JSON that ``sonoseek bench search`` wrote.

    Raises BadInput ``bad_bench_file``.
    """
    machine, rows = _read(file)
    sets = list(dict.fromkeys(_set_of(row) for row in rows))
    engines = list(dict.fromkeys(row["engine"] for row in rows))
    build = {(row["engine"], _set_of(row)): row["build_s"] for row in rows}
    note = f"Measured on: {machine}." if machine else "The file does not say on which machine it was measured."
    return [
        Table(
            key="table-4",
            title="Table 4: time to build the index, in seconds",
            caption="For each number of images and length of vector.",
            columns=("engine", *sets),
            rows=[[engine, *[build.get((engine, one)) for one in sets]] for engine in engines],
            notes=(note,),
        ),
        Table(
            key="table-5",
            title="Table 5: time of a query, in milliseconds",
            caption="Median and 99th percentile of one query at a time; recall against exact float64 search.",
            columns=("engine", "images and length", "k", "median ms", "99th percentile ms", "recall", "memory MB"),
            rows=[
                [
                    row["engine"],
                    _set_of(row),
                    row.get("k"),
                    row["p50_ms"],
                    row["p99_ms"],
                    row["recall"],
                    row["memory_mb"],
                ]
                for row in rows
            ],
            notes=(note,),
        ),
    ]


def _read(file: Path) -> tuple[str, list[dict[str, Any]]]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        rows = [dict(row) for row in document["rows"]]
        machine = document.get("machine") or {}
        for row in rows:
            str(row["engine"]), int(row["n"]), int(row["dim"])
            [float(row[name]) for name in ("build_s", "p50_ms", "p99_ms", "recall", "memory_mb")]
        said = (
            "; ".join(f"{key} {value}" for key, value in machine.items()) if isinstance(machine, dict) else str(machine)
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise _bad() from None
    if not rows:
        raise _bad()
    return said, rows


def _bad() -> BadInput:
    return BadInput(
        "bad_bench_file",
        "the file that --search-bench names holds no times of the search benchmark",
        hint="write one with: sonoseek bench search --json FILE",
    )


def _set_of(row: dict[str, Any]) -> str:
    data = f" {row['data']}" if "data" in row else ""
    return f"{row['n']:,} x {row['dim']}{data}"


def _accuracy_note(accuracy: float | None, measured_on: str) -> str:
    paper = f"The paper states {100 * PAPER_ACCURACY:.2f} % organ accuracy for its ResNet, on its own images"
    if accuracy is None:
        return f"{paper}; that of resnet-us was not measured here."
    return f"{paper}; resnet-us has {100 * accuracy:.2f} % {measured_on}, which is not comparable.".replace("  ", " ")
