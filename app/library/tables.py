"""The tables. Rows are the truth; every index is a cache of them."""

import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


def now() -> datetime:
    """The present moment in UTC, without a zone, as SQLite keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)


def new_uid() -> str:
    """A random name that no other row has."""
    return uuid.uuid4().hex


class Table(DeclarativeBase):
    """The base of all tables."""

    type_annotation_map = {list[str]: JSON, dict[str, Any]: JSON, list[int]: JSON}  # noqa: RUF012


class LibraryRow(Table):
    """A named set of references. ``version`` grows with every change of it.

    ``uid`` is drawn when the library is created: one that is deleted and made anew under its name is another.
    """

    __tablename__ = "libraries"

    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(String(32), default=new_uid)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    version: Mapped[int] = mapped_column(default=0)
    taxonomy: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)


class ReferenceRow(Table):
    """An enrolled image with its labels. Holds no identity: patient, study and instance are keyed hashes.

    ``version`` is that of the library when the reference, its labels or its vectors last changed.
    """

    __tablename__ = "references"
    __table_args__ = (
        UniqueConstraint("library_id", "identity"),
        UniqueConstraint("library_id", "external_id"),
        Index("references_by_patient", "library_id", "patient_key"),
        Index("references_by_version", "library_id", "version"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    library_id: Mapped[int] = mapped_column(ForeignKey("libraries.id", ondelete="CASCADE"))
    identity: Mapped[str] = mapped_column(String(160))
    external_id: Mapped[str | None] = mapped_column(String(64))
    organ: Mapped[str | None]
    organ_group: Mapped[str | None]
    plane: Mapped[str | None]
    diagnoses: Mapped[list[str]]
    diagnosis_groups: Mapped[list[str]]
    findings: Mapped[list[str]]
    attributes: Mapped[dict[str, Any]]
    sha256: Mapped[str] = mapped_column(String(64))
    format: Mapped[str] = mapped_column(String(8))
    width: Mapped[int]
    height: Mapped[int]
    frame: Mapped[int | None]
    region: Mapped[list[int] | None] = mapped_column(JSON)
    region_source: Mapped[str] = mapped_column(String(16))
    frame_digest: Mapped[str] = mapped_column(String(71))
    frame_sha256: Mapped[str | None] = mapped_column(String(64))  # of the PNG; None from before it was kept
    modality: Mapped[str | None] = mapped_column(String(16))
    manufacturer: Mapped[str | None]
    model: Mapped[str | None]
    patient_key: Mapped[str | None] = mapped_column(String(64))
    study_key: Mapped[str | None] = mapped_column(String(64))
    instance_key: Mapped[str | None] = mapped_column(String(64))
    fingerprint: Mapped[str] = mapped_column(String(16))
    enrolled_at: Mapped[datetime] = mapped_column(default=now)
    version: Mapped[int] = mapped_column(default=0)


class RemovalRow(Table):
    """A reference that was removed, so that an index can follow. Holds its id only, which says nothing by itself."""

    __tablename__ = "removals"
    __table_args__ = (Index("removals_by_version", "library_id", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    library_id: Mapped[int] = mapped_column(ForeignKey("libraries.id", ondelete="CASCADE"))
    version: Mapped[int]
    reference_id: Mapped[str] = mapped_column(String(36))


class CanvasRow(Table):
    """What histogram and MSE are computed from: 256 x 256 bytes of luma and 256 counts (int64)."""

    __tablename__ = "canvases"

    reference_id: Mapped[str] = mapped_column(ForeignKey("references.id", ondelete="CASCADE"), primary_key=True)
    canvas: Mapped[bytes] = mapped_column(LargeBinary)
    histogram: Mapped[bytes] = mapped_column(LargeBinary)


class EmbeddingRow(Table):
    """A vector (float32) of one reference under one encoder digest."""

    __tablename__ = "embeddings"
    __table_args__ = (Index("embeddings_by_digest", "digest"),)

    reference_id: Mapped[str] = mapped_column(ForeignKey("references.id", ondelete="CASCADE"), primary_key=True)
    digest: Mapped[str] = mapped_column(String(71), primary_key=True)
    encoder: Mapped[str] = mapped_column(String(64))
    vector: Mapped[bytes] = mapped_column(LargeBinary)


class LabelHistoryRow(Table):
    """What the labels of a reference were from a moment on, and who said so."""

    __tablename__ = "label_history"

    id: Mapped[int] = mapped_column(primary_key=True)
    reference_id: Mapped[str] = mapped_column(ForeignKey("references.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime] = mapped_column(default=now)
    actor: Mapped[str] = mapped_column(String(64))
    labels: Mapped[dict[str, Any]]


class AccessRow(Table):
    """Who did what and when. ``objects`` are reference ids, patient keys and the like, never an identity."""

    __tablename__ = "access_log"
    __table_args__ = (Index("access_log_by_time", "at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now)
    actor: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(32))
    library: Mapped[str | None] = mapped_column(String(64))
    objects: Mapped[list[str]]
    outcome: Mapped[str] = mapped_column(String(64))


class AdoptionRow(Table):
    """The encoder that a library's own evaluation found best for a label kind, and by what figure."""

    __tablename__ = "adoptions"

    library_id: Mapped[int] = mapped_column(ForeignKey("libraries.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    encoder: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(71))
    figure: Mapped[float]
    low: Mapped[float | None]
    high: Mapped[float | None]
    chance: Mapped[float | None]
    patients: Mapped[str] = mapped_column(String(32))
    others: Mapped[dict[str, Any]]
    library_version: Mapped[int]
    adopted_at: Mapped[datetime]


class FactRow(Table):
    """Facts about the database itself, such as the check value of the secret."""

    __tablename__ = "facts"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str]
