"""What a compressed frame says about itself: size and components of a JPEG family codestream."""

from __future__ import annotations

from app.images.guard import undecodable

JPEG2000_START = b"\xff\x4f\xff\x51"
END_OF_IMAGE = b"\xff\xd9"
NO_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))
SIZE_MARKERS = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}


def check_coded_size(frame: bytes, width: int, height: int, components: int) -> None:
    """Raise BadInput unless the codestream has the header's size: a small header must not hide a huge picture."""
    sizes = _jpeg2000_sizes(frame) if JPEG2000_START in frame[:4096] else {_jpeg_size(frame)}
    if sizes != {(width, height, components)}:
        raise undecodable()


def check_end(frame: bytes) -> None:
    """Raise BadInput unless a codestream ends as it should: CharLS can search for seconds past a missing end."""
    if not frame.rstrip(b"\0").endswith(END_OF_IMAGE):
        raise undecodable()


def jpeg_precision(frame: bytes) -> int:
    """Bits per sample of a JPEG codestream."""
    return frame[_size_segment(frame) + 4]


def jpeg_component_ids(frame: bytes) -> bytes:
    """The ids of a JPEG's components, one byte each; b"RGB" tells that nothing was converted."""
    start = _size_segment(frame)
    count = frame[start + 9]
    return frame[start + 10 : start + 10 + 3 * count : 3]


def _jpeg2000_sizes(frame: bytes) -> set[tuple[int, int, int]]:
    """(width, height, components) of each SIZ segment, decoys in boxes before the codestream included."""
    sizes, start = set(), frame.find(JPEG2000_START)
    while start >= 0:
        x1, y1, x0, y0 = (int.from_bytes(frame[at : at + 4], "big") for at in range(start + 8, start + 24, 4))
        sizes.add((x1 - x0, y1 - y0, int.from_bytes(frame[start + 40 : start + 42], "big")))
        start = frame.find(JPEG2000_START, start + 1)
    return sizes


def _jpeg_size(frame: bytes) -> tuple[int, int, int]:
    """(width, height, components) of a JPEG or JPEG-LS codestream."""
    start = _size_segment(frame)
    height, width = (int.from_bytes(frame[at : at + 2], "big") for at in (start + 5, start + 7))
    return width, height, frame[start + 9]


def _size_segment(frame: bytes) -> int:
    """Where the start-of-frame marker stands; raises BadInput where there is none."""
    position = 0
    while position + 10 <= len(frame) and frame[position] == 0xFF:
        marker = frame[position + 1]
        if marker in SIZE_MARKERS:
            return position
        if marker == 0xFF:
            position += 1
        elif marker in NO_LENGTH:
            position += 2
        else:
            position += 2 + int.from_bytes(frame[position + 2 : position + 4], "big")
    raise undecodable()
