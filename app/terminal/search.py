"""The answer of a search: a table of neighbours that fits its terminal, and the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from rich.table import Table

from app.terminal.console import out
from app.terminal.numbers import decimals

if TYPE_CHECKING:  # a command that prints no table must not pay for them
    from app.api.schemas.search import NeighbourBody, SearchBody, TargetBody

_NUMBERS = ("rank", "distance", "dreamsim", "histogram", "mse")
_HEADINGS = (*_NUMBERS, "organ", "plane", "diagnoses", "reference")
_GIVING_WAY = ("plane", "histogram", "mse")
"""Columns of a search that are left out, in this order, where lines are too short."""

_LEAST = {"organ": 24, "plane": 24, "diagnoses": 12, "reference": 12}
"""Characters that columns of text need to be read when they are folded; all others are never folded."""


def print_search(body: SearchBody) -> None:
    """The answer of a search as a table, with the evidence below."""
    query = body.query
    out.print(
        f"{query.width} x {query.height} {query.format}, region {query.region} ({query.region_source}); "
        f"library {body.library.name} ({body.library.size} references), encoder {body.encoder.name}, "
        f"{body.timings_ms['total']:.0f} ms",
    )
    if body.target:
        out.print(f"  {target_text(body.target)}")
    _print_neighbours([_cells(found) for found in body.neighbours])
    for evidence in body.evidence:
        support = "  (few references)" if evidence.low_support else ""
        out.print(
            f"  library label {evidence.kind} {evidence.label}: {evidence.found} of {len(body.neighbours)} carry it, "
            f"{evidence.expected:.1f} expected by chance{support}",
        )
    for text in (*body.scope.warnings, *(f"{name}: {why}" for name, why in body.unavailable.items())):
        out.print(f"  note: {text}")


def target_text(target: TargetBody) -> str:
    """Why an encoder searched: what the library adopted it by."""
    interval = ""
    if target.low is not None and target.high is not None:
        interval = f" (95 % interval {10 * target.low:.1f} to {10 * target.high:.1f})"
    chance = "" if target.chance is None else f", {10 * target.chance:.1f} by chance"
    return (
        f"adopted for {target.kind}: {10 * target.figure:.1f} of ten neighbours shared it{interval}{chance}, judged "
        f"at library version {target.library_version}"
    )


def score_text(score: object) -> str:
    """A score as a number, or each of its numbers by name."""
    if isinstance(score, float | int):
        return f"{score:.4g}"
    numbers = vars(score)
    return ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())


def _print_neighbours(rows: list[dict[str, str]]) -> None:
    """Ranks, distances and scores, then the labels; columns that would be empty are left out."""
    if not rows:
        out.print("no neighbours")
        return
    headings = [heading for heading in _HEADINGS if any(row[heading] for row in rows)]
    longest = {heading: max(len(heading), *(len(row[heading]) for row in rows)) for heading in headings}
    least = {heading: min(length, _LEAST.get(heading, length)) for heading, length in longest.items()}
    shown = _fitting(headings, least)
    needed = _width(shown, least)
    table = Table(box=None, pad_edge=False, width=needed if needed > out.width else None)
    for heading in shown:
        justify: Literal["left", "right"] = "right" if heading in _NUMBERS else "left"
        table.add_column(heading, justify=justify, overflow="fold", no_wrap=longest[heading] == least[heading])
    for row in rows:
        table.add_row(*(row[heading] for heading in shown))
    out.print(table)
    if "dreamsim" in shown:
        out.print("  dreamsim: the distance, 0 is the same")
    if left_out := [heading for heading in _GIVING_WAY if heading in headings and heading not in shown]:
        out.print(f"  no room for {', '.join(left_out)}: --json shows all")


def _fitting(headings: list[str], least: Mapping[str, int]) -> list[str]:
    """The headings without those that must give way for the others to be read at this width."""
    shown = headings
    for heading in _GIVING_WAY:
        if _width(shown, least) > out.width:
            shown = [name for name in shown if name != heading]
    return shown


def _width(headings: list[str], least: Mapping[str, int]) -> int:
    return sum(least[heading] + 2 for heading in headings)  # each with a space on either side


def _cells(found: NeighbourBody) -> dict[str, str]:
    labels, scores = found.labels, found.scores
    dreamsim = scores.get("dreamsim")
    return {
        "rank": str(found.rank),
        "distance": f"{found.distance:.3f}",
        "dreamsim": "" if dreamsim is None or isinstance(dreamsim, float) else f"{dreamsim.distance:.3f}",
        "histogram": decimals(scores.get("histogram"), 2),
        "mse": decimals(scores.get("mse"), 0),
        "organ": labels.organ or "",
        "plane": labels.plane or "",
        "diagnoses": ", ".join(labels.diagnoses),
        "reference": found.external_id or found.reference_id,
    }
