"""A reference as a line of an export's manifest.csv, and back."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.domain import ATTRIBUTES, Box, ImageFacts, Labels, RegionSource
from app.errors import BadInput
from app.library.reference import Reference

_LISTS = ("diagnoses", "diagnosis_groups", "findings")
_FACTS = ("modality", "manufacturer", "model")
KEYS = ("patient_key", "study_key", "instance_key")
COLUMNS = (
    "path", "reference_id", "external_id", "organ", "organ_group", "plane", *_LISTS, *ATTRIBUTES, "attributes",
    "frame", "region", "region_source", "width", "height", "format", *_FACTS, *KEYS,
    "sha256", "frame_sha256", "frame_digest",
)  # fmt: skip

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FRAME_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PART = re.compile(r"(?:\\.|[^;\\])*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ExportedRow:
    """A line of an export. Its ``facts`` hold keys of whichever secret the export was made with."""

    line: int
    path: str
    reference_id: str
    external_id: str | None
    labels: Labels
    attributes: Mapping[str, str]
    facts: ImageFacts
    frame_digest: str
    frame_sha256: str


def cells_of(reference: Reference, path: str, frame_sha256: str) -> dict[str, str]:
    """The cells of a reference, by column; empty where it has nothing."""
    facts, labels = reference.facts, reference.labels
    others = {name: value for name, value in reference.attributes.items() if name not in ATTRIBUTES}
    return {
        "path": path,
        "reference_id": reference.id,
        "external_id": reference.external_id or "",
        "organ": labels.organ or "",
        "organ_group": labels.organ_group or "",
        "plane": labels.plane or "",
        **{kind: _joined(getattr(labels, kind)) for kind in _LISTS},
        **{name: reference.attributes.get(name, "") for name in ATTRIBUTES},
        "attributes": json.dumps(others, ensure_ascii=False) if others else "",
        "frame": str(facts.frame or ""),
        "region": ",".join(map(str, facts.region)) if facts.region else "",
        "region_source": facts.region_source.value,
        "width": str(facts.width),
        "height": str(facts.height),
        "format": facts.format,
        **{name: getattr(facts, name) or "" for name in (*_FACTS, *KEYS)},
        "sha256": facts.sha256,
        "frame_sha256": frame_sha256,
        "frame_digest": reference.frame_digest,
    }


def row_of(line: int, cells: Mapping[str, str]) -> ExportedRow:
    """The line of some cells; raises BadInput ``bad_row``."""
    for name, pattern in (("sha256", _SHA256), ("frame_sha256", _SHA256), ("frame_digest", _FRAME_DIGEST)):
        _check(name, bool(pattern.fullmatch(cells[name])))
    for name in KEYS:
        _check(name, not cells[name] or bool(_SHA256.fullmatch(cells[name])))
    return ExportedRow(
        line=line,
        path=cells["path"],
        reference_id=cells["reference_id"],
        external_id=cells["external_id"] or None,
        labels=_labels(cells),
        attributes=_attributes(cells),
        facts=_facts(cells),
        frame_digest=cells["frame_digest"],
        frame_sha256=cells["frame_sha256"],
    )


def _labels(cells: Mapping[str, str]) -> Labels:
    return Labels(
        organ=cells["organ"] or None,
        organ_group=cells["organ_group"] or None,
        plane=cells["plane"] or None,
        diagnoses=_parts(cells["diagnoses"]),
        diagnosis_groups=_parts(cells["diagnosis_groups"]),
        findings=_parts(cells["findings"]),
    )


def _attributes(cells: Mapping[str, str]) -> dict[str, str]:
    try:
        others = json.loads(cells["attributes"] or "{}")
    except ValueError:
        others = None
    _check("attributes", isinstance(others, dict) and all(isinstance(value, str) for value in others.values()))
    return {**{name: cells[name] for name in ATTRIBUTES if cells[name]}, **others}


def _facts(cells: Mapping[str, str]) -> ImageFacts:
    _check("region_source", cells["region_source"] in list(RegionSource))
    return ImageFacts(
        sha256=cells["sha256"],
        format=cells["format"],
        width=_number("width", cells),
        height=_number("height", cells),
        frame=_number("frame", cells) if cells["frame"] else None,
        region=Box.parse(cells["region"]) if cells["region"] else None,
        region_source=RegionSource(cells["region_source"]),
        **{name: cells[name] or None for name in (*_FACTS, *KEYS)},  # type: ignore[arg-type]
    )


def _number(name: str, cells: Mapping[str, str]) -> int:
    text = cells[name]
    _check(name, text.isascii() and text.isdigit() and int(text[:9]) > 0 and len(text) < 10)
    return int(text)


def _check(name: str, good: bool) -> None:
    if not good:
        raise BadInput("bad_row", f"the cell {name} does not hold what an export writes there", hint="export again")


def _joined(names: Iterable[str]) -> str:
    return ";".join(re.sub(r"([\\;])", r"\\\1", name) for name in names)


def _parts(text: str) -> tuple[str, ...]:
    """What ``_joined`` put together."""
    parts, start = [], 0
    while text and start <= len(text):
        match = _PART.match(text, start)
        assert match is not None  # the pattern matches nothing too
        parts.append(re.sub(r"\\(.)", r"\1", match[0], flags=re.DOTALL))
        _check("labels", match.end() == len(text) or text[match.end()] == ";")
        start = match.end() + 1
    return tuple(parts)
