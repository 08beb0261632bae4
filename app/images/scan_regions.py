"""The scan region that a DICOM header gives (SequenceOfUltrasoundRegions, PS3.3 C.8.5.5)."""

from __future__ import annotations

from pydicom.dataset import Dataset

from app.domain import Box
from app.images import header
from app.images.limits import LEAST_SIDE

SEQUENCE = "SequenceOfUltrasoundRegions"
FLAT, TISSUE, COLOUR_FLOW = 1, 1, 2
CORNERS = ("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1", "RegionLocationMaxY1")
REGION_KEYWORDS = ("RegionSpatialFormat", "RegionDataType", *CORNERS)
WARNING = "the scan region in the DICOM header does not fit the picture and was ignored"


def header_region(dataset: Dataset, width: int, height: int) -> tuple[Box | None, tuple[str, ...]]:
    """The largest 2-D tissue or colour-flow region that fits the picture, and a warning if none of them does."""
    boxes = [_box(item, width, height) for item in header.items(dataset, SEQUENCE) if _is_tissue(item)]
    fitting = [box for box in boxes if box is not None]
    if not fitting:
        return None, (WARNING,) if boxes else ()
    return max(fitting, key=lambda box: box.width * box.height), ()


def _is_tissue(item: Dataset) -> bool:
    """Whether a region is a 2-D picture of tissue or colour flow (not a trace, a spectrum or a bar)."""
    data_type = header.whole(item, "RegionDataType")
    return header.whole(item, "RegionSpatialFormat") == FLAT and data_type in (TISSUE, COLOUR_FLOW)


def _box(item: Dataset, width: int, height: int) -> Box | None:
    """A region's box, or None where it is damaged, too small or reaches outside the picture."""
    corners = [header.whole(item, name) for name in CORNERS]
    x0, y0, x1, y1 = (-1 if corner is None else corner for corner in corners)
    # The standard's last corner belongs to the region; many scanners write the picture's size instead.
    box = Box(x0, y0, x1 if x1 == width else x1 + 1, y1 if y1 == height else y1 + 1)
    return box if box.fits(width, height) and min(box.width, box.height) >= LEAST_SIDE else None
