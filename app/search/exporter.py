"""Exporter: a library as files: manifest.csv, taxonomy.toml, frames/, export.json and, where wanted, vectors.npz."""

import csv
import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from app.errors import BadInput, NotFound
from app.images.deidentify import Keyer
from app.library.catalogue import Catalogue
from app.library.reference import Reference
from app.search.export_row import COLUMNS, cells_of

FORMAT = 1
_PAGE = 500


@dataclass(frozen=True, slots=True)
class ExportReport:
    """How many references were written; ``changed`` where the library did not stand still meanwhile."""

    references: int
    changed: bool


class Exporter:
    """Writes libraries to folders from which they can be enrolled again, here or elsewhere."""

    def __init__(self, catalogue: Catalogue, keyer: Keyer) -> None:
        self._catalogue = catalogue
        self._keyer = keyer

    def run(
        self,
        library: str,
        folder: Path,
        *,
        vectors: bool = False,
        progress: Callable[[int], None] = lambda _done: None,
    ) -> ExportReport:
        """Write a library into a new or empty folder that only its owner can read.

        Raises NotFound ``unknown_library``, or BadInput ``folder_not_empty``. export.json comes last: without it the
        folder is no export.
        """
        before = self._catalogue.library(library)
        _make_empty(folder)
        ids = self._write_references(library, folder, progress)
        taxonomy = self._catalogue.taxonomy(library)
        tables = {"organs": dict(taxonomy.organs), "diagnoses": dict(taxonomy.diagnoses)}
        (folder / "taxonomy.toml").write_text(tomli_w.dumps(tables), encoding="utf-8")
        encoders = self._write_vectors(library, folder, ids) if vectors else []
        about = {
            "format": FORMAT,
            "library": library,
            "version": before.version,
            "references": len(ids),
            "secret_check": self._keyer.check_value(),
            "vectors": encoders,
        }
        (folder / "export.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        return ExportReport(len(ids), self._catalogue.library(library).edition != before.edition)

    def _write_references(self, library: str, folder: Path, progress: Callable[[int], None]) -> list[str]:
        """Frames and their lines, in order of id; returns the ids."""
        ids = []
        with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            for reference in self._references(library):
                path = f"frames/{reference.id}.png"
                try:
                    png = self._catalogue.frame(reference.id)
                except NotFound:
                    continue  # it was removed meanwhile
                (folder / path).write_bytes(png)
                writer.writerow(cells_of(reference, path, hashlib.sha256(png).hexdigest()))
                ids.append(reference.id)
                progress(1)
        return ids

    def _references(self, library: str) -> Iterator[Reference]:
        after = None
        while page := self._catalogue.listing.page(library, after=after, limit=_PAGE):
            yield from page
            after = page[-1].id

    def _write_vectors(self, library: str, folder: Path, ids: list[str]) -> list[dict[str, Any]]:
        """One array of ids and one of vectors (n, dim) for each encoder, one encoder in memory at a time."""
        encoders = []
        with zipfile.ZipFile(folder / "vectors.npz", "w") as archive:
            for number, (digest, (name, _count)) in enumerate(self._catalogue.embeddings.counts(library).items()):
                found = self._vectors(digest, ids)
                own = [key for key in ids if key in found]
                _add(archive, f"ids_{number}", np.asarray(own, dtype="U36"))
                stacked = [found[key] for key in own] or [np.empty(0)]
                _add(archive, f"vectors_{number}", np.stack(stacked)[: len(own)].astype("<f4"))
                encoders.append({"encoder": name, "digest": digest, "number": number})
        return encoders

    def _vectors(self, digest: str, ids: list[str]) -> dict[str, np.ndarray[Any, Any]]:
        found = {}
        for start in range(0, len(ids), _PAGE):
            found.update(self._catalogue.embeddings.many(ids[start : start + _PAGE], digest))
        return found


def _make_empty(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise BadInput("folder_not_empty", "there are files in that folder already", hint="name a new folder")
        (folder / "frames").mkdir(mode=0o700)
    except OSError as error:
        raise BadInput(
            "folder_unwritable",
            f"the folder cannot be made ({type(error).__name__})",
            hint="name a new folder in a place that you may write to",
        ) from None


def _add(archive: zipfile.ZipFile, name: str, array: np.ndarray[Any, Any]) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array(file, array, allow_pickle=False)
