"""Who is asked for whose neighbours: the paper's protocol, and the rigorous one without the query's own patient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from app.errors import BadInput
from app.evaluation.ground import Contestant, Ground
from app.indexes.base import Mask
from app.search.answer import Wish
from app.search.ranking import rank

K = 10
"""Neighbours of every query, as in the paper."""

_NAMED = 5  # references in a refusal

KINDS = ("organ", "organ_group", "diagnoses", "diagnosis_groups", "findings")
"""The label kinds that a report goes through, where a library has them."""


class Protocol(StrEnum):
    """Whom a query may see: all others, or all others but its own patient and its near-duplicates."""

    PAPER = "paper"
    PATIENT = "patient"


class Patients(StrEnum):
    """What counts as a patient: what the library says, or groups of near-duplicates where it says nothing."""

    GIVEN = "given"
    NEAR_DUPLICATES = "near-duplicates"


@dataclass(frozen=True, slots=True)
class Ranked:
    """The ten neighbours of every query of one contestant, for one label kind and one protocol.

    ``queries`` (q,) are the rows of the ground that carry a label of the kind, ascending, and ``gallery`` (n,) marks
    the same rows: what may be found. ``neighbours`` (q, K) are rows, nearest first and ties by reference id, -1 where
    fewer can be seen; ``distances`` (q, K) are Euclidean, nan there. ``visible`` (q,) counts the rows of the gallery
    that each query may see.
    """

    contestant: str
    protocol: Protocol
    kind: str
    queries: NDArray[np.int64]
    gallery: Mask
    neighbours: NDArray[np.int64]
    distances: NDArray[np.float64]
    visible: NDArray[np.int64]


def rank_all(
    ground: Ground,
    contestant: Contestant,
    kind: str,
    protocol: Protocol,
    *,
    patients: Patients = Patients.GIVEN,
    progress: Callable[[int], None] = lambda _n: None,
) -> Ranked:
    """Ask for the neighbours of every reference that is annotated with a kind, as the service would.

    ``progress`` is told how many queries have been answered since it was last told. Raises BadInput ``no_labels``,
    ``too_few_images``, ``no_patients`` or ``not_finite``.
    """
    return rank_kinds(ground, contestant, [kind], protocol, patients=patients, progress=progress)[kind]


def rank_kinds(
    ground: Ground,
    contestant: Contestant,
    kinds: Sequence[str],
    protocol: Protocol,
    *,
    patients: Patients = Patients.GIVEN,
    progress: Callable[[int], None] = lambda _n: None,
) -> dict[str, Ranked]:
    """The same for several kinds; those that annotate the same references share one ranking. Raises likewise."""
    check_patients(ground, protocol, patients)
    check_vectors(contestant)
    ranked: dict[str, Ranked] = {}
    for kind in kinds:
        gallery = gallery_of(ground, kind)
        same = next((one for one in ranked.values() if np.array_equal(one.gallery, gallery)), None)
        if same is None:
            ranked[kind] = _rank(ground, contestant, kind, protocol, gallery, progress)
        else:
            ranked[kind] = replace(same, kind=kind)
            progress(len(same.queries))
    return ranked


def evaluable_kinds(ground: Ground, kinds: Sequence[str] = KINDS) -> tuple[list[str], dict[str, str]]:
    """The kinds that can be judged, and for the others why not; raises BadInput ``no_labels`` where none can."""
    can: list[str] = []
    cannot: dict[str, str] = {}
    for kind in kinds:
        try:
            gallery_of(ground, kind)
        except BadInput as refusal:
            cannot[kind] = refusal.detail
        else:
            can.append(kind)
    if not can:
        raise _nothing_to_judge(ground, cannot)
    return can, cannot


def _nothing_to_judge(ground: Ground, why: Mapping[str, str]) -> BadInput:
    few = [reason for kind, reason in why.items() if ground.annotated(kind).any()]
    if few:
        return BadInput("too_few_images", "; ".join(few), hint="enrol more labelled images")
    return BadInput(
        "no_labels",
        f"no reference of {ground.info.name!r} carries a label that could be judged ({', '.join(why)})",
        hint="add columns organ, diagnoses or findings to the manifest and enrol it again with --on-conflict update",
    )


def gallery_of(ground: Ground, kind: str) -> Mask:
    """The rows (n,) that are annotated with a kind; raises BadInput ``no_labels`` or ``too_few_images``."""
    gallery = ground.annotated(kind)
    count = int(np.count_nonzero(gallery))
    if count == 0:
        raise BadInput(
            "no_labels",
            f"no reference of {ground.info.name!r} carries a label of the kind {kind}",
            hint=f"enrol a manifest with a column {kind}, or evaluate another kind",
        )
    if count <= K:
        raise BadInput(
            "too_few_images",
            f"only {count} references of {ground.info.name!r} carry a label of the kind {kind}; "
            f"{K} neighbours beside the query need at least {K + 1}",
            hint="enrol more labelled images",
        )
    return gallery


def check_patients(ground: Ground, protocol: Protocol, patients: Patients) -> None:
    """Raise BadInput ``no_patients`` where the patient protocol would have to guess who is who."""
    if protocol is Protocol.PATIENT and patients is Patients.GIVEN and not ground.has_patients:
        raise BadInput(
            "no_patients",
            f"no reference of {ground.info.name!r} has a patient, so a query's own patient cannot be left out",
            hint="add a column patient_id to the manifest and enrol it again with --on-conflict update; or give "
            "--patients near-duplicates (pictures that look almost equal count as one patient), or --protocol paper",
        )


def patients_used(ground: Ground, wanted: Patients) -> Patients:
    """What stands for patients: those that are named wherever any is, whatever was asked for."""
    return Patients.GIVEN if ground.has_patients else wanted


def check_vectors(contestant: Contestant) -> None:
    """Raise BadInput ``not_finite`` where a vector holds NaN or infinity."""
    broken = np.flatnonzero(~np.isfinite(contestant.snapshot.vectors).all(axis=1)).tolist()
    if broken:
        references = contestant.snapshot.references
        named = ", ".join(references[row].id for row in broken[:_NAMED])
        raise BadInput(
            "not_finite",
            f"{len(broken)} of {len(references)} vectors of {contestant.name} hold numbers that are not finite, those "
            f"of the references {named}{' and others' if len(broken) > _NAMED else ''}",
            hint="check the encoder's weights, delete these references (DELETE /references/ID) and enrol them again",
        )


def whom_it_leaves_out(ground: Ground, protocol: Protocol) -> str:
    """A sentence for captions: what a query may not see, and what stands for a patient."""
    if protocol is Protocol.PAPER:
        return "Each query sees all other images, those of its own patient too (the paper's protocol)."
    without = sum(found.patient_key is None for found in ground.references)
    sentence = "Each query sees all images but those of its own patient and its near-duplicates."
    if not ground.has_patients:
        return with_patients(ground, protocol, sentence)
    if without:
        return f"{sentence} {without} of {len(ground)} images have no patient; their near-duplicates stand for one."
    return sentence


def with_patients(ground: Ground, protocol: Protocol, caption: str) -> str:
    """A caption of something that rests on patients, with what stands for them where the library names none.

    ``protocol`` is the one that the report stands for. A caption that says so already stays as it is.
    """
    if ground.has_patients:
        return caption
    option = " (--patients near-duplicates)" if protocol is Protocol.PATIENT else ""
    said = (
        f"The library names no patients: groups of near-duplicates stand for them{option}, and every image without a "
        "near-duplicate counts as a patient of its own."
    )
    return caption if said in caption else f"{caption} {said}"


def hidden_groups(ground: Ground, protocol: Protocol) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two group numbers of every row (n,): a query does not see rows that share one of them with it."""
    if protocol is Protocol.PAPER:
        alone = np.arange(len(ground), dtype=np.int64)
        return alone, alone
    return ground.patients, ground.lookalikes


def _rank(
    ground: Ground,
    contestant: Contestant,
    kind: str,
    protocol: Protocol,
    gallery: Mask,
    progress: Callable[[int], None],
) -> Ranked:
    snapshot, wish = contestant.snapshot, Wish(k=K)
    vectors, queries = snapshot.vectors, np.flatnonzero(gallery)
    neighbours = np.full((len(queries), K), -1, dtype=np.int64)
    distances = np.full((len(queries), K), np.nan)
    visible = np.zeros(len(queries), dtype=np.int64)
    without_own_patient = protocol is Protocol.PATIENT
    for place, row in enumerate(queries.tolist()):
        among = gallery & (ground.lookalikes != ground.lookalikes[row]) if without_own_patient else gallery
        found = rank(
            snapshot,
            vectors[row],
            wish,
            self_id=ground.references[row].id,
            without_own_patient=without_own_patient,
            among=among,
        )
        count = len(found.hits.rows)
        neighbours[place, :count], distances[place, :count] = found.hits
        visible[place] = np.count_nonzero(found.visible)
        progress(1)
    return Ranked(contestant.name, protocol, kind, queries, gallery, neighbours, distances, visible)
