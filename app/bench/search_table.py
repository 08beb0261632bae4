"""What the search benchmark prints and draws."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from app.bench.search import Floor, Row
from app.errors import Misconfigured

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ORDER = {"synthetic": 0, "real": 1, "real-isotropic": 2}


def markdown(rows: Sequence[Row], floors: Sequence[Floor]) -> str:
    """A table for each set of vectors, with times as shares of the plain scan where it was measured."""
    by_set = {_set(floor): floor for floor in floors}
    parts = []
    for key, group in groupby(sorted(rows, key=lambda row: (_set(row), row.k)), key=_set):
        floor = by_set.get(key)
        reading = f"; all vectors read once: {floor.ms:.2f} ms, {floor.gb_per_s:.0f} GB/s" if floor else ""
        data, n, dim = key
        parts.append(f"### {data}, {n:,} x {dim}{reading}\n\n{_table(list(group))}")
    return "\n\n".join(parts)


def _table(rows: Sequence[Row]) -> str:
    scans = {row.k: row.p50_ms for row in rows if row.engine == "scan"}
    lines = [
        "| engine | k | build s | p50 ms | p99 ms | of a scan | recall | memory MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row.engine} | {row.k} | {row.build_s:.2f} | {row.p50_ms:.3f} | {row.p99_ms:.3f} "
        f"| {f'{row.p50_ms / scans[row.k]:.2f}' if row.k in scans else ''} | {row.recall:.4f} | {row.memory_mb:.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


def figure_class() -> type[Figure]:
    """Matplotlib's figures; raises Misconfigured where it is not installed."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise Misconfigured(
            "extra_missing",
            "matplotlib is not installed",
            hint="pip install 'sonoseek[bench]', or leave out --plot",
        ) from None
    return Figure


def plot(rows: Sequence[Row], floors: Sequence[Floor], file: Path) -> None:
    """Draw p50 against n for the smallest k, a panel for each kind of data and length."""
    least = min(row.k for row in rows)
    shown = [row for row in rows if row.k == least]
    panels = sorted({(_ORDER[row.data], row.data, row.dim) for row in shown})
    columns = min(3, len(panels))
    figure = figure_class()(figsize=(4.2 * columns, 3.6 * -(-len(panels) // columns)), layout="constrained")
    for i, (_, data, dim) in enumerate(panels):
        axes = figure.add_subplot(-(-len(panels) // columns), columns, i + 1)
        axes.set(xscale="log", yscale="log", title=f"{data}, {dim} dimensions", xlabel="vectors", ylabel="ms (p50)")
        for engine in dict.fromkeys(row.engine for row in shown):
            points = sorted(
                (row.n, row.p50_ms) for row in shown if (row.engine, row.data, row.dim) == (engine, data, dim)
            )
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", label=engine)
        floor = sorted((one.n, one.ms) for one in floors if (one.data, one.dim) == (data, dim))
        if floor:
            axes.plot(*zip(*floor, strict=True), linestyle=":", color="black", label="reading all once")
        axes.grid(visible=True, alpha=0.3)
    names = {label: line for axes in figure.axes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(names.values(), names.keys(), loc="outside right upper", fontsize="small")
    figure.savefig(file, dpi=110)


def _set(one: Row | Floor) -> tuple[str, int, int]:
    return one.data, one.n, one.dim
