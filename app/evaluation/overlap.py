"""How much of a library an encoder was trained on: figures over pictures that it has seen flatter it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.encoders.manifest import EncoderManifest
from app.encoders.training_list import read_training_list
from app.encoders.weights import WeightStore
from app.errors import SonoSeekError
from app.evaluation.baselines import is_baseline
from app.evaluation.ground import Contestant, Ground
from app.library.catalogue import Catalogue

MOST = 0.01
"""Share of a library that an encoder may have been trained on and still be adopted for it."""

_PRECISIONS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many references of a library an encoder was trained on, by the sha256 of their files.

    ``listed`` files are in the encoder's training list; where that is None, the encoder names no list and nothing is
    known: ``shared``, ``share`` (0..1) and ``of_their_patients`` are then None too. ``of_their_patients`` counts the
    references of all patients (or groups of near-duplicates) that have a shared picture, the shared ones with them.
    A picture that was written anew (another format, an archive's transcoding) has another sha256 and is not found.
    """

    contestant: str
    encoder: str
    digest: str
    listed: int | None
    references: int
    shared: int | None
    share: float | None
    of_their_patients: int | None
    sentence: str

    @property
    def is_too_much(self) -> bool:
        """Whether the encoder is no candidate for the library."""
        return self.share is not None and self.share > MOST


def overlaps_of(
    catalogue: Catalogue, weights: WeightStore, ground: Ground, contestants: Sequence[Contestant]
) -> list[Overlap]:
    """The overlap of every contestant with the library of a ground, in their order."""
    checksums = catalogue.listing.checksums(ground.info.name)
    files = [checksums.get(one.id, "") for one in ground.references]
    names = {digest: name for digest, (name, _) in catalogue.embeddings.counts(ground.info.name).items()}
    return [_overlap(weights, ground, files, one, names.get(one.digest, one.name)) for one in contestants]


def overlap_warnings(overlaps: Sequence[Overlap]) -> list[str]:
    """What must stand on top of a report: a sentence for each encoder that has seen pictures, or may have."""
    return [one.sentence for one in overlaps if one.shared != 0]


def _overlap(weights: WeightStore, ground: Ground, files: Sequence[str], one: Contestant, encoder: str) -> Overlap:
    if is_baseline(one):
        return _counted(ground, files, one, encoder, frozenset())
    listed, why_not = _training_list(weights, encoder, one.digest)
    if listed is not None:
        return _counted(ground, files, one, encoder, listed)
    sentence = f"What {encoder} was trained on is not known here: {why_not}. It may have seen pictures of this library."
    return Overlap(one.name, encoder, one.digest, None, len(ground), None, None, None, sentence)


def _training_list(weights: WeightStore, encoder: str, digest: str) -> tuple[frozenset[str] | None, str]:
    """The list of the encoder that made the vectors, or why there is none."""
    try:
        found = weights.find(encoder)
        if not _made(found.manifest, digest):
            return None, "the encoder of that name that is installed is not the one that made the stored vectors"
        listed = read_training_list(found)
    except SonoSeekError as error:
        return None, error.detail
    return listed, "its manifest lists no training pictures"


def _made(manifest: EncoderManifest, digest: str) -> bool:
    return digest in {manifest.digest(precision) for precision in _PRECISIONS}


def _counted(ground: Ground, files: Sequence[str], one: Contestant, encoder: str, listed: frozenset[str]) -> Overlap:
    seen = np.asarray([file in listed for file in files], dtype=np.bool_)
    shared, size = int(np.count_nonzero(seen)), len(ground)
    theirs = int(np.count_nonzero(np.isin(ground.patients, ground.patients[seen])))
    share = shared / size if size else 0.0
    return Overlap(
        contestant=one.name,
        encoder=encoder,
        digest=one.digest,
        listed=len(listed),
        references=size,
        shared=shared,
        share=share,
        of_their_patients=theirs,
        sentence=_sentence(encoder, len(listed), size, shared, share, theirs),
    )


def _sentence(encoder: str, listed: int, size: int, shared: int, share: float, theirs: int) -> str:
    if not listed:
        return f"{encoder} was trained on nothing."
    if not shared:
        return (
            f"None of the {size} files is byte for byte one of the {listed} that {encoder} was trained on. The same "
            "pictures written anew, such as an archive's originals, would not be recognised."
        )
    more = f"; {theirs - shared} others are of the same patients" if theirs > shared else ""
    return (
        f"{encoder} was trained on {shared} of the {size} pictures of this library ({100 * share:.1f} %{more}): its "
        "figures here flatter it, and say nothing of pictures that it has not seen."
    )
