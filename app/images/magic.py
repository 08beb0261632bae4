"""Which format some bytes are in, by their first bytes alone."""

from __future__ import annotations

from app.errors import BadInput

BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
FIRST_VRS = (b"UL", b"UI", b"OB", b"CS", b"DA", b"TM", b"DT", b"LO", b"SH", b"SQ", b"PN", b"AE", b"ST", b"UN")


def sniff(data: bytes) -> str:
    """One of dicom, png, jpeg, webp, bmp, tiff; raises BadInput ``empty_file`` or ``unknown_format``."""
    if not data:
        raise BadInput("empty_file", "the image has no bytes", hint="send the bytes of one image file")
    # DICOM first: its preamble may hold a TIFF header for dual use.
    if data[128:132] == b"DICM":
        return "dicom"
    found = _raster(data) or ("dicom" if _bare_dicom(data) else None)
    if found is None:
        raise BadInput(
            "unknown_format",
            "the bytes are none of the image formats that are read here",
            hint="send DICOM, PNG, JPEG, WebP, BMP or TIFF; the bytes decide, not the file's name",
        )
    return found


def _raster(data: bytes) -> str | None:
    """The raster format that the first bytes announce, or None."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in BMP_HEADERS:
        return "bmp"
    return "tiff" if data.startswith(TIFF_STARTS) else None


def _bare_dicom(data: bytes) -> bool:
    """Whether the bytes look like a DICOM data set without preamble: a first element of group 2 or 8."""
    if data[:2] == b"\0\x08" and data[2] == 0:
        return data[4:6] in FIRST_VRS
    if data[:2] not in (b"\x02\0", b"\x08\0") or data[3:4] != b"\0":
        return False
    return data[4:6] in FIRST_VRS or 0 < int.from_bytes(data[4:8], "little") <= 256
