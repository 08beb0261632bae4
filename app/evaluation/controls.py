"""Shortcut controls: how well labels are found by what is no anatomy, beside pixels and an untrained network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.domain import Frame, ImageFacts, Pixels, Vectors
from app.encoders.base import Encoder, embed
from app.evaluation import control_pictures as draw
from app.evaluation.baselines import PIXELS, UNTRAINED, pixel_vectors, untrained_encoder
from app.evaluation.both_roles import leave_out_patients
from app.evaluation.ground import Contestant, Ground, with_vectors
from app.evaluation.partial import PartialVectors
from app.evaluation.patient_report import Settings
from app.evaluation.protocol import rank_kinds
from app.evaluation.significance import PairedDifference, paired_differences
from app.evaluation.state import state_of_code, state_of_ground
from app.evaluation.trials import Trials, trials_of
from app.evaluation.whole_ranking import whole_lists
from app.images.hull import Mask
from app.images.reader import Picture
from app.metrics.jackknife import Jackknife, jackknife
from app.metrics.precision import Numbers
from app.scores.pixels import make_canvas

FRAME, SIZE, OUTLINE, FILLED = "frame as stored", "picture size", "hull outline", "hull filled"
FULL, OVERLAYS, BACKGROUND, SHARED = "full picture", "overlays", "background", "overlays, common mask"

WHAT = {
    FRAME: "the stored frame: cropped to the scan, all else black",
    FULL: "the picture as it came, nothing cropped or blanked",
    OVERLAYS: "the picture without its scan: letters, logos, rulers, and the shape of the hole",
    SHARED: "the picture without what any scan of the library covers (one mask for all): letters, logos, rulers only",
    BACKGROUND: "the picture without scan and marks: the background's grey level, and the size",
    OUTLINE: "the outline of the scan, white on black",
    FILLED: "the shape of the scan, white on black",
    SIZE: "a white rectangle as large as the frame on a black square common to all",
}
"""Control -> what its pictures show."""

OF_FRAMES = (FRAME, OUTLINE, FILLED, SIZE)
"""Those that can be drawn from stored frames alone."""

_AT_ONCE = 16

Progress = Callable[[int], None]
Maker = Callable[[list[Frame]], Vectors]


@dataclass(frozen=True, slots=True)
class ControlFigures:
    """How well one contestant finds the labels of a kind by the pictures of one control.

    ``corrected`` is (P - E) / (1 - E) with P the micro P@10 and E what chance gives; ``interval`` is of it, by leaving
    out every patient in both roles. ``over_pixels`` and ``over_untrained`` are how much more P@10 / (1 - E) it has
    than 32 x 32 pixels and an untrained network on the same pictures, with interval and p likewise: what counts,
    since the data alone gives those something.
    """

    control: str
    contestant: str
    kind: str
    p_at_10: float
    expected: float
    corrected: float
    interval: Jackknife
    over_pixels: Jackknife | None
    over_untrained: Jackknife | None


@dataclass(frozen=True, slots=True)
class Sources:
    """The pictures of a library: ``frame`` gives the stored frame of a row, ``picture`` the whole one it came from.

    ``picture`` is None where only stored frames are at hand; ``state`` is another text where pictures may be others.
    """

    frame: Callable[[int], Pixels]
    picture: Callable[[int], Picture] | None = None
    state: str = ""


def control_names(sources: Sources) -> list[str]:
    """The controls that can be had of some sources."""
    return [name for name in WHAT if sources.picture is not None or name in OF_FRAMES]


def steps_of(ground: Ground, sources: Sources) -> int:
    """What ``progress`` adds up to: the pictures that are read."""
    return len(ground) * (2 if sources.picture is not None else 1)


def shortcut_controls(
    ground: Ground,
    rows: Contestant,
    encoders: Mapping[str, Encoder],
    kinds: Sequence[str],
    sources: Sources,
    settings: Settings,
    *,
    partial: Path | None = None,
    progress: Progress = lambda _n: None,
) -> list[ControlFigures]:
    """The figures of every control, label kind and contestant: some encoders, 32 x 32 pixels, an untrained network.

    A control whose pictures are all alike has none, nor has a kind that every image carries in the same way. ``rows``
    is any contestant of the ground, for its rows. In ``partial`` vectors are kept as they come, so that an
    interrupted run can go on. Raises what the sources raise.
    """
    found: list[ControlFigures] = []
    networks = {**encoders, UNTRAINED: untrained_encoder()}
    makers = {
        **{name: _with(networks[name]) for name in encoders},
        PIXELS: _pixels,
        UNTRAINED: _with(networks[UNTRAINED]),
    }
    digests = [networks[name].digest for name in networks]
    kept = PartialVectors(partial, state_of_ground(ground), state_of_code(), sources.state, *digests)
    vectors = _embedded(ground, makers, sources, kept, progress)
    for control in control_names(sources):
        if _all_alike(vectors[control, PIXELS]):
            continue  # equal vectors would be ranked by id
        contestants = [with_vectors(rows.snapshot, name, name, vectors[control, name]) for name in makers]
        for kind in kinds:
            if len(ground.carriers(kind)) > 1:
                found += _figures(ground, contestants, kind, control, settings)
    return found


def _all_alike(vectors: Vectors) -> bool:
    """Whether all pictures of a control are one picture, as all black ones are."""
    return bool((vectors == vectors[0]).all())


def _embedded(
    ground: Ground, makers: Mapping[str, Maker], sources: Sources, kept: PartialVectors, progress: Progress
) -> dict[tuple[str, str], Vectors]:
    """(Control, contestant) -> vectors of all rows."""
    shared = None if sources.picture is None else draw.shared_mask(_masks(ground, sources.picture, progress))
    side = max(max(sources.frame(row).shape[:2]) for row in range(len(ground)))
    keys = [(control, name) for control in control_names(sources) for name in makers]
    blocks: list[Sequence[Vectors]] = []
    for start in range(0, len(ground), _AT_ONCE):
        rows = range(start, min(start + _AT_ONCE, len(ground)))

        def embedded(rows: range = rows) -> list[Vectors]:
            drawn = [_controls_of(sources, row, side, shared) for row in rows]
            return [makers[name]([one[control] for one in drawn]) for control, name in keys]

        blocks.append(kept.get(rows, [f"{control}: {name}" for control, name in keys], embedded))
        progress(len(rows))
    return {key: np.concatenate([block[place] for block in blocks]) for place, key in enumerate(keys)}


def _masks(ground: Ground, picture_of: Callable[[int], Picture], progress: Progress) -> Iterator[Mask]:
    for row in range(len(ground)):
        picture = picture_of(row)
        yield draw.scan_mask(picture.pixels, picture.scan)
        progress(1)


def _controls_of(sources: Sources, row: int, side: int, shared: Mask | None) -> dict[str, Frame]:
    """All control pictures of a row."""
    frame = sources.frame(row)
    inside = draw.grey(frame) > 0
    drawn = {
        FRAME: frame,
        OUTLINE: draw.hull_outline(inside),
        FILLED: draw.hull_filled(inside),
        SIZE: draw.picture_size(frame.shape[1], frame.shape[0], side),
    }
    if sources.picture is not None and shared is not None:
        picture = sources.picture(row)
        scan = draw.scan_mask(picture.pixels, picture.scan)
        drawn[FULL] = picture.pixels
        drawn[OVERLAYS] = draw.overlays(picture.pixels, scan)
        drawn[BACKGROUND] = draw.background(picture.pixels, scan)
        drawn[SHARED] = draw.under_shared_mask(picture.pixels, shared)
    return {name: Frame(pixels, _NO_FACTS) for name, pixels in drawn.items()}


_NO_FACTS = ImageFacts(sha256="", format="png", width=0, height=0)


def _with(encoder: Encoder) -> Maker:
    return lambda frames: embed(encoder, frames)


def _pixels(frames: list[Frame]) -> Vectors:
    return pixel_vectors([make_canvas(frame.pixels) for frame in frames])


def _figures(
    ground: Ground, contestants: Sequence[Contestant], kind: str, control: str, settings: Settings
) -> list[ControlFigures]:
    """Of one control and kind; the last two contestants are the pixels and the untrained network."""
    trials, left_out = [], []
    for one in contestants:
        ranked = rank_kinds(ground, one, [kind], settings.protocol, patients=settings.patients)[kind]
        trials.append(trials_of(ground, ranked))
        lists = whole_lists(ground, one, trials[-1])
        left_out.append(leave_out_patients(ground, trials[-1], lists.first, trials[-1].large(settings.min_images)))
    expected = _chance(trials[0])
    if expected >= 1:  # every neighbour carries the label: there is nothing to find
        return []
    pixels, untrained = len(contestants) - 2, len(contestants) - 1
    pairs = [(place, base) for base in (pixels, untrained) for place in range(len(contestants)) if place != base]
    differences = paired_differences(trials, left_out, pairs=pairs, draws=100, flips=100, seed=settings.seed)
    found: list[ControlFigures] = []
    for contestant, without in zip(contestants, left_out, strict=True):
        corrected = float(_corrected(np.asarray(without.micro), expected))
        found.append(
            ControlFigures(
                control=control,
                contestant=contestant.name,
                kind=kind,
                p_at_10=without.micro,
                expected=expected,
                corrected=corrected,
                interval=jackknife(corrected, _corrected(without.without_micro, expected)),
                over_pixels=_over(differences, contestant.name, PIXELS, expected),
                over_untrained=_over(differences, contestant.name, UNTRAINED, expected),
            )
        )
    return found


def _chance(trials: Trials) -> float:
    """Mean P@10 of neighbours at random."""
    return float((trials.expected / trials.shown).mean())


def _corrected(precision: Numbers, expected: float) -> Numbers:
    """(P - E) / (1 - E)."""
    corrected: Numbers = (precision - expected) / (1 - expected)
    return corrected


def _over(differences: Sequence[PairedDifference], name: str, base: str, expected: float) -> Jackknife | None:
    """How much more than a baseline, in corrected precision."""
    for one in differences:
        if (one.first, one.second, one.average) == (name, base, "micro") and one.both_roles is not None:
            both, scale = one.both_roles, 1 - expected
            numbers = (both.value, both.standard_error, both.low, both.high)
            value, error, low, high = (None if number is None else number / scale for number in numbers)
            return Jackknife(value, error, low, high, both.p)
    return None
