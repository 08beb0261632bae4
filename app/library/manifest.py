"""A manifest: the CSV that lists images with their labels, and the taxonomy beside it."""

import csv
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.domain import ATTRIBUTES, LABEL_KINDS, MOST_LETTERS, Box, Labels, Taxonomy, is_label_text, unique
from app.errors import BadInput, SonoSeekError

COLUMNS = (
    "path", "frame", "region", "patient_id", "external_id",
    "organ", "organ_group", "plane", "diagnoses", "findings",
)  # fmt: skip
_EXTERNAL_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One image to enrol. ``patient_id`` is the user's and is hashed before anything is stored."""

    line: int
    path: Path
    frame: int | None
    region: Box | None
    patient_id: str | None = field(repr=False)
    external_id: str | None
    labels: Labels
    attributes: dict[str, str]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line that could not be used, and why."""

    line: int
    reason: str

    @classmethod
    def of(cls, line: int, error: SonoSeekError) -> "BadRow":
        """From what was raised about it: what is wrong and what can be done."""
        return cls(line, f"{error.detail}; {error.hint}")


@dataclass(slots=True)
class Manifest:
    """The rows of a manifest file; ``dropped`` are columns that were not asked for."""

    rows: list[ManifestRow]
    bad: list[BadRow]
    dropped: tuple[str, ...]
    taxonomy: Taxonomy


def read_manifest(path: Path, taxonomy: Taxonomy | None = None, extra_attributes: Sequence[str] = ()) -> Manifest:
    """Read a CSV manifest; raises BadInput ``bad_manifest`` where the file as a whole is unusable."""
    wanted = (*ATTRIBUTES, *extra_attributes)
    header, records = _records(path)
    _check_attributes(extra_attributes, header)
    dropped = tuple(name for name in header if name not in COLUMNS and name not in wanted)
    parsed: list[ManifestRow] = []
    bad: list[BadRow] = []
    groups = dict(taxonomy.organs) if taxonomy else {}
    for line, record in records:
        try:
            row = _parse(line, record, path.parent, wanted)
            _learn_group(groups, row.labels, fixed=taxonomy is not None)
            parsed.append(row)
        except SonoSeekError as error:
            bad.append(BadRow.of(line, error))
    return Manifest(parsed, bad, dropped, taxonomy or Taxonomy(organs=groups))


def _check_attributes(names: Sequence[str], header: Sequence[str]) -> None:
    for name in names:
        if name in COLUMNS or name in LABEL_KINDS:
            raise BadInput(
                "bad_attribute",
                f"the column {name!r} has a meaning of its own and cannot be an attribute",
                hint="attributes are stored and returned as they are",
            )
        if name not in header:
            raise BadInput("bad_attribute", f"there is no column named {name!r}", hint="check --attribute")


def read_taxonomy(path: Path) -> Taxonomy:
    """Read taxonomy.toml: tables [organs] and [diagnoses], label = "group"; raises BadInput ``bad_taxonomy``."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        organs, diagnoses = tables.pop("organs", {}), tables.pop("diagnoses", {})
        if tables or not all(isinstance(v, str) for v in [*organs.values(), *diagnoses.values()]):
            raise ValueError
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValueError, AttributeError):
        raise BadInput(
            "bad_taxonomy",
            f"the taxonomy {path.name} cannot be read",
            hint='write two tables, [organs] and [diagnoses], with lines such as femur = "fetal limb"',
        ) from None
    return Taxonomy(organs=organs, diagnoses=diagnoses)


def _records(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            records = [(reader.line_num, record) for record in reader]
            header = list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(
            "bad_manifest",
            f"the manifest {path.name} cannot be read ({type(error).__name__})",
            hint="a manifest is a CSV file in UTF-8 whose first line names the columns",
        ) from None
    if "path" not in header:
        raise BadInput(
            "bad_manifest",
            f"the manifest {path.name} has no column named path",
            hint=f"columns are: {', '.join(COLUMNS)}",
        )
    return header, records


def _parse(line: int, record: dict[str, str], folder: Path, attributes: Iterable[str]) -> ManifestRow:
    if None in record or None in record.values():
        raise BadInput("bad_row", "the line has another number of cells than the header", hint="check the commas")
    cells = {name: value.strip() for name, value in record.items()}
    if not cells["path"]:
        raise BadInput("bad_row", "the cell path is empty", hint="name an image file")
    frame = cells.get("frame")
    if frame and not (frame.isascii() and frame.isdigit() and int(frame) > 0):
        raise BadInput("bad_row", "the cell frame is not a whole number from 1 on", hint="frames count from 1")
    region = cells.get("region")
    labels, said = _labels(cells), {name: cells[name] for name in attributes if cells.get(name)}
    _check_texts(labels, said)
    return ManifestRow(
        line=line,
        path=folder / cells["path"],
        frame=int(frame) if frame else None,
        region=Box.parse(region) if region else None,
        patient_id=cells.get("patient_id") or None,
        external_id=_external_id(cells),
        labels=labels,
        attributes=said,
    )


def _external_id(cells: dict[str, str]) -> str | None:
    external_id = cells.get("external_id") or None
    if external_id is None:
        return None
    if not _EXTERNAL_ID.fullmatch(external_id):
        raise BadInput(
            "bad_external_id",
            "the external id is not made of 1 to 64 of the characters A-Z a-z 0-9 . _ : -",
            hint="choose another external id",
        )
    if external_id == cells.get("patient_id"):
        raise BadInput(
            "external_id_is_identity",
            "the external id repeats the patient id; it would be stored and returned in the clear",
            hint="choose an external id that names no person",
        )
    return external_id


def _labels(cells: dict[str, str]) -> Labels:
    def several(name: str) -> tuple[str, ...]:
        return unique(part.strip() for part in cells.get(name, "").split(";") if part.strip())

    return Labels(
        organ=cells.get("organ") or None,
        organ_group=cells.get("organ_group") or None,
        plane=cells.get("plane") or None,
        diagnoses=several("diagnoses"),
        findings=several("findings"),
    )


def _check_texts(labels: Labels, attributes: Mapping[str, str]) -> None:
    """The rule of the HTTP door: what it would refuse is refused here."""
    said = {kind: labels.values(kind) for kind in LABEL_KINDS} | {name: (text,) for name, text in attributes.items()}
    if wrong := [name for name, texts in said.items() if not all(map(is_label_text, texts))]:
        raise BadInput(
            "bad_label",
            f"not usable: {', '.join(wrong)}",
            hint=f"labels and attributes are texts of at most {MOST_LETTERS} characters without line breaks",
        )


def _learn_group(groups: dict[str, str], labels: Labels, *, fixed: bool) -> None:
    """Remember which group an organ belongs to; a given taxonomy wins silently over the column."""
    if fixed or labels.organ is None or labels.organ_group is None:
        return
    known = groups.setdefault(labels.organ, labels.organ_group)
    if known != labels.organ_group:
        raise BadInput(
            "two_groups",
            f"the organ {labels.organ!r} has two groups: {known!r} on an earlier line and {labels.organ_group!r} here",
            hint="an organ belongs to one group",
        )
