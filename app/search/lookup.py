"""Which rows carry a key: a label, an attribute, a patient."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.indexes.base import Mask

Key = TypeVar("Key", bound=Hashable)
Rows = NDArray[np.int64]
_NONE: Rows = np.empty(0, dtype=np.int64)


class Lookup(Generic[Key]):
    """Key -> rows in their order. Never changed: ``changed`` gives another one that shares what is the same."""

    def __init__(self, rows_of: dict[Key, Rows]) -> None:
        self._rows_of = rows_of

    @classmethod
    def of(cls, keys_of_rows: Iterable[Iterable[Key]], first: int = 0) -> "Lookup[Key]":
        """From the keys of each row, the first of which has the number ``first``."""
        rows: dict[Key, list[int]] = defaultdict(list)
        for row, keys in enumerate(keys_of_rows, start=first):
            for key in keys:
                rows[key].append(row)
        return cls({key: np.asarray(found, dtype=np.int64) for key, found in rows.items()})

    def __getitem__(self, key: Key) -> Rows:
        """The rows of a key; none where nobody carries it."""
        return self._rows_of.get(key, _NONE)

    def __iter__(self) -> Iterator[Key]:
        """All keys that a row carries."""
        return iter(self._rows_of)

    def items(self) -> Iterable[tuple[Key, Rows]]:
        """All keys with their rows."""
        return self._rows_of.items()

    def changed(self, gone: Sequence[tuple[int, Iterable[Key]]], more: "Lookup[Key]") -> "Lookup[Key]":
        """Without some rows, whose keys are given, and with those of another lookup behind them."""
        rows_of = dict(self._rows_of)
        leaving: dict[Key, list[int]] = defaultdict(list)
        for row, keys in gone:
            for key in keys:
                leaving[key].append(row)
        for key, left in leaving.items():
            rows_of[key] = np.setdiff1d(rows_of[key], left, assume_unique=True)
            if not len(rows_of[key]):
                del rows_of[key]
        for key, rows in more.items():
            rows_of[key] = np.append(rows_of.get(key, _NONE), rows)
        return Lookup(rows_of)


def without(mask: Mask, rows: Sequence[int]) -> Mask:
    """A copy of a mask in which some rows are hidden."""
    copy = mask.copy()
    copy[np.asarray(rows, dtype=np.int64)] = False
    return copy
