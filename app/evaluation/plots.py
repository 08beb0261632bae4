"""The plots of a report, one function each: figures come in, a drawing comes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from app.evaluation.columns import titled
from app.evaluation.drawing import COLOURS, GREY, MARKERS, Drawing, as_svg, drawn
from app.evaluation.index_size import IndexSizeCurve
from app.evaluation.pair_distances import EDGES, PairDistances
from app.evaluation.patient_figures import ClassFigures, KindFigures
from app.evaluation.shared_labels import Confusion

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CLASSES = 30
"""Classes that a plot shows, the largest; the tables have all."""

_WIDTH = 7.4
_LINE = 0.19  # inches that a line of text takes
_LABEL = 34  # characters of a label that a plot shows
_DIM = 0.55  # below so much of the darkest cell, text is dark


def overview(kind: str, figures: Sequence[KindFigures]) -> Drawing:
    """P@10 of every contestant with both intervals, and chance."""
    alt = f"Precision of {len(figures)} encoders for {titled(kind)}, with intervals and chance."
    with drawn(_WIDTH, 0.9 + 0.42 * len(figures)) as figure:
        axes = figure.add_subplot()
        for place, one in enumerate(figures):
            _estimate(axes, place, one, COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)])
        axes.set_yticks(range(len(figures)), [shortened(one.contestant) for one in figures])
        axes.set(xlabel="share of the ten nearest that carry the label (P@10, micro)", xlim=(0, 1.02))
        axes.set_ylim(len(figures) - 0.4, -0.75)
        return Drawing(
            f"overview-{kind}",
            f"{titled(kind)}: how often a neighbour carries the label",
            "Point: P@10 over all queries. Thin line: 95 % interval with every patient left out in turn, as query and "
            "in the gallery. Thick line: 95 % by bootstrap over the queries' patients, which holds the gallery fixed "
            "and is too narrow. Grey stroke: chance.",
            alt,
            as_svg(figure, f"overview-{kind}", alt),
        )


def precision_per_class(kind: str, figures: Sequence[KindFigures]) -> Drawing:
    """P@10 of every class under every contestant, with intervals and chance; the largest classes first."""
    labels = _largest(figures)
    alt = f"Precision per class of {titled(kind)}, {len(labels)} classes, {len(figures)} encoders."
    with drawn(_WIDTH, _height(len(labels), len(figures))) as figure:
        axes = figure.add_subplot()
        for number, one in enumerate(figures):
            found = _by_label(one)
            for place, label in enumerate(labels):
                _class_point(axes, place + _offset(number, len(figures)), found[label], number, one.contestant)
        for place, label in enumerate(labels):
            chance = _by_label(figures[0])[label].expected_in_10
            if chance is not None:
                axes.vlines(chance / 10, place - 0.4, place + 0.4, color=GREY, linewidth=1.5, zorder=1)
        _class_axis(axes, labels, figures)
        axes.set(xlabel="P@10, 95 % by bootstrap over patients; grey stroke: chance", xlim=(0, 1.02))
        return Drawing(
            f"classes-{kind}",
            f"{titled(kind)}: precision per class",
            "In brackets the images of a class. Intervals hold the gallery fixed; a class of few patients has a wide "
            "one or none. " + _left_out(figures, labels),
            alt,
            as_svg(figure, f"classes-{kind}", alt),
        )


def lift_per_class(kind: str, figures: Sequence[KindFigures]) -> Drawing | None:
    """How many times more often than chance; None where no class was found at all."""
    labels = _largest(figures)
    if not any(one.lift for found in figures for one in found.classes):
        return None
    alt = f"Lift per class of {titled(kind)} over chance, {len(labels)} classes, {len(figures)} encoders."
    with drawn(_WIDTH, _height(len(labels), len(figures))) as figure:
        axes = figure.add_subplot()
        for number, one in enumerate(figures):
            found = _by_label(one)
            points = [
                (lift, place + _offset(number, len(figures)))
                for place, label in enumerate(labels)
                if (lift := found[label].lift)
            ]
            axes.plot(*_columns(points), **_look(number), linestyle="none", label=shortened(one.contestant))
        axes.axvline(1.0, color=GREY, linewidth=1.5)
        _class_axis(axes, labels, figures)
        _log_axis(axes)
        axes.set_xlabel("found / expected by chance (1 = chance, logarithmic)")
        return Drawing(
            f"lift-{kind}",
            f"{titled(kind)}: lift per class",
            "Rare classes can reach a higher lift than common ones, so read it beside the precision. A class of which "
            "nothing was found has no point. " + _left_out(figures, labels),
            alt,
            as_svg(figure, f"lift-{kind}", alt),
        )


def precision_against_size(kind: str, figures: Sequence[KindFigures]) -> Drawing:
    """P@10 of each class against how many images it has."""
    alt = f"Precision of the classes of {titled(kind)} against their number of images."
    with drawn(_WIDTH, 3.4) as figure:
        axes = figure.add_subplot()
        for number, one in enumerate(figures):
            points = [(found.images, found.p_at_10.value) for found in one.classes if found.p_at_10.value is not None]
            axes.plot(*_columns(points), **_look(number), linestyle="none", label=shortened(one.contestant), alpha=0.8)
        least = figures[0].min_images
        axes.axvline(least, color=GREY, linewidth=1, linestyle="--")
        _log_axis(axes)
        axes.set(xlabel="images of the class (logarithmic)", ylabel="P@10", ylim=(-0.03, 1.03))
        figure.legend(loc="outside upper left", ncols=3)
        return Drawing(
            f"size-{kind}",
            f"{titled(kind)}: precision against class size",
            f"Dashed: {least} images, from which on a class counts in macro figures. Small classes have few to find, "
            "so their precision has a low ceiling.",
            alt,
            as_svg(figure, f"size-{kind}", alt),
        )


def index_size(kind: str, curves: Sequence[IndexSizeCurve]) -> Drawing:
    """P@10 while the gallery grows by whole patients."""
    alt = f"Precision for {titled(kind)} against the size of the gallery."
    with drawn(_WIDTH, 3.2) as figure:
        axes = figure.add_subplot()
        for number, one in enumerate(curves):
            points = [(point.images, point.p_at_10) for point in one.points if point.p_at_10 is not None]
            axes.plot(*_columns(points), **_look(number), linewidth=1.3, label=shortened(one.contestant))
        chance = [(point.images, point.chance) for point in curves[0].points if point.chance is not None]
        axes.plot(*_columns(chance), color=GREY, linewidth=1.5, label="chance")
        axes.set(xlabel="images in the gallery", ylabel="P@10", ylim=(0, 1.03))
        figure.legend(loc="outside upper left", ncols=4)
        return Drawing(
            f"growth-{kind}",
            f"{titled(kind)}: would more references help?",
            "Parts of the gallery are drawn by whole patients; where the line still rises, more references help.",
            alt,
            as_svg(figure, f"growth-{kind}", alt),
        )


def confusion(found: Confusion) -> Drawing:
    """Which labels the neighbours of each label carry."""
    names = [shortened(label, 22) for label in found.labels]
    alt = f"Labels of the neighbours by label of the query, {len(names)} labels of {titled(found.kind)}."
    with drawn(_WIDTH, 1.6 + 0.34 * len(names)) as figure:
        axes = figure.add_subplot()
        axes.grid(visible=False)
        axes.imshow(found.shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        for row, column in ((row, column) for row in range(len(names)) for column in range(len(names))):
            share = float(found.shares[row, column])
            if share >= 0.005:
                colour = "#ffffff" if share > _DIM else "#1b1f24"
                axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=8)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), [f"{name} ({n})" for name, n in zip(names, found.queries, strict=True)])
        axes.set(xlabel="label of the neighbour", ylabel="label of the query (queries)")
        more = f" The {len(names)} largest of {found.of_labels} labels." if found.of_labels > len(names) else ""
        return Drawing(
            "confusion",
            f"{titled(found.kind)}: what is taken for what, under {found.contestant}",
            "Share of the ten nearest that carry the label of the column, in per cent; what rounds to 0 is left out."
            + more,
            alt,
            as_svg(figure, "confusion", alt),
        )


def distances(kind: str, found: Sequence[PairDistances]) -> Drawing:
    """Distances of pairs that share a label and of pairs that do not, a panel for each contestant."""
    alt = f"Distances of pairs of pictures that share a label of {titled(kind)} and of pairs that do not."
    with drawn(_WIDTH, 0.8 + 1.55 * len(found)) as figure:
        for place, one in enumerate(found):
            axes = figure.add_subplot(len(found), 1, place + 1)
            for name, counts, colour, style in (
                ("same label", one.same, COLOURS[0], "-"),
                ("other label", one.other, COLOURS[1], "--"),
                ("the ten nearest", one.nearest, "#1b1f24", ":"),
                ("photographs", one.natural, COLOURS[2], "-."),
            ):
                if counts.sum():
                    heights = counts / counts.sum()
                    axes.stairs(heights, EDGES, color=colour, linestyle=style, linewidth=1.4, label=name)
            axes.set(title=f"{shortened(one.contestant)}: {one.wrong:.1%} of pairs in the wrong order", yticks=())
            axes.set_xlim(*one.limits)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
        axes.set_xlabel("Euclidean distance of unit vectors (0 to 2)")
        return Drawing(
            "distances",
            f"{titled(kind)}: distances of pairs with the same and with another label",
            f"Pairs of {found[0].queries} queries and all that they may see. Wrong order: a pair that shares no label "
            "is nearer than one that does (50 % = no better than chance). Photographs: scikit-image's, no scans at "
            "all. Each line has the same area.",
            alt,
            as_svg(figure, "distances", alt),
        )


def shortened(label: str, most: int = _LABEL) -> str:
    """A label as far as a plot has room for it."""
    label = "".join(character if character.isprintable() else " " for character in label)
    return label if len(label) <= most else label[: most - 1] + "…"


def _estimate(axes: Axes, place: int, one: KindFigures, colour: str, marker: str) -> None:
    found, both = one.p_at_10, one.both_roles
    if found.micro is None:
        return
    if both.low is not None and both.high is not None:
        axes.hlines(place, both.low, both.high, color=colour, linewidth=1.3)
    if found.low is not None and found.high is not None:
        axes.hlines(place, found.low, found.high, color=colour, linewidth=5, alpha=0.35)
    axes.plot([found.micro], [place], color=colour, marker=marker, markersize=6)
    if one.chance.micro is not None:
        axes.vlines(one.chance.micro, place - 0.35, place + 0.35, color=GREY, linewidth=2)
    axes.text(found.micro, place - 0.2, f"{found.micro:.3f}", ha="center", va="bottom", fontsize=8)


def _class_point(axes: Axes, place: float, one: ClassFigures, number: int, name: str) -> None:
    found = one.p_at_10
    if found.value is None:
        return
    if found.low is not None and found.high is not None:
        axes.hlines(place, found.low, found.high, color=COLOURS[number % len(COLOURS)], linewidth=1.3)
    axes.plot([found.value], [place], **_look(number), linestyle="none", label=shortened(name))


def _class_axis(axes: Axes, labels: Sequence[str], figures: Sequence[KindFigures]) -> None:
    sizes = {found.label: found.images for found in figures[0].classes}
    axes.set_yticks(range(len(labels)), [f"{shortened(label)} ({sizes[label]})" for label in labels])
    axes.set_ylim(len(labels) - 0.45, -0.55)
    axes.grid(visible=False, axis="y")
    for place in range(0, len(labels), 2):
        axes.axhspan(place - 0.5, place + 0.5, color="#f4f6f8", linewidth=0, zorder=-1)
    handles, names = axes.get_legend_handles_labels()
    first = dict(zip(names[::-1], handles[::-1], strict=True))  # one entry for each contestant
    order = [name for name in dict.fromkeys(names) if name in first]
    figure = axes.get_figure()
    if figure is not None and order:
        figure.legend([first[name] for name in order], order, loc="outside upper left", ncols=3)


def _log_axis(axes: Axes) -> None:
    """Logarithmic with plain numbers, at most a handful of them."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _look(number: int) -> dict[str, Any]:
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 4.5,
    }


def _largest(figures: Sequence[KindFigures]) -> list[str]:
    found = sorted(figures[0].classes, key=lambda one: (-one.images, one.label))
    return [one.label for one in found[:MOST_CLASSES]]


def _left_out(figures: Sequence[KindFigures], labels: Sequence[str]) -> str:
    more = len(figures[0].classes) - len(labels)
    return f"The {len(labels)} largest classes; {more} smaller ones stand in the table." if more else ""


def _by_label(one: KindFigures) -> dict[str, ClassFigures]:
    return {found.label: found for found in one.classes}


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _offset(number: int, of: int) -> float:
    """Contestants beside each other within the line of a class."""
    return 0.0 if of == 1 else 0.62 * (number / (of - 1) - 0.5)


def _height(classes: int, contestants: int) -> float:
    return 1.1 + classes * max(_LINE * 1.15, 0.12 * contestants)
