"""Bytes of any kind into a Frame: sniffed, decoded, cropped to the scan region, de-identified."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from app.domain import Box, Frame, ImageFacts, Pixels, RegionSource
from app.errors import BadInput
from app.images.decoded import Decoded, is_blank
from app.images.deidentify import KeptHeader, Keyer
from app.images.dicom import DICOM_RECIPE, decode_dicom
from app.images.guard import guarded
from app.images.limits import LEAST_SIDE, MOST_ASPECT
from app.images.limits import ReadLimits as ReadLimits
from app.images.magic import sniff
from app.images.raster import RASTER_RECIPE, decode_raster
from app.images.region import REGION_RECIPE, ScanRegion, crop_to_region, detect_region

READER_RECIPE = "reader-1"
"""Change it whenever cropping, blanking or the choice of the region changes; the rooms beside have their own."""

RECIPES = (READER_RECIPE, RASTER_RECIPE, DICOM_RECIPE, REGION_RECIPE)
FRAME_DIGEST = "sha256:" + hashlib.sha256("\n".join(RECIPES).encode()).hexdigest()
"""Identifies how frames are made. A change of any rule must change one of the recipes, and so this."""

NO_REGION = "no scan region was found: the whole picture was used, and text burned into it may remain"
BURNED_IN = "the header says that text is burned in and gives no scan region: some of it may remain"
FASTEST = 1


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture as a whole, before anything is cropped or blanked, and where the scan in it is."""

    pixels: Pixels
    scan: ScanRegion
    facts: ImageFacts


def read_picture(
    data: bytes,
    *,
    keyer: Keyer,
    limits: ReadLimits = ReadLimits(),  # noqa: B008
    frame: int | None = None,
    region: Box | None = None,
) -> Picture:
    """One frame of an image as a whole: what is burned into it, a name too, is still there. Never store it.

    ``frame`` counts from 1 (default the middle one of a cine), ``region`` is in stored pixels after EXIF
    orientation and overrides the header and the detection. Raises BadInput or TooLarge.
    """
    limits.check_bytes(len(data))
    kind = sniff(data)
    if kind == "dicom":
        decoded = decode_dicom(data, keyer=keyer, limits=limits, frame=frame)
    else:
        decoded = decode_raster(data, kind, limits=limits, frame=frame)
    _refuse_blank(decoded.pixels)
    scan = _scan_region(decoded, region)
    return Picture(decoded.pixels, scan, _facts(data, kind, decoded, scan))


def read_frame(
    data: bytes,
    *,
    keyer: Keyer,
    limits: ReadLimits = ReadLimits(),  # noqa: B008
    frame: int | None = None,
    region: Box | None = None,
) -> Frame:
    """One frame of an image, cropped and blanked, ready for an encoder; see ``read_picture``."""
    picture = read_picture(data, keyer=keyer, limits=limits, frame=frame, region=region)
    pixels = crop_to_region(picture.pixels, picture.scan)
    _refuse_blank(pixels)
    return Frame(pixels, picture.facts)


def write_stored(pixels: Pixels) -> bytes:
    """A grey or RGB frame as lossless 8-bit PNG."""
    packed = BytesIO()
    Image.fromarray(pixels).save(packed, "PNG", compress_level=FASTEST)
    return packed.getvalue()


def read_stored(png: bytes) -> Pixels:
    """The pixels of a stored frame, bit by bit those that were written."""
    return guarded(lambda: np.asarray(Image.open(BytesIO(png), formats=["PNG"])))


def _refuse_blank(pixels: Pixels) -> None:
    """Raise BadInput ``blank_image`` where all pixels are the same."""
    if is_blank(pixels):
        raise BadInput(
            "blank_image",
            "the picture, or the region of it that was asked for, is blank",
            hint="send a picture that shows something; check frame and region",
        )


def _scan_region(decoded: Decoded, given: Box | None) -> ScanRegion:
    """The region to crop to: the caller's, else the header's, else what detection finds."""
    if given is not None:
        return _given_region(given, decoded.pixels)
    return detect_region(decoded.pixels, decoded.header.region if decoded.header else None)


def _given_region(box: Box, pixels: Pixels) -> ScanRegion:
    """The caller's box, whole: he sees the picture. Raises BadInput ``bad_region``."""
    height, width = pixels.shape[:2]
    if not box.fits(width, height) or min(box.width, box.height) < LEAST_SIDE:
        raise BadInput(
            "bad_region",
            f"the region does not lie inside the picture or is smaller than {LEAST_SIDE} pixels on a side",
            hint=f"the picture is {width} x {height}: write region=x0,y0,x1,y1 with x1 and y1 exclusive",
        )
    if max(box.width, box.height) > MOST_ASPECT * min(box.width, box.height):
        raise BadInput(
            "bad_region",
            f"the region is more than {MOST_ASPECT} times as long as it is wide",
            hint="no scan is that thin, and an encoder would scale it up to gigabytes: give the whole scan region",
        )
    return ScanRegion(box, None, RegionSource.GIVEN)


def _facts(data: bytes, kind: str, decoded: Decoded, scan: ScanRegion) -> ImageFacts:
    """What is kept beside the pixels."""
    kept = decoded.header or KeptHeader()
    height, width = decoded.pixels.shape[:2]
    doubts = _doubts(kept, scan.source)
    return ImageFacts(
        sha256=hashlib.sha256(data).hexdigest(),
        format=kind,
        width=width,
        height=height,
        frame=decoded.frame,
        frames=decoded.frames,
        region=scan.box,
        region_source=scan.source,
        unmasked=bool(doubts),
        modality=kept.modality,
        manufacturer=kept.manufacturer,
        model=kept.model,
        patient_key=kept.patient_key,
        study_key=kept.study_key,
        instance_key=kept.instance_key,
        identity_keys=kept.identity_keys,
        warnings=(*kept.warnings, *doubts),
    )


def _doubts(kept: KeptHeader, source: RegionSource) -> tuple[str, ...]:
    """Why text may have survived in the frame; empty where the region was given or is known."""
    if source is RegionSource.NONE:
        return (NO_REGION,)
    known = source in (RegionSource.DICOM, RegionSource.GIVEN)
    return (BURNED_IN,) if kept.burned_in and not known else ()
