"""An audit as one HTML file that needs nothing else: findings in words, and pictures that somebody should look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from app.errors import Misconfigured
from app.evaluation.audit import Audit
from app.evaluation.audit_report import audit_lines, by_verdict, name_of, real_conflicts, said_of
from app.evaluation.contradictions import Contradiction
from app.evaluation.near_duplicates import NearDuplicate, Verdict
from app.evaluation.thumbnails import ReadFrame, data_uri
from app.version import VERSION

MOST_CASES = 60
"""Cases that a section shows; all of them stand in the JSON."""

_SIDE = 220
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Picture:
    """A reference in a gallery: ``image`` is a data URI, None without a stored frame; ``kind`` is how it is marked."""

    name: str
    said: str
    image: str | None
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """Pictures that belong together, and what is the matter with them."""

    text: str
    pictures: Sequence[Picture]


@dataclass(frozen=True, slots=True)
class Section:
    """Cases of one sort; ``more`` counts those that are not shown."""

    title: str
    text: str
    cases: Sequence[Case]
    more: int


def audit_page(audit: Audit, read_frame: ReadFrame) -> str:
    """The page; raises Misconfigured ``extra_missing`` where Jinja is not installed."""
    try:
        import jinja2
    except ModuleNotFoundError:
        raise Misconfigured(
            "extra_missing", "the page of an audit needs Jinja", hint="pip install 'sonoseek[evaluation]'"
        ) from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    info = audit.ground.info
    return environment.get_template("audit.html").render(
        library=info.name,
        library_version=info.version,
        size=len(audit.ground),
        version=VERSION,
        encoders=audit.encoders,
        lines=[line for line in audit_lines(audit) if not line.startswith("  ")],
        sections=list(_sections(audit, _gallery(audit, read_frame))),
    )


Show = Callable[[int, str], Picture]


def _sections(audit: Audit, show: Show) -> Iterable[Section]:
    yield _section(
        "The same picture, different words",
        "One of the two is wrong, or both. Other patients: one person stands in the library under two names.",
        [(f"Other {', '.join(one.about)}: {_measured(one.pair)}", _pair(one.pair)) for one in real_conflicts(audit)],
        show,
    )
    for kind, found in audit.contradictions.items():
        yield _section(
            f"Likely mislabelled: {kind}",
            "More of the ten nearest references of other patients carry the suggested label (outlined) than the own. "
            "The most likely errors come first; rare appearances and classes that look alike stand here too.",
            [(_suggestion(one), _with_neighbours(audit, one)) for one in found],
            show,
        )
    yield _section(
        "Writing beside the scan, or no scan",
        "Sharp bright marks with black around them in the stored frame. Letters on tissue cannot be told from it and "
        "are not here.",
        [
            ("No scan was found in it" if one.share is None else f"{one.share:.2%} of the frame", [(one.row, "")])
            for one in audit.frames.marked
        ],
        show,
    )
    for verdict, text in (
        (Verdict.SAME, "One can be laid on the other, resized or cut. Count them once."),
        (
            Verdict.ALIKE,
            "Their hashes are near, so that without patients they count as one; laid on each other they do not agree.",
        ),
    ):
        pairs = [(_measured(pair), _pair(pair)) for pair in by_verdict(audit, verdict)]
        yield _section(f"Near-duplicates: {verdict.value}", text, pairs, show)


def _section(title: str, text: str, cases: Sequence[tuple[str, Sequence[tuple[int, str]]]], show: Show) -> Section:
    shown = [Case(what, [show(row, kind) for row, kind in rows]) for what, rows in cases[:MOST_CASES]]
    return Section(title, text, shown, len(cases) - len(shown))


def _pair(pair: NearDuplicate) -> list[tuple[int, str]]:
    return [(pair.first, ""), (pair.second, "")]


def _measured(pair: NearDuplicate) -> str:
    distances = ", ".join(f"{name} {value:.3f}" for name, value in pair.distances.items())
    laid = (
        f"correlation {pair.correlation:.3f} on {pair.points} points"
        if pair.points
        else "one cannot be laid on the other"
    )
    return f"{laid}; hashes differ in {pair.bits} of 64 bits; distance {distances}"


def _suggestion(one: Contradiction) -> str:
    return f"{', '.join(one.labels)} ({one.own:g} of ten); suggested: {one.suggested} ({one.other:g} of ten)"


def _with_neighbours(audit: Audit, one: Contradiction) -> list[tuple[int, str]]:
    values = audit.ground.values(one.kind)
    return [(one.row, "asked"), *((row, "other" if one.suggested in values[row] else "") for row in one.neighbours)]


def _gallery(audit: Audit, read_frame: ReadFrame) -> Show:
    """A function that makes pictures; each is encoded once, however often it is shown."""

    @cache
    def image(row: int) -> str | None:
        pixels = read_frame(row)
        return None if pixels is None else data_uri(pixels, _SIDE)

    return lambda row, kind: Picture(name_of(audit, row), said_of(audit, row), image(row), kind)
