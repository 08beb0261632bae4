"""Tables from figures: each column has a heading and says where in a figure its cell is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from app.evaluation.tables import Cell

INTERVALS = (
    "Intervals are 95 % by bootstrap over patients ({draws} resamples, seed {seed}): BCa, or the percentile interval "
    "where BCa is degenerate (column method). They are conditional on the gallery, which is not resampled."
)

BOTH_ROLES = (
    "Both roles: a jackknife that leaves out each patient in turn, as query and in the gallery, with Student's t. It "
    "also says how the figure would change with other patients in the library; where both differ, trust this one."
)

Columns = Mapping[str, str]
"""Heading -> attribute of a figure, dotted for one within another."""


def rows_of(columns: Columns, figures: Iterable[Any]) -> list[list[Cell]]:
    """A row of cells for each figure."""
    return [[_cell(_at(figure, path)) for path in columns.values()] for figure in figures]


def interval_columns(path: str, before: str = "", value: str = "", *, method: bool = True) -> dict[str, str]:
    """The columns of an estimate: its value under a heading, and low, high and method."""
    found = {value or before: f"{path}.value", f"{before} low".strip(): f"{path}.low"}
    found[f"{before} high".strip()] = f"{path}.high"
    return found | ({f"{before} method".strip(): f"{path}.method"} if method else {})


def titled(kind: str) -> str:
    """A label kind as it stands in a heading."""
    return kind.replace("_", " ").capitalize()


def _at(figure: object, path: str) -> Cell:
    """An attribute, dotted for one within another; None within None."""
    for name in path.split("."):
        figure = None if figure is None else getattr(figure, name)
    return cast(Cell, figure)


def _cell(value: Cell) -> Cell:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, str) else value  # an enum's member becomes its plain value
