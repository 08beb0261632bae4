"""Importing a manifest into a library: resumable, idempotent, bad rows reported and nothing else lost."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from app.domain import ImageFacts, RegionSource, Taxonomy
from app.errors import BadInput, DeviceLost, SonoSeekError
from app.images.reader import FRAME_DIGEST
from app.library.catalogue import Catalogue
from app.library.manifest import BadRow, Manifest, ManifestRow
from app.library.reference import Reference, check_library_name, identity_of, reference_id
from app.search.enroller import Enroller, Enrolment, ReadyImage

OnConflict = Literal["error", "skip", "update"]
_BATCH = 32


@dataclass(slots=True)
class ImportReport:
    """What became of the rows of a manifest; ``ids`` is manifest line -> reference id."""

    added: int = 0
    unchanged: int = 0
    updated: int = 0
    skipped: int = 0
    bad: list[BadRow] = field(default_factory=list)
    ids: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Job:
    """One run: what it was asked, what it has learnt, and the images that wait to be stored together."""

    library: str
    on_conflict: OnConflict
    allow_unmasked: bool
    taxonomy: Taxonomy
    external_ids: dict[str, str]
    report: ImportReport = field(default_factory=ImportReport)
    waiting: dict[str, tuple[ManifestRow, ReadyImage]] = field(default_factory=dict)

    def claim_external_id(self, row: ManifestRow, key: str) -> None:
        """Refuse an external id that another image of the library or of this run has."""
        if row.external_id is not None and self.external_ids.setdefault(row.external_id, key) != key:
            raise BadInput(
                "external_id_taken",
                "another image of this library already has that external id",
                hint="external ids are unique in a library",
            )


class Importer:
    """Enrols the rows of a manifest, a batch at a time."""

    def __init__(self, catalogue: Catalogue, enroller: Enroller) -> None:
        self._catalogue = catalogue
        self._enroller = enroller

    def run(
        self,
        library: str,
        manifest: Manifest,
        *,
        on_conflict: OnConflict = "error",
        allow_unmasked: bool = False,
        progress: Callable[[int], None] = lambda _done: None,
    ) -> ImportReport:
        """Enrol a manifest. Rows that are there already and say nothing else change nothing."""
        job = self._begin(library, manifest, on_conflict, allow_unmasked)
        for rows in _batches(manifest.rows):
            for row in rows:
                self._import(job, row)
            self._store_waiting(job)
            progress(len(rows))
        job.report.bad.sort(key=lambda bad: bad.line)
        return job.report

    def _begin(self, library: str, manifest: Manifest, on_conflict: OnConflict, allow_unmasked: bool) -> _Job:
        check_library_name(library)
        taxonomy, external_ids = manifest.taxonomy, {}
        if library in self._catalogue.names():
            taxonomy = self._catalogue.taxonomy(library).updated(taxonomy)
            self._catalogue.put_library(library, taxonomy)
            external_ids = self._catalogue.ids_by_external_id(library)
        job = _Job(library, on_conflict, allow_unmasked, taxonomy, external_ids)
        job.report.bad.extend(manifest.bad)
        return job

    def _import(self, job: _Job, row: ManifestRow) -> None:
        """Put the image of a row among those that wait, or settle it if it is known already."""
        try:
            data = _read_file(row)
            if known := self._catalogue.get_many(_still_ids(job.library, row, data)):
                self._settle(job, row, data, known[0])
                return
            image = self._read(job, row, data)
            key = image.id_in(job.library)
            if key in job.waiting:
                self._store_waiting(job)
            if known := self._catalogue.get_many([key]):
                self._settle(job, row, data, known[0])
                return
            job.claim_external_id(row, key)
            job.waiting[key] = (row, image)
        except DeviceLost:  # no row is to blame, and none after it can be encoded
            raise
        except SonoSeekError as error:
            job.report.bad.append(BadRow.of(row.line, error))

    def _read(self, job: _Job, row: ManifestRow, data: bytes) -> ReadyImage:
        enrolment = Enrolment(
            data=data,
            labels=row.labels,
            attributes=row.attributes,
            frame=row.frame,
            region=row.region,
            patient_id=row.patient_id,
            external_id=row.external_id,
        )
        return self._enroller.read(enrolment, allow_unmasked=job.allow_unmasked)

    def _settle(self, job: _Job, row: ManifestRow, data: bytes, stored: Reference) -> None:
        """A row whose image is there already: nothing new, an update, a skip or a conflict."""
        differences = self._differences(job, row, stored)
        stale = stored.frame_digest != FRAME_DIGEST
        if not differences and not (stale and job.on_conflict == "update"):
            job.report.unchanged += 1
        elif job.on_conflict == "skip":
            job.report.skipped += 1
        elif job.on_conflict == "update":
            self._update(job, row, data, stored, recrop=stale or "region" in differences)
        else:
            raise BadInput(
                "already_enrolled",
                f"the image is already there as reference {stored.id}, with another {' and '.join(differences)}",
                hint="--on-conflict update takes what the manifest says, skip keeps what is there",
            )
        job.report.ids[row.line] = stored.id

    def _differences(self, job: _Job, row: ManifestRow, stored: Reference) -> list[str]:
        """What a row says otherwise than the stored reference; empty cells of ids and region say nothing."""
        patient_key = self._enroller.patient_key(row.patient_id)
        given = stored.facts.region if stored.facts.region_source is RegionSource.GIVEN else None
        compared = {
            "set of labels": job.taxonomy.complete(row.labels) != stored.labels,
            "set of attributes": row.attributes != dict(stored.attributes),
            "patient": patient_key not in (None, stored.facts.patient_key),
            "external id": row.external_id not in (None, stored.external_id),
            "region": row.region not in (None, given),
        }
        return [name for name, differs in compared.items() if differs]

    def _update(self, job: _Job, row: ManifestRow, data: bytes, stored: Reference, *, recrop: bool) -> None:
        job.claim_external_id(row, stored.id)
        if recrop:
            self._enroller.recrop(stored.id, self._read(job, row, data))
        self._catalogue.update(
            stored.id,
            job.taxonomy.complete(row.labels),
            row.attributes,
            patient_key=self._enroller.patient_key(row.patient_id),
            external_id=row.external_id,
        )
        job.report.updated += 1

    def _store_waiting(self, job: _Job) -> None:
        waiting, job.waiting = list(job.waiting.values()), {}
        if waiting and job.library not in self._catalogue.names():
            # Not before: a manifest of bad rows, or of a mistyped library, leaves no library behind.
            self._catalogue.put_library(job.library, job.taxonomy)
        self._store(job, waiting)

    def _store(self, job: _Job, images: Sequence[tuple[ManifestRow, ReadyImage]]) -> None:
        if not images:
            return
        try:
            ids = self._enroller.store(job.library, [image for _, image in images])
        except DeviceLost:
            raise
        except SonoSeekError as error:
            self._store_singly(job, images, error)
            return
        job.report.added += len(ids)
        job.report.ids.update({row.line: key for (row, _), key in zip(images, ids, strict=True)})

    def _store_singly(self, job: _Job, images: Sequence[tuple[ManifestRow, ReadyImage]], error: SonoSeekError) -> None:
        """One image of the batch was refused: the others must not suffer for it."""
        if len(images) == 1:
            job.report.bad.append(BadRow.of(images[0][0].line, error))
            return
        for pair in images:
            self._store(job, [pair])


def _batches(rows: Sequence[ManifestRow]) -> Iterator[Sequence[ManifestRow]]:
    for start in range(0, len(rows), _BATCH):
        yield rows[start : start + _BATCH]


def _read_file(row: ManifestRow) -> bytes:
    try:
        return row.path.read_bytes()
    except OSError as error:
        raise BadInput(
            "image_unreadable",
            f"the image file cannot be read: {(error.strerror or type(error).__name__).lower()}",
            hint="paths are absolute or relative to the manifest",
        ) from None


def _still_ids(library: str, row: ManifestRow, data: bytes) -> list[str]:
    """The id that a still of these bytes would have: a look-up by it spares decoding known images.

    None for TIFF, which can have pages: without a number its middle one is meant.
    """
    if data[:2] in (b"II", b"MM"):
        return []
    facts = ImageFacts(sha256=hashlib.sha256(data).hexdigest(), format="", width=0, height=0, frame=row.frame)
    return [reference_id(library, identity_of(facts))]
