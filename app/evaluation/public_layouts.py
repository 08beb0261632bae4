"""How four public data sets are laid out: which files are images, and where their labels stand."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.errors import BadInput, Misconfigured
from app.evaluation.archive import ArchiveFile, Files

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Found:
    """An image of a set in our words; empty texts say nothing. ``extra`` columns are dropped unless somebody asks."""

    file: ArchiveFile
    external_id: str
    patient_id: str = ""
    organ: str = ""
    organ_group: str = ""
    plane: str = ""
    diagnoses: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    device: str = ""
    operator: str = ""
    trimester: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Left:
    """An image that is left out, and why."""

    reason: str


# -- FETAL_PLANES_DB ------------------------------------------------------------------------------------

_PLANES = {
    "fetal abdomen": ("abdomen", "fetal abdomen", "axial"),
    "fetal femur": ("femur", "fetal limb", ""),
    "fetal thorax": ("thorax", "fetal thorax", "axial"),
    "maternal cervix": ("maternal cervix", "maternal cervix", "sagittal"),
    "fetal brain": ("", "fetal head", "axial"),
}
_BRAIN_PLANES = {
    "trans-thalamic": "trans-thalamic",
    "trans-cerebellum": "trans-cerebellar",
    "trans-ventricular": "trans-ventricular",
}
_SAME_PATIENT = {799: 786, 830: 820}
"""Two people who stand in the set under two numbers each."""


def read_fetal_planes(files: Files) -> Iterator[Found | Left]:
    """FETAL_PLANES_DB_data.csv beside Images/; it names planes, patients, operators, machines and the split."""
    table = _named(files, "FETAL_PLANES_DB_data.csv")
    images = {file.name.stem.casefold(): file for file in _images(files)}
    for row in _table(table, ("Image_name", "Patient_num", "Plane", "Brain_plane")):
        name = row["Image_name"].removesuffix(".png")
        file = images.get(name.casefold())
        if file is None:
            yield Left("listed but not in the archive")
            continue
        organ, group, plane = _PLANES.get(row["Plane"].casefold(), ("", "", ""))
        yield Found(
            file,
            _identifier(name),
            patient_id=_fetal_patient(row["Patient_num"]),
            organ=organ or _BRAIN_PLANES.get(row["Brain_plane"].casefold(), ""),
            organ_group=group,
            plane=plane,
            device=_known(row.get("US_Machine", "")),
            operator=_known(row.get("Operator", "")),
            extra={"split": {"1": "train", "0": "test"}.get(row.get("Train", ""), "")},
        )


def _fetal_patient(number: str) -> str:
    if not number.isdigit():
        return number
    return f"Patient{_SAME_PATIENT.get(int(number), int(number)):05d}"


def _known(value: str) -> str:
    """A device or operator; the word Other names none."""
    return "" if value.casefold() == "other" else value


# -- HC18 -----------------------------------------------------------------------------------------------

_HC18_NAME = re.compile(r"(?P<patient>\d+)_\d*HC", re.IGNORECASE)


def read_hc18(files: Files) -> Iterator[Found | Left]:
    """training_set and test_set with NNN_HC.png, NNN_2HC.png ... of patient NNN; _Annotation files are no images."""
    measured = _measurements(files)
    for file in _images(files):
        name = _HC18_NAME.fullmatch(file.name.stem)
        if name is None:
            continue
        split = _hc18_split(file)
        patient = f"HC18-{name['patient']}" if split == "training" else f"HC18-test-{name['patient']}"
        yield Found(
            file,
            _identifier(f"HC18-{split}-{file.name.stem}"),
            patient_id=patient,
            organ="head circumference plane",
            organ_group="fetal head",
            plane="axial",
            extra={"split": split, **measured.get((split, file.name.name.casefold()), {})},
        )


def _hc18_split(file: ArchiveFile) -> str:
    """Both sets count their patients from 000, so that a picture of unknown set is of an unknown patient."""
    for part in reversed(file.name.parent.parts):
        if "test" in part.casefold():
            return "test"
        if "train" in part.casefold():
            return "training"
    raise BadInput(
        "other_layout",
        f"whether {file.name.name} belongs to the training or the test set cannot be told",
        hint="keep the folders training_set and test_set, or give the zips as downloaded",
    )


def _measurements(files: Files) -> dict[tuple[str, str], dict[str, str]]:
    """(Set, file name) -> pixel size and head circumference, as far as the tables are there."""
    tables = {
        "training": [file for file in files.values() if file.name.name == "training_set_pixel_size_and_HC.csv"],
        "test": [file for file in files.values() if file.name.name == "test_set_pixel_size.csv"],
    }
    return {
        (split, row["filename"].casefold()): {
            "pixel_size_mm": row.get("pixel size(mm)", ""),
            "head_circumference_mm": row.get("head circumference (mm)", ""),
        }
        for split, found in tables.items()
        for file in found[:1]
        for row in _table(file, ("filename",))
    }


# -- BUSI -----------------------------------------------------------------------------------------------

_BUSI_CLASSES = ("benign", "malignant", "normal")


def read_busi(files: Files) -> Iterator[Found | Left]:
    """Folders benign, malignant and normal with "benign (1).png"; what has _mask in its name is no image."""
    for file in _images(files):
        label = file.name.parent.name.casefold()
        if label in _BUSI_CLASSES and "_mask" not in file.name.stem:
            yield Found(
                file,
                _identifier(f"busi-{file.name.stem}"),
                organ="breast",
                organ_group="breast",
                diagnoses=(label,),
            )


# -- Dataset for Fetus Framework (nuchal translucency) ---------------------------------------------------

_STRUCTURES = {
    "nt": "nuchal translucency",
    "it": "intracranial translucency",
    "cm": "cisterna magna",
    "cisternae magna": "cisterna magna",
    "nb": "nasal bone",
}


def read_nt(files: Files) -> Iterator[Found | Left]:
    """ObjectDetection.xlsx with fname and structure beside folders of images; marked images are standard planes."""
    structures: defaultdict[str, list[str]] = defaultdict(list)
    for row in _sheet(_named(files, "ObjectDetection.xlsx"), ("fname", "structure")):
        structures[row["fname"].casefold()].append(_structure(row["structure"]))
    by_name: defaultdict[str, list[ArchiveFile]] = defaultdict(list)
    for file in _images(files):
        by_name[file.name.name.casefold()].append(file)
    for name, found in sorted(by_name.items()):
        if name not in structures:
            yield from (Left("not marked in ObjectDetection.xlsx") for _ in found)
        elif (chosen := _the_one(found)) is None:
            yield from (Left("one name, several pictures") for _ in found)
        else:
            yield from (Left(_why_not(file, chosen)) for file in found if file is not chosen)
            yield Found(
                chosen,
                _identifier(f"nt-{chosen.name.stem}"),
                organ="nuchal translucency plane",
                organ_group="first-trimester fetus",
                plane="sagittal",
                findings=tuple(sorted(set(structures.pop(name)))),
            )
    yield from (Left("listed but not in the archive") for name in structures if name not in by_name)


def _structure(name: str) -> str:
    plain = " ".join(name.casefold().replace("_", " ").split())
    return _STRUCTURES.get(plain, plain)


def _the_one(found: list[ArchiveFile]) -> ArchiveFile | None:
    """Of files of one name: the only one, one of equal ones, or the only one in a folder Standard."""
    if len(found) == 1 or len({hashlib.sha256(file.read()).digest() for file in found}) == 1:
        return found[0]
    standard = [file for file in found if file.name.parent.name.casefold() == "standard"]
    return standard[0] if len(standard) == 1 else None


def _why_not(file: ArchiveFile, chosen: ArchiveFile) -> str:
    return "the same file again" if file.read() == chosen.read() else "another picture of a name that is taken"


# -- what they share ------------------------------------------------------------------------------------


def _images(files: Files) -> Iterator[ArchiveFile]:
    return (file for file in files.values() if file.name.suffix.lower() in IMAGES)


def _named(files: Files, name: str) -> ArchiveFile:
    found = [file for file in files.values() if file.name.name.casefold() == name.casefold()]
    if not found:
        raise BadInput(
            "other_layout",
            f"there is no {name}",
            hint="give the archive as downloaded or the whole folder that it unpacks to",
        )
    return found[0]


def _table(file: ArchiveFile, needed: Iterable[str]) -> Iterator[dict[str, str]]:
    """The rows of a CSV, its separator ; or , and the spaces around names and cells taken away."""
    try:
        text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _other_columns(file, needed) from None
    first, _, _ = text.partition("\n")
    reader = csv.DictReader(io.StringIO(text), delimiter=";" if ";" in first else ",")
    names = [(name or "").strip() for name in reader.fieldnames or []]
    if not set(needed).issubset(names):
        raise _other_columns(file, needed)
    reader.fieldnames = names
    for row in reader:
        yield {name: (value or "").strip() for name, value in row.items() if isinstance(name, str)}


def _sheet(file: ArchiveFile, needed: Iterable[str]) -> Iterator[dict[str, str]]:
    """The rows of the first sheet of an Excel file as texts; raises Misconfigured ``extra_missing``."""
    try:
        import openpyxl
    except ModuleNotFoundError:
        raise Misconfigured(
            "extra_missing", "reading an Excel file needs openpyxl", hint="pip install 'sonoseek[evaluation]'"
        ) from None
    try:
        rows: Iterator[tuple[Any, ...]] = (
            openpyxl.load_workbook(io.BytesIO(file.read()), read_only=True).worksheets[0].iter_rows(values_only=True)
        )
        names = [str(name or "").strip() for name in next(rows, ())]
    except (OSError, ValueError, KeyError, IndexError, SyntaxError, zipfile.BadZipFile):  # XML errors are SyntaxErrors
        raise _other_columns(file, needed) from None
    if not set(needed).issubset(names):
        raise _other_columns(file, needed)
    for row in rows:
        texts = {name: "" if value is None else str(value).strip() for name, value in zip(names, row, strict=False)}
        if all(texts.get(name) for name in needed):
            yield texts


def _other_columns(file: ArchiveFile, needed: Iterable[str]) -> BadInput:
    return BadInput(
        "other_layout",
        f"{file.name.name} has not the columns {', '.join(needed)}",
        hint="give the file as its publisher made it",
    )


def _identifier(name: str) -> str:
    """A name as an external id: other characters become hyphens."""
    return re.sub(r"-+", "-", re.sub(r"[^A-Za-z0-9._:-]", "-", name)).strip("-")[:64]
