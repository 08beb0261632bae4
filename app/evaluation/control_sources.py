"""Where the pictures of the shortcut controls come from: stored frames, and the files that were enrolled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial

from app.domain import ImageFacts, Pixels
from app.errors import BadInput, SonoSeekError
from app.evaluation.controls import Sources
from app.evaluation.ground import Ground
from app.evaluation.state import digest_of
from app.images.deidentify import Keyer
from app.images.reader import Picture, ReadLimits, read_picture, read_stored
from app.library.catalogue import Catalogue
from app.library.manifest import Manifest, ManifestRow
from app.library.reference import identity_of, reference_id


def stored_sources(catalogue: Catalogue, ground: Ground) -> Sources:
    """What stored frames alone can tell."""
    return Sources(partial(_frame, catalogue, ground))


def manifest_sources(
    catalogue: Catalogue, ground: Ground, manifest: Manifest, keyer: Keyer, limits: ReadLimits
) -> Sources:
    """Stored frames, and the whole pictures from the files of a manifest.

    Raises BadInput ``sources_missing`` where a reference is not among them, and what reading raises.
    """
    rows = _rows_of(ground, manifest, keyer, limits)
    missing = [one.id for one in ground.references if one.id not in rows]
    if missing:
        raise BadInput(
            "sources_missing",
            f"{len(missing)} of {len(ground)} references are not among the pictures of the manifest",
            hint="give the manifest from which the library was enrolled, or --controls frames for what stored frames "
            "can tell",
        )
    picture = partial(_picture, ground, rows, keyer, limits)
    return Sources(partial(_frame, catalogue, ground), picture, digest_of(*map(_state, rows.values())))


def _frame(catalogue: Catalogue, ground: Ground, row: int) -> Pixels:
    return read_stored(catalogue.frame(ground.references[row].id))


def _picture(ground: Ground, rows: Mapping[str, ManifestRow], keyer: Keyer, limits: ReadLimits, row: int) -> Picture:
    return _read(rows[ground.references[row].id], keyer, limits)


def _state(row: ManifestRow) -> str:
    """Another text where a file was written anew, or is read otherwise."""
    status = row.path.stat()
    return f"{status.st_size} {status.st_mtime_ns} {row.frame} {row.region}"


def _rows_of(ground: Ground, manifest: Manifest, keyer: Keyer, limits: ReadLimits) -> dict[str, ManifestRow]:
    """Reference id -> the row of its picture."""
    library, known = ground.info.name, {one.id for one in ground.references}
    found: dict[str, ManifestRow] = {}
    for row in manifest.rows:
        key = _still_id(library, row)
        if key not in known:  # DICOM, or a picture of several frames: its identity is known when it has been read
            try:
                key = reference_id(library, identity_of(_read(row, keyer, limits).facts))
            except SonoSeekError:
                continue
        if key in known:
            found[key] = row
    return found


def _still_id(library: str, row: ManifestRow) -> str:
    try:
        sha256 = hashlib.sha256(row.path.read_bytes()).hexdigest()
    except OSError:
        return ""
    return reference_id(library, identity_of(ImageFacts(sha256, "", 0, 0, frame=row.frame)))


def _read(row: ManifestRow, keyer: Keyer, limits: ReadLimits) -> Picture:
    try:
        data = row.path.read_bytes()
    except OSError as error:
        raise BadInput(
            "file_unreadable", f"the picture of line {row.line} cannot be read", hint="check the manifest's paths"
        ) from error
    return read_picture(data, keyer=keyer, limits=limits, frame=row.frame, region=row.region)
