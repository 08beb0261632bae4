"""DICOM look-up tables: descriptor and data, in words or bytes, plain or segmented (PS3.3 C.7.6.3.1.5, C.7.9.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from app.images import header
from app.images.guard import undecodable

Entries = NDArray[np.unsignedinteger]
DISCRETE, LINEAR = 0, 1


@dataclass(frozen=True, slots=True)
class LookupTable:
    """Entries of ``bits`` bits for the input values from ``first`` on."""

    entries: Entries
    first: int
    bits: int

    @property
    def top(self) -> int:
        """The largest value that an entry can have."""
        return (1 << self.bits) - 1

    def positions(self, values: NDArray[np.integer]) -> NDArray[np.integer]:
        """Where each value's entry stands; values before the first and after the last take these."""
        return np.clip(values.astype(np.int64) - self.first, 0, self.entries.size - 1)

    def look_up(self, values: NDArray[np.integer]) -> NDArray[np.float64]:
        """The entry of each value."""
        found: NDArray[np.float64] = self.entries[self.positions(values)].astype(np.float64)
        return found


def read_table(dataset: Dataset, descriptor: str, data: str) -> LookupTable:
    """A table from its descriptor and its data; raises BadInput when it is damaged."""
    announced, first, bits = (int(value) for value in header.values(dataset, descriptor))
    count = announced % 2**16 or 2**16
    entries = _plain_entries(dataset, data, count)
    if entries is None:
        entries = _unfold_segments(_numbers(dataset, f"Segmented{data}", packed=bits <= 8), count)
    if entries.size != count or not 1 <= bits <= 16:
        raise undecodable()
    return LookupTable(entries, first, bits)


def _plain_entries(dataset: Dataset, keyword: str, count: int) -> Entries | None:
    """Unsegmented data; it is packed in bytes where there are too few of them for words."""
    stored = header.values(dataset, keyword)
    if not stored:
        return None
    packed = isinstance(stored[0], bytes) and len(stored[0]) < 2 * count
    return _numbers(dataset, keyword, packed)[:count]


def _numbers(dataset: Dataset, keyword: str, packed: bool) -> Entries:
    """The words of an element, or its bytes where it is packed."""
    stored = header.values(dataset, keyword)
    if not stored:
        raise undecodable()
    if not isinstance(stored[0], bytes):
        return np.array(stored, np.uint16)
    order = ">u2" if dataset.original_encoding[1] is False else "<u2"
    words = np.frombuffer(stored[0][: len(stored[0]) // 2 * 2], order)
    return words.astype("<u2").view(np.uint8) if packed else words


def _unfold_segments(words: Entries, count: int) -> Entries:
    """Segmented data as plain entries, no more than the descriptor announces."""
    plain: list[int] = []
    numbers = iter(words.tolist())
    for kind in numbers:
        length = next(numbers, 0)
        if kind == DISCRETE:
            plain += [value for _, value in zip(range(length), numbers, strict=False)]
        elif kind == LINEAR and plain:
            ramp = np.linspace(plain[-1], next(numbers), length + 1)[1:]
            plain += ramp.round().astype(int).tolist()
        # Indirect segments repeat others and could unfold without end.
        if kind not in (DISCRETE, LINEAR) or len(plain) > count:
            raise undecodable()
    return np.array(plain, np.uint16)
