"""Contestants that nobody trained: small pixels, histograms, an untrained network. What an encoder must beat."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np
from PIL import Image

from app.domain import Frame, Pixels, Vectors
from app.encoders.base import Encoder, embed, unit_length
from app.encoders.preprocess import Preprocess
from app.encoders.weights import WeightStore, shipped_models
from app.errors import BadInput, Conflict
from app.evaluation.ground import Contestant, Ground, load_contestants, with_vectors
from app.images.reader import read_stored
from app.library.catalogue import Catalogue
from app.scores.pixels import Histogram

PIXELS, HISTOGRAM, UNTRAINED = "pixels-32", "histogram", "untrained-resnet"
BASELINES = (PIXELS, HISTOGRAM, UNTRAINED)
"""Names that stand for no encoder of the service: they can be judged, and never be adopted."""

SIDE = 32
_GREY = 255.0
_AT_ONCE = 128
_FRAMES = 16

Progress = Callable[[int], None]


def load_entrants(
    catalogue: Catalogue, library: str, names: Sequence[str], *, progress: Progress = lambda _n: None
) -> tuple[Ground, list[Contestant]]:
    """The named encoders and baselines over one version of a library, in the order of their names.

    Vectors of encoders are those that are stored, baselines are computed from the stored pictures; ``progress`` is
    told of these as they come, ``pictures_to_read`` in all. Raises what ``load_contestants`` raises, and Conflict
    ``library_changed``.
    """
    wanted = list(dict.fromkeys(names))
    encoders = [name for name in wanted if name not in BASELINES]
    ground, found = load_contestants(catalogue, library, encoders or [any_digest(catalogue, library)])
    entrants = dict(zip(encoders, found, strict=False))  # without encoders the found one only gives the rows
    for name in wanted:
        if name in BASELINES:
            entrants[name] = _baseline(catalogue, ground, found[0], name, progress)
    return ground, [entrants[name] for name in wanted]


def pictures_to_read(size: int, names: Sequence[str]) -> int:
    """How many pictures ``load_entrants`` reads of a library of some size: what ``progress`` adds up to."""
    return size * sum(name in BASELINES for name in set(names))


def is_baseline(contestant: Contestant) -> bool:
    """Whether a contestant is no encoder that the service could load."""
    return contestant.name in BASELINES


def pixel_vectors(canvases: Sequence[Pixels]) -> Vectors:
    """Canvases (256, 256) reduced to 32 x 32 by area, as unit-length rows (n, 1025): their distance is by angle.

    A last constant pixel gives a black picture a direction too; beside a scan it weighs next to nothing.
    """
    small = [np.asarray(Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BOX)).ravel() for one in canvases]
    rows = np.full((len(small), SIDE * SIDE + 1), _GREY, dtype=np.float32)
    rows[:, :-1] = np.stack(small)
    return unit_length(rows)


def histogram_vectors(histograms: Sequence[Histogram]) -> Vectors:
    """The roots of relative histograms (n, 256), which have unit length.

    Their distance orders pictures as the Bhattacharyya coefficient does (Hellinger distance, times the root of 2).
    """
    return unit_length(np.sqrt(np.stack(histograms).astype(np.float32)))


@cache
def untrained_encoder() -> Encoder:
    """The network of ``resnet-us`` with seeded first weights; it computes in the caller's thread."""
    from app.encoders.untrained import untrained_resnet  # torch is imported here

    shipped = WeightStore(shipped_models()).find("resnet-us").manifest
    return untrained_resnet(Preprocess.parse(shipped.preprocess))


def any_digest(catalogue: Catalogue, library: str) -> str:
    """The digest with most vectors; raises BadInput ``no_labels`` where there are none."""
    counts = catalogue.embeddings.counts(library)
    if not counts:
        raise BadInput(
            "no_labels",
            f"there is nothing in {library!r} that could be judged",
            hint=f"enrol images first: sonoseek enrol {library} MANIFEST",
        )
    return max(counts, key=lambda digest: (counts[digest][1], digest))


def _baseline(catalogue: Catalogue, ground: Ground, rows: Contestant, name: str, progress: Progress) -> Contestant:
    if name == UNTRAINED:
        encoder = untrained_encoder()
        blocks = [embed(encoder, frames) for frames in _frames(catalogue, ground, progress)]
        return with_vectors(rows.snapshot, name, encoder.digest, np.concatenate(blocks))
    blocks = list(_of_canvases(catalogue, ground, name, progress))
    digest = "sha256:" + hashlib.sha256(f"baseline {name} 1".encode()).hexdigest()
    return with_vectors(rows.snapshot, name, digest, np.concatenate(blocks))


def _of_canvases(catalogue: Catalogue, ground: Ground, name: str, progress: Progress) -> Iterator[Vectors]:
    for some in _portions(ground, _AT_ONCE):
        stored = catalogue.canvases(some)
        canvases = [stored[key] for key in some if key in stored and stored[key].version <= ground.info.version]
        if len(canvases) < len(some):
            raise _changed()
        yield (
            pixel_vectors([one.canvas for one in canvases])
            if name == PIXELS
            else histogram_vectors([one.histogram for one in canvases])
        )
        progress(len(some))


def _frames(catalogue: Catalogue, ground: Ground, progress: Progress) -> Iterator[list[Frame]]:
    for some in _portions(ground, _FRAMES):
        references = catalogue.get_many(some)
        if len(references) < len(some):
            raise _changed()
        yield [Frame(read_stored(catalogue.files.read(one.id)), one.facts) for one in references]
        progress(len(some))


def _portions(ground: Ground, size: int) -> Iterator[list[str]]:
    ids = [one.id for one in ground.references]
    return (ids[start : start + size] for start in range(0, len(ids), size))


def _changed() -> Conflict:
    return Conflict(
        "library_changed",
        "the library changed while its pictures were read",
        hint="run the evaluation again when nobody writes to the library",
    )
