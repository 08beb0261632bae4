"""A table of a report: what it shows, how it was computed, and its cells."""

from collections.abc import Sequence
from dataclasses import dataclass, field

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """``key`` names the file (``table-11``, ``patient-organ``); ``title`` and ``caption`` stand above it.

    ``formula`` says how the numbers come about, in words and symbols; None in a cell means that there is nothing to
    say. ``notes`` stand below. Numbers are whole precision here; a report rounds them.
    """

    key: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    formula: str = ""
    notes: tuple[str, ...] = field(default=())
