"""Importing a manifest into a library: resumable, idempotent, bad rows reported and nothing else lost."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from app.domain import Taxonomy
from app.errors import BadInput
from app.images.deidentify import Keyer
from app.library.catalogue import Catalogue
from app.library.manifest import BadRow, Manifest, ManifestRow
from app.library.reference import check_library_name
from app.search.candidate import Candidate, OfferedImage
from app.search.editor import Editor
from app.search.enroller import Enroller, Enrolment
from app.search.export_reader import Export, ExportedImage, read_export
from app.search.recorder import LOCAL
from app.search.settler import OnConflict, Settler

_BATCH = 32
_Rows = Sequence[tuple[int, Callable[[], Candidate]]]
"""Line numbers, each with a function that makes the candidate: made one at a time, since each holds a file."""


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
    """Enrols the rows of a manifest or of an export, a batch at a time."""

    def __init__(
        self, *, catalogue: Catalogue, enroller: Enroller, settler: Settler, editor: Editor, keyer: Keyer
    ) -> None:
        self._catalogue = catalogue
        self._keyer = keyer
        self._enroller = enroller
        self._settler = settler
        self._editor = editor

    def run(
        self,
        library: str,
        manifest: Manifest,
        *,
        on_conflict: OnConflict = "error",
        allow_unmasked: bool = False,
        progress: Callable[[int], None] = lambda _done: None,
        report: ImportReport | None = None,
    ) -> ImportReport:
        """Enrol a manifest. Rows that are there already and say nothing else change nothing.

        A ``report`` that is given is filled batch by batch: it says what was done where an error ends the run.
        """
        rows = [(row.line, partial(self._offered, row, allow_unmasked)) for row in manifest.rows]
        report = ImportReport() if report is None else report
        report.bad += manifest.bad
        return self._enrol(library, rows, manifest.taxonomy, on_conflict, report, progress)

    def open_export(self, path: Path, *, new_patients: bool = False) -> Export:
        """Read an export by its folder or its manifest; see read_export."""
        return read_export(path, self._keyer, new_patients=new_patients)

    def run_export(
        self,
        library: str,
        export: Export,
        *,
        on_conflict: OnConflict = "error",
        progress: Callable[[int], None] = lambda _done: None,
        report: ImportReport | None = None,
    ) -> ImportReport:
        """Enrol an export as it was: its frames are not looked for a scan region again. ``report`` as in ``run``."""
        rows = [(row.line, partial(ExportedImage, export, row)) for row in export.rows]
        report = ImportReport() if report is None else report
        report.bad += export.bad
        return self._enrol(library, rows, export.taxonomy, on_conflict, report, progress)

    def _enrol(
        self,
        library: str,
        rows: _Rows,
        taxonomy: Taxonomy,
        on_conflict: OnConflict,
        report: ImportReport,
        progress: Callable[[int], None],
    ) -> ImportReport:
        check_library_name(library)
        if library in self._catalogue.names():
            self._editor.put_library(library, self._catalogue.taxonomy(library).updated(taxonomy), by=LOCAL)
        for some in _batches(rows):
            candidates = (candidate() for _, candidate in some)
            outcomes = self._settler.settle(library, candidates, by=LOCAL, on_conflict=on_conflict, create=taxonomy)
            for (line, _), outcome in zip(some, outcomes, strict=True):
                if outcome.error is not None:
                    report.bad.append(BadRow.of(line, outcome.error))
                    continue
                setattr(report, outcome.became, getattr(report, outcome.became) + 1)
                if outcome.reference_id is not None:
                    report.ids[line] = outcome.reference_id
            progress(len(some))
        report.bad.sort(key=lambda bad: bad.line)
        return report

    def _offered(self, row: ManifestRow, allow_unmasked: bool) -> OfferedImage:
        enrolment = Enrolment(
            labels=row.labels,
            attributes=row.attributes,
            frame=row.frame,
            region=row.region,
            patient_id=row.patient_id,
            external_id=row.external_id,
        )
        return OfferedImage(self._enroller, enrolment, partial(_read_file, row), allow_unmasked=allow_unmasked)


def _batches(rows: _Rows) -> Iterator[_Rows]:
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
