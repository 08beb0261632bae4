"""Burned-in writing in the stored frames of a library: what of it can be seen there, beside the scan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.domain import Pixels, RegionSource
from app.evaluation.ground import Ground
from app.images.hull import hull_of
from app.images.overlay import BRIGHT, find_overlay
from app.images.reader import FRAME_DIGEST, read_stored
from app.images.sketch import sketch
from app.images.tissue import find_tissue
from app.library.catalogue import Catalogue
from app.search.snapshot import ShelvedReference

LEAST_SHARE = 0.0002
"""Share of a frame that writing covers at least: one word of five letters in 1024 x 768 pixels covers more.

Seen on lung, hc18 and early (frames blanked by the same rule): 0 in 386 of 395, at most .002; on 60 synthetic screens
that were not cropped: .015 and more.
"""

_PAGE = 500


@dataclass(frozen=True, slots=True)
class MarkedFrame:
    """A row with writing in its stored frame: its share of the pixels, None where the frame shows no scan at all."""

    row: int
    share: float | None


@dataclass(frozen=True, slots=True)
class FrameAudit:
    """What was seen in the frames.

    ``sources`` counts how scan regions became known; ``marked`` begins with frames that show no scan, then most writing
    first; ``outdated`` frames were made by other rules than this version's; the frames of ``missing`` rows are gone.
    """

    sources: Mapping[str, int]
    marked: tuple[MarkedFrame, ...]
    outdated: int
    missing: tuple[int, ...]


def audit_frames(catalogue: Catalogue, ground: Ground, progress: Callable[[str, int, int], None]) -> FrameAudit:
    """Look at the stored frame of every reference."""
    marked, missing = [], []
    for row, one in enumerate(ground.references):
        pixels = stored_pixels(catalogue, one)
        if pixels is None:
            missing.append(row)
        else:
            share = share_of_writing(pixels)
            if share is None or share >= LEAST_SHARE:
                marked.append(MarkedFrame(row, share))
        progress("looking for writing", row + 1, len(ground))
    return FrameAudit(
        sources=_sources(catalogue, ground.info.name),
        marked=tuple(sorted(marked, key=lambda one: (one.share is not None, -(one.share or 0.0), one.row))),
        outdated=sum(one.frame_digest != FRAME_DIGEST for one in ground.references),
        missing=tuple(missing),
    )


def share_of_writing(pixels: Pixels) -> float | None:
    """The share of a frame that sharp bright marks with black around them cover, 0..1; None where it shows no scan.

    Frames whose region was detected have been blanked by the same rule, so that this finds what came in by another way:
    a region that was given, a header's box, a picture that was enrolled unmasked. Letters on tissue cannot be told from
    tissue.
    """
    grey = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    drawing = sketch(grey)
    scan = find_tissue(drawing)
    if scan is None:
        return None
    marks = find_overlay(drawing, scan, hull_of(scan)) & (grey >= BRIGHT)
    return float(marks.mean())


def stored_pixels(catalogue: Catalogue, reference: ShelvedReference) -> Pixels | None:
    """The stored frame of a reference; None where its file is gone, which an audit tells rather than stops at."""
    path = catalogue.files.path(reference.id)
    return read_stored(path.read_bytes()) if path.is_file() else None


def _sources(catalogue: Catalogue, library: str) -> dict[str, int]:
    """How often each way of knowing the scan region occurs."""
    counts: Counter[str] = Counter()
    after: str | None = None
    while page := catalogue.listing.page(library, after=after, limit=_PAGE):
        counts.update(one.facts.region_source.value for one in page)
        after = page[-1].id
    return {source.value: counts[source.value] for source in RegionSource if counts[source.value]}
