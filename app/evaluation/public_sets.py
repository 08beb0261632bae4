"""Public ultrasound data sets as they are downloaded, turned into manifest.csv and taxonomy.toml."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import tomli_w

from app.errors import BadInput, Misconfigured
from app.evaluation.archive import ArchiveFile, Files, open_archive
from app.evaluation.public_layouts import Found, Left, read_busi, read_fetal_planes, read_hc18, read_nt

COLUMNS = (
    "path",
    "patient_id",
    "external_id",
    "organ",
    "organ_group",
    "plane",
    "diagnoses",
    "findings",
    "device",
    "operator",
    "trimester",
)


@dataclass(frozen=True, slots=True)
class PublicSet:
    """A data set: where it comes from, how many images it has by its own account, and how its layout is read.

    ``read`` gives what it finds in the files, and what it leaves out with the reason.
    """

    name: str
    source: str
    images: int
    read: Callable[[Files], Iterable[Found | Left]]
    organs: Mapping[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportedSet:
    """What became of a set: rows written, reason -> images that were left out, and what a reader must know."""

    rows: int
    left_out: Mapping[str, int]
    notes: list[str] = field(default_factory=list)

    @property
    def left_out_text(self) -> str:
        """The reasons with their counts."""
        return ", ".join(f"{count} {reason}" for reason, count in self.left_out.items()) or "none"


_HEAD = "fetal head"
_TWO_NUMBERS = "Patient00799 is written as Patient00786 and Patient00830 as Patient00820: one person under two numbers"

PUBLIC_SETS: Mapping[str, PublicSet] = {
    one.name: one
    for one in (
        PublicSet(
            "fetal-planes-db",
            "Zenodo, doi:10.5281/zenodo.3904280, CC BY 4.0",
            12400,
            read_fetal_planes,
            {
                "abdomen": "fetal abdomen",
                "femur": "fetal limb",
                "thorax": "fetal thorax",
                "maternal cervix": "maternal cervix",
                "trans-thalamic": _HEAD,
                "trans-ventricular": _HEAD,
                "trans-cerebellar": _HEAD,
            },
            (_TWO_NUMBERS,),
        ),
        PublicSet(
            "hc18",
            "Zenodo, doi:10.5281/zenodo.1327317, CC BY 4.0",
            1334,
            read_hc18,
            {"head circumference plane": _HEAD},
            ("test and training set number their patients separately, so their ids differ here",),
        ),
        PublicSet(
            "busi",
            "Data in Brief 28 (2020) 104863, doi:10.1016/j.dib.2019.104863",
            780,
            read_busi,
            {"breast": "breast"},
            (
                "the set names no patients and holds pictures twice: run sonoseek audit, and evaluate with "
                "--patients near-duplicates",
            ),
        ),
        PublicSet(
            "nt",
            "Mendeley Data, doi:10.17632/n2rbrb9t4f.1, CC BY 4.0",
            1684,
            read_nt,
            {"nuchal translucency plane": "first-trimester fetus"},
            ("the set names no patients: evaluate with --patients near-duplicates",),
        ),
    )
}


def import_set(
    which: PublicSet,
    source: Path,
    folder: Path,
    *,
    keep_unlabelled: bool = False,
    progress: Callable[[str, int, int], None] = lambda _stage, _done, _of: None,
) -> ImportedSet:
    """Write manifest.csv and taxonomy.toml into an existing folder; images inside a zip go to its ``images/``.

    Images of an unpacked folder stay where they are, and the manifest names them relative to itself. Raises BadInput
    ``bad_archive`` or ``other_layout``, Misconfigured ``folder_unwritable``.
    """
    left: Counter[str] = Counter()
    with open_archive(source) as files:
        rows: dict[str, dict[str, str]] = {}
        for number, found in enumerate(which.read(files), start=1):
            if isinstance(found, Left):
                left[found.reason] += 1
            elif not (found.organ or found.organ_group or keep_unlabelled):
                left["without a label of ours (--unlabelled keeps them)"] += 1
            elif found.external_id in rows:
                left["of a name that stood there already"] += 1
            else:
                rows[found.external_id] = _row(found, folder)
            progress("reading images", number, which.images)
    if not rows:
        raise BadInput(
            "other_layout",
            f"no labelled image of {which.name} was found",
            hint=f"give the archive as downloaded ({which.source}) or the folder that it unpacks to",
        )
    _write(which, list(rows.values()), folder)
    return ImportedSet(len(rows), dict(left), [*which.notes, *_count_note(which, len(rows) + sum(left.values()))])


def _count_note(which: PublicSet, seen: int) -> Iterator[str]:
    if seen < which.images:
        yield f"{seen} images were found of the {which.images} that the set is said to have: is the download whole?"


def _row(found: Found, folder: Path) -> dict[str, str]:
    return {
        "path": _placed(found, folder),
        "patient_id": found.patient_id,
        "external_id": found.external_id,
        "organ": found.organ,
        "organ_group": found.organ_group,
        "plane": found.plane,
        "diagnoses": ";".join(found.diagnoses),
        "findings": ";".join(found.findings),
        "device": found.device,
        "operator": found.operator,
        "trimester": found.trimester,
        **found.extra,
    }


def _placed(found: Found, folder: Path) -> str:
    """Where the image lies, seen from the manifest; unpacked to ``images/`` where it comes in a zip."""
    file: ArchiveFile = found.file
    if file.path is not None:
        return Path(os.path.relpath(file.path.resolve(), folder.resolve())).as_posix()
    place = Path("images") / f"{found.external_id}{file.name.suffix.lower()}"
    try:
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_bytes(file.read())
    except OSError as error:
        raise _unwritable(error) from None
    return place.as_posix()


def _write(which: PublicSet, rows: list[dict[str, str]], folder: Path) -> None:
    extra = sorted({name for row in rows for name in row} - set(COLUMNS))
    try:
        with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [*COLUMNS, *extra], restval="")
            writer.writeheader()
            writer.writerows(rows)
        with (folder / "taxonomy.toml").open("wb") as toml:
            tomli_w.dump({"organs": dict(which.organs), "diagnoses": {}}, toml)
    except OSError as error:
        raise _unwritable(error) from None


def _unwritable(error: OSError) -> Misconfigured:
    return Misconfigured(
        "folder_unwritable",
        f"the folder cannot be written ({type(error).__name__})",
        hint="name a folder that exists or can be made, with room for the images",
    )
