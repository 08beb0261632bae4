"""Reading an export: its lines, its vectors, and whose keys it carries."""

import csv
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain import Frame, ImageFacts, RegionSource, Taxonomy
from app.errors import BadInput, Conflict, SonoSeekError
from app.images.deidentify import Keyer
from app.images.reader import read_stored
from app.library.manifest import BadRow, read_taxonomy
from app.library.reference import NewVector, identity_of, reference_id
from app.search.candidate import Said
from app.search.enroller import ReadyImage
from app.search.export_row import COLUMNS, ExportedRow, row_of
from app.search.exporter import FORMAT

_TOLERANCE = 1e-3  # of a vector's length from 1


@dataclass(frozen=True, slots=True)
class _Vectors:
    """What one encoder made of the references: id -> row of an array (n, dim)."""

    encoder: str
    digest: str
    row_of: Mapping[str, int]
    array: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Export:
    """An export that can be enrolled."""

    folder: Path
    rows: list[ExportedRow]
    bad: list[BadRow]
    taxonomy: Taxonomy
    vectors: list[_Vectors]

    def vectors_of(self, key: str) -> tuple[NewVector, ...]:
        """The vectors that came with a reference."""
        return tuple(
            NewVector(some.encoder, some.digest, some.array[some.row_of[key]])
            for some in self.vectors
            if key in some.row_of
        )


class ExportedImage:
    """A line of an export as a candidate: its frame is taken as it is, neither cropped nor blanked again."""

    def __init__(self, export: Export, row: ExportedRow) -> None:
        given = row.facts.region_source is RegionSource.GIVEN
        self.said = Said(
            labels=row.labels,
            attributes=row.attributes,
            patient_key=row.facts.patient_key,
            external_id=row.external_id,
            region=row.facts.region if given else None,
            frame_digest=row.frame_digest,
        )
        self._export = export
        self._row = row

    def early_ids(self, library: str) -> list[str]:
        """Its id, which follows from what is written in its line."""
        return [reference_id(library, identity_of(self._row.facts))]

    def read(self) -> ReadyImage:
        """Its frame with the vectors that came with it; raises BadInput ``frame_changed``."""
        row = self._row
        try:
            png = (self._export.folder / row.path).read_bytes()
        except OSError:
            png = b""
        if hashlib.sha256(png).hexdigest() != row.frame_sha256:
            raise BadInput(
                "frame_changed",
                "the frame is not there or is not the one that was exported",
                hint="copy the whole export again",
            )
        return ReadyImage(
            frame=Frame(read_stored(png), row.facts),
            labels=row.labels,
            attributes=dict(row.attributes),
            patient_key=row.facts.patient_key,
            external_id=row.external_id,
            frame_digest=row.frame_digest,
            vectors=self._export.vectors_of(row.reference_id),
        )


def is_export(path: Path) -> bool:
    """Whether a path is the folder of an export, or its manifest."""
    return (export_folder(path) / "export.json").is_file() and (path.is_dir() or path.name == "manifest.csv")


def export_folder(path: Path) -> Path:
    """The folder of an export that is named by its folder or its manifest."""
    return path if path.is_dir() else path.parent


def read_export(path: Path, keyer: Keyer, *, new_patients: bool = False) -> Export:
    """Read an export; raises BadInput ``bad_export``, or Conflict ``other_secret`` where its keys are not ours.

    With ``new_patients`` such keys are hashed once more with our secret: images of one patient stay together, but
    no id that anybody sends will ever match them.
    """
    folder = export_folder(path)
    about = _about(folder)
    ours = about.get("secret_check") == keyer.check_value()
    if not ours and not new_patients:
        raise Conflict(
            "other_secret",
            "the export was made with another secret: its patients cannot be told from ours",
            hint="--new-patients enrols them as patients of their own: leaving out and erasing by patient id start "
            "anew, and match none of these images",
        )
    rows, bad = _rows(folder / "manifest.csv")
    if not ours:
        rows = [replace(row, facts=_rekeyed(row.facts, keyer)) for row in rows]
    return Export(folder, rows, bad, read_taxonomy(folder / "taxonomy.toml"), _vectors(folder, about))


def _about(folder: Path) -> dict[str, Any]:
    try:
        about = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise _bad_export("export.json cannot be read") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise _bad_export("export.json is of another format than this version of SonoSeek reads")
    return about


def _rows(manifest: Path) -> tuple[list[ExportedRow], list[BadRow]]:
    rows: list[ExportedRow] = []
    bad: list[BadRow] = []
    try:
        with manifest.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if set(COLUMNS) - set(reader.fieldnames or ()):
                raise _bad_export("manifest.csv lacks columns that an export has")
            for cells in reader:
                try:
                    rows.append(row_of(reader.line_num, _whole(cells)))
                except SonoSeekError as error:
                    bad.append(BadRow.of(reader.line_num, error))
    except (OSError, UnicodeDecodeError, csv.Error):
        raise _bad_export("manifest.csv cannot be read") from None
    return rows, bad


def _whole(cells: dict[str, str]) -> dict[str, str]:
    if None in cells or None in cells.values():
        raise BadInput("bad_row", "the line has another number of cells than the header", hint="export again")
    return cells


def _rekeyed(facts: ImageFacts, keyer: Keyer) -> ImageFacts:
    """Keys that only our secret could have made, one for each of the foreign ones."""
    return replace(
        facts,
        patient_key=keyer.patient_key(f"export {facts.patient_key}") if facts.patient_key else None,
        study_key=keyer.study_key(f"export {facts.study_key}") if facts.study_key else None,
        instance_key=keyer.instance_key(f"export {facts.instance_key}") if facts.instance_key else None,
    )


def _vectors(folder: Path, about: dict[str, Any]) -> list[_Vectors]:
    if not about.get("vectors"):
        return []
    try:
        with np.load(folder / "vectors.npz", allow_pickle=False) as arrays:
            return [_vectors_of(one, arrays) for one in about["vectors"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise _bad_export("vectors.npz cannot be read, or is not of this export") from None


def _vectors_of(about: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> _Vectors:
    ids, array = arrays[f"ids_{about['number']}"], arrays[f"vectors_{about['number']}"]
    if array.dtype != np.float32 or array.ndim != 2 or ids.shape != array.shape[:1]:
        raise ValueError
    lengths = np.linalg.norm(array.astype(np.float64), axis=1)
    if not np.all(np.abs(lengths - 1.0) < _TOLERANCE):  # not so for NaN either
        raise ValueError
    return _Vectors(str(about["encoder"]), str(about["digest"]), {str(key): row for row, key in enumerate(ids)}, array)


def _bad_export(detail: str) -> BadInput:
    return BadInput("bad_export", detail, hint="export the library again and copy the whole folder")
