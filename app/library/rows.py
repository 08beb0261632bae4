"""References as rows and rows as references."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain import LABEL_KINDS, Box, ImageFacts, Labels, RegionSource
from app.library.reference import NewReference, Reference, StoredCanvas, identity_of
from app.library.tables import CanvasRow, EmbeddingRow, LabelHistoryRow, ReferenceRow, Table

ONE_LABEL = ("organ", "organ_group", "plane")
"""The kinds of which a reference has at most one label; a column of text each."""

MANY_LABELS = ("diagnoses", "diagnosis_groups", "findings")
"""The kinds of which a reference has any number; a JSON list each."""


def new_rows(
    library_id: int, version: int, ids: Sequence[str], new: Sequence[NewReference], actor: str
) -> list[tuple[type[Table], list[dict[str, Any]]]]:
    """The rows of some references that come with a version of their library, table by table, parents first."""
    pairs = list(zip(ids, new, strict=True))
    return [
        (ReferenceRow, [{**_reference_values(library_id, key, item), "version": version} for key, item in pairs]),
        (CanvasRow, [canvas_values(key, item) for key, item in pairs]),
        (EmbeddingRow, [values for key, item in pairs for values in embedding_values(key, item)]),
        (
            LabelHistoryRow,
            [{"reference_id": key, "actor": actor, "labels": asdict(item.labels)} for key, item in pairs],
        ),
    ]


def canvas_values(key: str, item: NewReference) -> dict[str, Any]:
    """The row of a reference's canvas and histogram."""
    return {
        "reference_id": key,
        "canvas": item.canvas.tobytes(),
        "histogram": item.histogram.astype("<i8").tobytes(),
    }


def embedding_values(key: str, item: NewReference) -> list[dict[str, Any]]:
    """The rows of a reference's vectors."""
    return [
        {"reference_id": key, "digest": new.digest, "encoder": new.encoder, "vector": vector_bytes(new.vector)}
        for new in item.vectors
    ]


def frame_columns(item: NewReference) -> dict[str, Any]:
    """The columns that follow from how a frame was cropped."""
    facts = item.facts
    return {
        "width": facts.width,
        "height": facts.height,
        "region": list(facts.region) if facts.region else None,
        "region_source": facts.region_source.value,
        "frame_digest": item.frame_digest,
        "frame_sha256": hashlib.sha256(item.png).hexdigest(),
        "fingerprint": item.fingerprint,
    }


def _reference_values(library_id: int, key: str, item: NewReference) -> dict[str, Any]:
    facts = item.facts
    return {
        "id": key,
        "library_id": library_id,
        "identity": identity_of(facts),
        "external_id": item.external_id,
        **label_columns(item.labels),
        "attributes": dict(item.attributes),
        "sha256": facts.sha256,
        "format": facts.format,
        "frame": facts.frame,
        **frame_columns(item),
        "modality": facts.modality,
        "manufacturer": facts.manufacturer,
        "model": facts.model,
        "patient_key": item.patient_key,
        "study_key": facts.study_key,
        "instance_key": facts.instance_key,
    }


def label_columns(labels: Labels) -> dict[str, Any]:
    """The label columns of a reference's row."""
    return {kind: list(v) if isinstance(v, tuple) else v for kind, v in asdict(labels).items()}


def labels_of(values: Mapping[str, Any]) -> Labels:
    """Labels from their columns or from a history entry."""
    return Labels(
        organ=values["organ"],
        organ_group=values["organ_group"],
        plane=values["plane"],
        diagnoses=tuple(values["diagnoses"]),
        diagnosis_groups=tuple(values["diagnosis_groups"]),
        findings=tuple(values["findings"]),
    )


def vector_bytes(vector: NDArray[np.float32]) -> bytes:
    """A vector as it is stored: little-endian float32."""
    return vector.astype("<f4").tobytes()


def stored_canvas(canvas: bytes, histogram: bytes, version: int) -> StoredCanvas:
    """A canvas and its histogram from their stored bytes."""
    pixels = np.frombuffer(canvas, dtype=np.uint8).reshape(256, 256)
    return StoredCanvas(pixels, np.frombuffer(histogram, dtype="<i8"), version)


def reference_of(row: ReferenceRow, library: str) -> Reference:
    """A reference from its row."""
    return Reference(
        id=row.id,
        library=library,
        external_id=row.external_id,
        labels=labels_of({kind: getattr(row, kind) for kind in LABEL_KINDS}),
        attributes=row.attributes,
        facts=ImageFacts(
            sha256=row.sha256,
            format=row.format,
            width=row.width,
            height=row.height,
            frame=row.frame,
            region=Box(*row.region) if row.region else None,
            region_source=RegionSource(row.region_source),
            modality=row.modality,
            manufacturer=row.manufacturer,
            model=row.model,
            patient_key=row.patient_key,
            study_key=row.study_key,
            instance_key=row.instance_key,
        ),
        frame_digest=row.frame_digest,
        enrolled_at=row.enrolled_at.replace(tzinfo=UTC),
    )
