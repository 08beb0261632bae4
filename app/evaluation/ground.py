"""What is judged: the references of a library at one version, and the encoders whose vectors it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain import Vectors
from app.errors import BadInput, Conflict
from app.indexes.base import Mask
from app.library.catalogue import Catalogue
from app.library.reference import LibraryInfo
from app.search.groups import PatientGroups
from app.search.lookup import Lookup
from app.search.rebuild import reembed_command
from app.search.snapshot import Condition, ShelvedReference, Snapshot, build_snapshot

ENGINE = "exact"
"""Figures are of exact neighbours, whichever engine serves."""


@dataclass(frozen=True, slots=True)
class Ground:
    """The references of a library, rows in order of reference id: the same rows for every encoder.

    ``patients`` numbers the patient of each row, or its group of near-duplicates where it has none;
    ``lookalikes`` the group of near-duplicates of every row, whatever its patient.
    """

    info: LibraryInfo
    references: list[ShelvedReference]
    patients: NDArray[np.int64]
    lookalikes: NDArray[np.int64]
    rows_with: Lookup[Condition]

    @classmethod
    def of(cls, snapshot: Snapshot) -> Ground:
        """From a snapshot that was just built, whose rows are in order of id and all alive."""
        fingerprints = [found.fingerprint for found in snapshot.references]
        return cls(
            info=snapshot.info,
            references=snapshot.references,
            patients=snapshot.patients,
            lookalikes=PatientGroups.of([None] * len(fingerprints), fingerprints).numbers,
            rows_with=snapshot.rows_with,
        )

    def __len__(self) -> int:
        return len(self.references)

    @property
    def has_patients(self) -> bool:
        """Whether any reference has a patient."""
        return any(found.patient_key for found in self.references)

    def values(self, kind: str) -> list[tuple[str, ...]]:
        """The labels of one kind of each row; empty where it is not annotated."""
        return [found.labels.values(kind) for found in self.references]

    def annotated(self, kind: str) -> Mask:
        """The rows that carry a label of a kind: its gallery. ``normal`` is a label, an empty cell is none."""
        return np.asarray([bool(values) for values in self.values(kind)], dtype=np.bool_)

    def carriers(self, kind: str) -> dict[str, NDArray[np.int64]]:
        """Label of a kind -> rows that carry it, labels in alphabetical order."""
        return {label: rows for (name, label), rows in sorted(self.rows_with.items()) if name == kind}


@dataclass(frozen=True, slots=True)
class Contestant:
    """An encoder, or something simpler to compare it with, and its vectors of a ground's rows."""

    name: str
    digest: str
    snapshot: Snapshot


def with_vectors(snapshot: Snapshot, name: str, digest: str, vectors: Vectors) -> Contestant:
    """The same references under other unit-length vectors (n, dim): raw pixels, an untrained network."""
    from app.library.embeddings import Shelf  # the only place that needs the columns

    found = snapshot.references
    shelf = Shelf(
        ids=[one.id for one in found],
        vectors=vectors,
        external_ids=[one.external_id for one in found],
        labels=[one.labels for one in found],
        attributes=[dict(one.attributes) for one in found],
        patient_keys=[one.patient_key for one in found],
        fingerprints=[one.fingerprint for one in found],
        frame_digests=[one.frame_digest for one in found],
    )
    return Contestant(name, digest, build_snapshot(snapshot.info, digest, shelf, ENGINE))


def load_contestants(catalogue: Catalogue, library: str, encoders: Sequence[str]) -> tuple[Ground, list[Contestant]]:
    """The stored vectors of some encoders, all of one version of a library.

    Raises NotFound ``unknown_library``; Conflict ``vectors_missing`` or ``library_changed``; BadInput
    ``vectors_missing`` or ``several_digests``.
    """
    stored = catalogue.embeddings.counts(library)
    contestants = []
    for name in encoders:
        digest = _digest_of(name, library, stored)
        info, shelf = catalogue.embeddings.shelf(library, digest)
        if len(shelf) < info.size:
            raise Conflict(
                "vectors_missing",
                f"{info.size - len(shelf)} of {info.size} references of {library!r} have no vector of {name}",
                hint=f"run: {reembed_command(library, name)}",
            )
        contestants.append(Contestant(name, digest, build_snapshot(info, digest, shelf, ENGINE)))
    if len({one.snapshot.info for one in contestants}) > 1:
        raise Conflict(
            "library_changed",
            "the library changed while its vectors were read",
            hint="run the evaluation again when nobody writes to the library",
        )
    return Ground.of(contestants[0].snapshot), contestants


def _digest_of(name: str, library: str, stored: dict[str, tuple[str, int]]) -> str:
    """The digest under which an encoder has vectors; raises BadInput where there is none, or more than one."""
    digests = {digest: count for digest, (encoder, count) in stored.items() if name in (encoder, digest)}
    if not digests:
        known = sorted({encoder for encoder, _ in stored.values()})
        raise BadInput(
            "vectors_missing",
            f"no reference of {library!r} has a vector of {name}",
            hint=f"run: {reembed_command(library, name)}; stored are vectors of {', '.join(known) or 'none'}",
        )
    if len(digests) > 1:
        raise BadInput(
            "several_digests",
            f"{library!r} holds vectors of {name} under several digests",
            hint=f"name one of them instead: {', '.join(sorted(digests))}",
        )
    return next(iter(digests))
