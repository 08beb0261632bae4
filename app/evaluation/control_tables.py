"""The shortcut controls as tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from app.evaluation.columns import titled
from app.evaluation.controls import FULL, OF_FRAMES, WHAT, ControlFigures
from app.evaluation.report import Section
from app.evaluation.tables import Cell, Table

_COLUMNS = ("pictures", "encoder", "P@10", "chance", "corrected", "low", "high")
_DIFFERENCES = ("over {}", "low, over {}", "high, over {}", "p, over {}")


def control_section(figures: Sequence[ControlFigures]) -> Section:
    """A table for each label kind."""
    kinds = dict.fromkeys(one.kind for one in figures)
    shown = "; ".join(f"{name}: {WHAT[name]}" for name in dict.fromkeys(one.control for one in figures))
    return Section(
        "Shortcut controls",
        "What is found without looking at the anatomy. Every picture of the library was drawn anew and embedded again. "
        f"{shown[:1].upper()}{shown[1:]}.",
        [_table(kind, [one for one in figures if one.kind == kind]) for kind in kinds],
    )


def _table(kind: str, figures: Sequence[ControlFigures]) -> Table:
    rows: list[list[Cell]] = []
    names = dict.fromkeys(one.control for one in figures)
    for one in figures:
        row: list[Cell] = [one.control, one.contestant, one.p_at_10, one.expected, one.corrected]
        row += [one.interval.low, one.interval.high]
        for over in (one.over_pixels, one.over_untrained):
            row += [None] * 4 if over is None else [over.value, over.low, over.high, over.p]
        rows.append(row)
    bases = ("pixels", "untrained")
    return Table(
        key=f"controls-{kind}",
        title=f"{titled(kind)} by shortcuts",
        caption="Chance-corrected precision of each encoder on pictures without anatomy, and how much more it has than "
        "32 x 32 pixels and an untrained network on the same pictures.",
        columns=(*_COLUMNS, *(name.format(base) for base in bases for name in _DIFFERENCES)),
        rows=rows,
        formula="corrected: (P - E) / (1 - E); over: the difference of corrected precision to the baseline",
        notes=(
            "Intervals and p: every patient left out in turn, as query and in the gallery. An encoder that finds more "
            "than both baselines where there is no anatomy uses a shortcut; what a baseline finds, the data give away.",
            *_left_out(names),
        ),
    )


def _left_out(shown: Collection[str]) -> list[str]:
    """A note on controls that could be drawn and say nothing."""
    drawn = WHAT if FULL in shown else OF_FRAMES
    missing = [name for name in drawn if name not in shown]
    if not missing:
        return []
    return [
        f"Left out, since all their pictures are one picture: {', '.join(missing)}. One mask that covers the scans of "
        "all pictures may cover everything, and pictures may have one size."
    ]
