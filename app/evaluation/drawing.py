"""Drawings that stand inside a page: matplotlib's SVG, without what would name a time, a tool or a network."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from app.errors import Misconfigured

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5b4a8a", "#8c6d1f")
"""Okabe and Ito's palette, which colour-blind readers tell apart; its yellow and black are replaced for contrast."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Shapes, so that nothing is told by colour alone."""

GREY = "#8a8f98"

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_STYLE: Any = {
    "svg.hashsalt": "sonoseek",  # ids that are the same in every run
    "svg.fonttype": "none",  # words stay words: small, and they can be searched and read aloud
    "text.parse_math": False,  # a label may hold a dollar sign
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e7eb",
    "axes.edgecolor": "#5b6370",
    "legend.frameon": False,
}


@dataclass(frozen=True, slots=True)
class Drawing:
    """An SVG element as text, what it shows in a title and a caption, and the same for who cannot see it."""

    key: str
    title: str
    caption: str
    alt: str
    svg: str


@contextmanager
def drawn(width: float, height: float) -> Iterator[Figure]:
    """A figure of so many inches in the house style; raises Misconfigured ``extra_missing``."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise Misconfigured(
            "extra_missing", "a report's plots need matplotlib", hint="pip install 'sonoseek[evaluation]'"
        ) from None
    with mpl.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def as_svg(figure: Figure, key: str, alt: str) -> str:
    """The figure as an SVG element, to be called inside ``drawn``. ``key`` keeps its ids apart from other figures'."""
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _cleaned(written.getvalue(), key, alt)


def _cleaned(svg: str, key: str, alt: str) -> str:
    """Without document type, metadata and global styles; ids made unique in the page."""
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(svg)  # noqa: S314 - matplotlib wrote it just now
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        _rename(element, key)
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-label": alt, "stroke-linejoin": "round", "stroke-linecap": "butt"}
    return ElementTree.tostring(root, encoding="unicode")


def _rename(element: ElementTree.Element[Any], key: str) -> None:
    for name, value in list(element.attrib.items()):
        if name == "id":
            element.attrib[name] = f"{key}-{value}"
        elif name == f"{{{_XLINK}}}href" and value.startswith("#"):
            element.attrib[name] = f"#{key}-{value[1:]}"
        elif "url(#" in value:
            element.attrib[name] = value.replace("url(#", f"url(#{key}-")
