"""Importing a manifest into a library: resumable, idempotent, bad rows reported and nothing else lost."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from app.domain import ImageFacts, Taxonomy
from app.errors import BadInput, SonoSeekError
from app.library.catalogue import Catalogue
from app.library.manifest import BadRow, Manifest, ManifestRow
from app.library.reference import Reference, identity_of, reference_id
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
        """Enrol a manifest. Rows that are there already with equal labels change nothing."""
        self._catalogue.put_library(library, self._merged(library, manifest.taxonomy))
        job = _Job(library, on_conflict, allow_unmasked, self._catalogue.taxonomy(library))
        job.report.bad.extend(manifest.bad)
        job.external_ids = self._catalogue.ids_by_external_id(library)
        for rows in _batches(manifest.rows):
            self._import_batch(job, rows)
            progress(len(rows))
        job.report.bad.sort(key=lambda bad: bad.line)
        return job.report

    def _merged(self, library: str, taxonomy: Taxonomy) -> Taxonomy:
        """The library's taxonomy with what a manifest adds to it; the manifest's word wins."""
        if library not in self._catalogue.names():
            return taxonomy
        old = self._catalogue.taxonomy(library)
        return Taxonomy(organs={**old.organs, **taxonomy.organs}, diagnoses={**old.diagnoses, **taxonomy.diagnoses})

    def _import_batch(self, job: "_Job", rows: Sequence[ManifestRow]) -> None:
        ready: dict[str, tuple[ManifestRow, ReadyImage]] = {}
        for row in rows:
            try:
                fresh = self._look_at(job, row, ready)
            except SonoSeekError as error:
                job.report.bad.append(BadRow(row.line, error.detail))
                continue
            if fresh is not None:
                ready[fresh.id_in(job.library)] = (row, fresh)
        self._store(job, list(ready.values()))

    def _look_at(
        self, job: "_Job", row: ManifestRow, ready: dict[str, tuple[ManifestRow, ReadyImage]]
    ) -> ReadyImage | None:
        """The image of a row if it is new; settles rows that are known already."""
        data = _read_file(row)
        known = self._catalogue.get_many(_still_ids(job.library, row, data))
        if known:
            self._settle(job, row, known[0])
            return None
        image = self._enroller.read(_enrolment(row, data), allow_unmasked=job.allow_unmasked)
        key = image.id_in(job.library)
        if key in ready:
            _settle_repeat(job, row, ready[key][0], key)
            return None
        known = self._catalogue.get_many([key])
        if known:
            self._settle(job, row, known[0])
            return None
        job.claim_external_id(row, key)
        return image

    def _settle(self, job: "_Job", row: ManifestRow, stored: Reference) -> None:
        """A row whose image is there already: equal labels, an update, a skip or a conflict."""
        labels = job.taxonomy.complete(row.labels)
        job.report.ids[row.line] = stored.id
        if (labels, row.attributes) == (stored.labels, dict(stored.attributes)):
            job.report.unchanged += 1
        elif job.on_conflict == "update":
            self._catalogue.relabel(stored.id, labels, row.attributes)
            job.report.updated += 1
        elif job.on_conflict == "skip":
            job.report.skipped += 1
        else:
            raise _other_labels(stored.id)

    def _store(self, job: "_Job", images: Sequence[tuple[ManifestRow, ReadyImage]]) -> None:
        if not images:
            return
        try:
            ids = self._enroller.store(job.library, [image for _, image in images])
        except SonoSeekError as error:
            self._store_singly(job, images, error)
            return
        job.report.added += len(ids)
        job.report.ids.update({row.line: key for (row, _), key in zip(images, ids, strict=True)})

    def _store_singly(
        self, job: "_Job", images: Sequence[tuple[ManifestRow, ReadyImage]], error: SonoSeekError
    ) -> None:
        """One image of the batch was refused: the others must not suffer for it."""
        if len(images) == 1:
            job.report.bad.append(BadRow(images[0][0].line, error.detail))
            return
        for pair in images:
            self._store(job, [pair])


@dataclass(slots=True)
class _Job:
    library: str
    on_conflict: OnConflict
    allow_unmasked: bool
    taxonomy: Taxonomy
    external_ids: dict[str, str] = field(default_factory=dict)
    report: ImportReport = field(default_factory=ImportReport)

    def claim_external_id(self, row: ManifestRow, key: str) -> None:
        """Refuse an external id that another image of the library or of this run has."""
        if row.external_id is not None and self.external_ids.setdefault(row.external_id, key) != key:
            raise BadInput(
                "external_id_taken",
                "another image of this library already has that external id",
                hint="external ids are unique in a library",
            )


def _batches(rows: Sequence[ManifestRow]) -> Iterator[Sequence[ManifestRow]]:
    for start in range(0, len(rows), _BATCH):
        yield rows[start : start + _BATCH]


def _read_file(row: ManifestRow) -> bytes:
    try:
        return row.path.read_bytes()
    except OSError as error:
        raise BadInput(
            "image_unreadable",
            f"the image file cannot be read ({type(error).__name__})",
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


def _enrolment(row: ManifestRow, data: bytes) -> Enrolment:
    return Enrolment(
        data=data,
        labels=row.labels,
        attributes=row.attributes,
        frame=row.frame,
        region=row.region,
        patient_id=row.patient_id,
        external_id=row.external_id,
    )


def _settle_repeat(job: _Job, row: ManifestRow, first: ManifestRow, key: str) -> None:
    """The same image twice in one batch: nothing more to do unless the labels differ."""
    if (row.labels, row.attributes) != (first.labels, first.attributes):
        raise _other_labels(key)
    job.report.ids[row.line] = key
    job.report.unchanged += 1


def _other_labels(key: str) -> SonoSeekError:
    return BadInput(
        "other_labels",
        f"the same image is already there with other labels, as reference {key}",
        hint="--on-conflict update takes the new labels, skip keeps the old",
    )
