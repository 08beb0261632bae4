"""The elements of a DICOM data set, walked where they stand: nothing is expanded that nobody asked for."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from app.images.guard import undecodable

MOST_STEPS = 400_000
"""Elements, items and fragments of one data set: a long 3-D cine has 120,000, and all of them take half a second."""

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
WIDE_VRS = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)


class Element(NamedTuple):
    """An element whose value is the bytes from ``start`` to ``stop``; the next element begins at ``after``."""

    tag: int
    vr: str | None
    length: int
    start: int
    stop: int
    after: int


class Walk:
    """Steps through the elements and items of some bytes (PS3.5 7), at most MOST_STEPS in all.

    Bytes that end too early raise struct.error, too many steps BadInput ``undecodable_image``.
    """

    def __init__(self, data: bytes, start: int, *, little: bool) -> None:
        self.data = data
        self.little = little
        # The first element tells, whatever the transfer syntax claims.
        self.implicit = not _is_vr(data[start + 4 : start + 6])
        self._left = MOST_STEPS
        order = "<" if little else ">"
        self._long = struct.Struct(f"{order}HHL").unpack_from
        self._short = struct.Struct(f"{order}HH2sH").unpack_from
        self._length = struct.Struct(f"{order}L").unpack_from
        self._end = struct.pack(f"{order}HH", SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF)

    def elements(self, at: int, end: int) -> Iterator[Element]:
        """The elements between two positions, without looking into any of them."""
        while at + 8 <= end:
            tag, vr, length, start = self._header(at)
            if tag == ITEM_END:
                return
            stop, at = self._close(start) if length == UNDEFINED else (start + length, start + length)
            yield Element(tag, vr, length, start, stop, at)

    def items(self, at: int, end: int) -> Iterator[tuple[int, int]]:
        """Where each item of a sequence's value starts and stops."""
        while at + 8 <= end:
            tag, _, length, start = self._header(at)
            if tag != ITEM:
                return
            stop, at = self._leave(start, 2) if length == UNDEFINED else (start + length, start + length)
            yield start, min(stop, end)

    def _header(self, at: int) -> tuple[int, str | None, int, int]:
        """An element's tag, VR (None where implicit) and length, and where its value starts."""
        self._left -= 1
        if self._left < 0:
            raise undecodable()
        group, number, vr, length = self._short(self.data, at)
        tag = group << 16 | number
        if self.implicit or group == ITEM >> 16 or not _is_vr(vr):
            return tag, None, self._long(self.data, at)[2], at + 8
        if vr in WIDE_VRS:
            return tag, vr.decode(), self._length(self.data, at + 8)[0], at + 12
        return tag, vr.decode(), length, at + 8

    def _close(self, at: int) -> tuple[int, int]:
        """Where a value of undefined length stops, and where its delimiter does."""
        try:
            return self._leave(at, 1)
        except struct.error:
            # Some write a value without items there: its delimiter is then the next one in the bytes.
            stop = self.data.find(self._end, at)
        if stop < 0:
            raise undecodable()
        return stop, stop + 8

    def _leave(self, at: int, level: int) -> tuple[int, int]:
        """The same by steps; the level is odd between items and even inside one, and grows with nesting."""
        outside = level - 1
        while level > outside:
            stop = at
            at, level = self._past_item(at, level) if level % 2 else self._past_element(at, level)
        return stop, at

    def _past_item(self, at: int, level: int) -> tuple[int, int]:
        """Over an item of known length, into one of unknown length, or out of the sequence."""
        tag, _, length, start = self._header(at)
        if tag == SEQUENCE_END:
            return start, level - 1
        if tag != ITEM:
            raise struct.error
        return (start, level + 1) if length == UNDEFINED else (start + length, level)

    def _past_element(self, at: int, level: int) -> tuple[int, int]:
        """Over an element of known length, into one of unknown length, or out of the item."""
        tag, _, length, start = self._header(at)
        if tag == ITEM_END:
            return start, level - 1
        return (start, level + 1) if length == UNDEFINED else (start + length, level)


def _is_vr(two: bytes) -> bool:
    """Whether two bytes may be a value representation."""
    return two.isalpha() and two.isupper()
