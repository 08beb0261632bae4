"""Values of a DICOM header, read leniently: what cannot be read counts as absent."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Any

from pydicom.dataset import Dataset

PADDING = "\0" + "".join(filter(str.isspace, map(chr, range(0x3001))))
"""NUL, and white space of every script: none stands beyond the ideographic space."""


def text(dataset: Dataset, keyword: str) -> str | None:
    """The value as text without padding (several values with backslashes, as stored), None if empty."""
    value = values(dataset, keyword)
    return "\\".join(str(part).strip(PADDING) for part in value) or None


def number(dataset: Dataset, keyword: str) -> float | None:
    """The first value as a number, or None."""
    try:
        return float(values(dataset, keyword)[0])
    except (IndexError, TypeError, ValueError):
        return None


def whole(dataset: Dataset, keyword: str) -> int | None:
    """The first value as a whole number, or None."""
    found = number(dataset, keyword)
    return int(found) if found is not None and found == int(found) else None


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; empty where there is none."""
    return [item for item in values(dataset, keyword) if isinstance(item, Dataset)]


def values(dataset: Dataset, keyword: str) -> list[Any]:
    """All values of an element; empty where it is absent, empty or unreadable."""
    try:
        value = dataset.get(keyword)
    except Exception:
        return []
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, MutableSequence) else [value]
