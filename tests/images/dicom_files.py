"""Makes DICOM files for tests: every syntax and colour space read here, and instances planted with names."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import compress
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from scipy import ndimage

US_IMAGE = "1.2.840.10008.5.1.4.1.1.6.1"
US_CINE = "1.2.840.10008.5.1.4.1.1.3.1"
YBR_FROM_RGB = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
CARD_COLOURS = (
    *((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)),
    *((200, 120, 40), (20, 90, 160), (128, 128, 128), (255, 255, 255)),
)
BAR = 16


def colour_card(height: int = 48) -> np.ndarray:
    """Eight bars of known colours, 16 pixels wide: (height, 128, 3)."""
    return np.repeat(np.array([CARD_COLOURS], np.uint8), BAR, axis=1).repeat(height, axis=0)


def card_colours(pixels: np.ndarray) -> np.ndarray:
    """The colour in the middle of each bar of a decoded card: (8, 3)."""
    return pixels[pixels.shape[0] // 2, BAR // 2 :: BAR].astype(int)


def grey_scan(height: int = 64, width: int = 96, seed: int = 7) -> np.ndarray:
    """Speckle that fills the frame; every value from 1 to 255 occurs in its first row and a half."""
    values = speckle(height, width, seed)
    random = np.random.default_rng(seed)
    values.flat[:255] = random.permutation(np.arange(1, 256))
    return values


def speckle(height: int, width: int, seed: int) -> np.ndarray:
    """Fully developed speckle, its grains one by two pixels, from 1 to 255."""
    noise = np.random.default_rng(seed).normal(size=(2, height, width))
    envelope = np.hypot(*ndimage.gaussian_filter(noise, (0, 1, 2)))
    return np.clip(np.rint(255 * envelope / envelope.max()), 1, 255).astype(np.uint8)


def to_ybr(rgb: np.ndarray) -> np.ndarray:
    """Full-range YCbCr (ITU-R 601) of an RGB picture, rounded."""
    return np.clip(np.rint(rgb @ YBR_FROM_RGB.T + (0, 128, 128)), 0, 255).astype(np.uint8)


def dicom_header(pixels: np.ndarray, photometric: str, **elements: Any) -> Dataset:
    """A data set that describes ``pixels``: (h, w), (h, w, 3), or with ``frames`` given one axis more."""
    frames = elements.pop("frames", None)
    shape = pixels.shape if frames is None else pixels.shape[1:]
    dataset = Dataset()
    dataset.SOPClassUID = US_IMAGE if frames is None else US_CINE
    dataset.SOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    dataset.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.2"
    dataset.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.3"
    dataset.Modality = "US"
    if frames is not None:
        dataset.NumberOfFrames = frames
    dataset.Rows, dataset.Columns = shape[:2]
    dataset.SamplesPerPixel = 3 if len(shape) == 3 else 1
    if len(shape) == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = 8 * pixels.itemsize
    dataset.BitsStored = elements.pop("BitsStored", 8 * pixels.itemsize)
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def make_dicom(
    pixels: np.ndarray,
    *,
    syntax: str = uid.ExplicitVRLittleEndian,
    photometric: str = "MONOCHROME2",
    preamble: bool = True,
    coding: dict[str, Any] | None = None,
    **elements: Any,
) -> bytes:
    """The bytes of a DICOM file whose samples are ``pixels`` as they are, in any syntax read here.

    Lossless JPEG is written by GDCM, baseline JPEG by Pillow (the samples are then RGB, whatever the
    photometric says), all others by pydicom with the options in ``coding``. None as an element's value
    leaves it out.
    """
    absent = [keyword for keyword, value in elements.items() if value is None]
    dataset = dicom_header(pixels, photometric, **{k: v for k, v in elements.items() if v is not None})
    _set_pixels(dataset, pixels, uid.UID(syntax), coding or {})
    for keyword in absent:
        if keyword in dataset:
            del dataset[keyword]
    if syntax in (uid.JPEGLossless, uid.JPEGLosslessSV1):
        return _lossless_jpeg(file_bytes(dataset, uid.ExplicitVRLittleEndian), syntax)
    return file_bytes(dataset, syntax, preamble=preamble)


def _set_pixels(dataset: Dataset, pixels: np.ndarray, syntax: uid.UID, coding: dict[str, Any]) -> None:
    """Put the samples into the data set, compressed where the syntax wants it."""
    if syntax in (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit):
        several = pixels if dataset.get("NumberOfFrames") else pixels[None]
        dataset.PixelData = encapsulate([jpeg_bytes(frame, **coding) for frame in several])
    elif syntax.is_encapsulated and syntax not in (uid.JPEGLossless, uid.JPEGLosslessSV1):
        compress(dataset, syntax, np.ascontiguousarray(pixels), generate_instance_uid=False, **coding)
    else:
        big = syntax == uid.ExplicitVRBigEndian
        plain = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).tobytes()
        dataset.PixelData = plain + b"\0" * (len(plain) % 2)
    dataset["PixelData"].VR = "OB" if syntax.is_encapsulated or pixels.itemsize == 1 else "OW"


def file_bytes(dataset: Dataset, syntax: str, *, preamble: bool = True, meta: Dataset | None = None) -> bytes:
    """A data set as a file with file meta information, or as a bare data set without any."""
    buffer = BytesIO()
    chosen = uid.UID(syntax)
    if not preamble:
        little, implicit = chosen.is_little_endian, chosen.is_implicit_VR
        dataset.save_as(buffer, implicit_vr=implicit, little_endian=little, enforce_file_format=False)
        return buffer.getvalue()
    dataset.file_meta = FileMetaDataset(meta or {})
    dataset.file_meta.TransferSyntaxUID = chosen
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def jpeg_bytes(picture: np.ndarray, *, rgb: bool = False, bare: bool = False, **options: Any) -> bytes:
    """A JPEG of a grey or RGB picture; ``rgb`` keeps RGB components, ``bare`` removes the JFIF marker."""
    buffer = BytesIO()
    options = {"quality": 98, "subsampling": 0, **options}
    Image.fromarray(picture).save(buffer, "JPEG", keep_rgb=rgb, **options)
    data = buffer.getvalue()
    start = data.find(b"\xff\xe0")
    if bare and start > 0:
        data = data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4], "big") :]
    return data


def _lossless_jpeg(native: bytes, syntax: str) -> bytes:
    """A native file transcoded by GDCM, which works on files only."""
    import gdcm

    kinds = {uid.JPEGLossless: "JPEGLosslessProcess14", uid.JPEGLosslessSV1: "JPEGLosslessProcess14_1"}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.dcm", Path(folder) / "out.dcm"
        source.write_bytes(native)
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(source))
        assert reader.Read()
        kind = getattr(gdcm.TransferSyntax, kinds[uid.UID(syntax)])
        change.SetTransferSyntax(gdcm.TransferSyntax(kind))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(str(target))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return target.read_bytes()


def region_item(box: tuple[int, int, int, int], data_type: int = 1, spatial: int = 1) -> Dataset:
    """An item of SequenceOfUltrasoundRegions for a half-open box."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = spatial, data_type, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = box[0], box[1]
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = box[2] - 1, box[3] - 1
    return item


@dataclass
class Planted:
    """A DICOM file full of names: ``strings`` must appear nowhere, ``scan`` is the box without text."""

    data: bytes
    strings: list[str] = field(default_factory=list)
    scan: tuple[int, int, int, int] = (0, 0, 0, 0)


def planted_dicom(*, frames: int | None = None, regions: bool = True, seed: int = 1) -> Planted:
    """An ultrasound instance with names in every place a scanner puts them, burned-in bar included.

    ``seed`` changes the instance, not the names.
    """
    pixels, scan = _planted_pixels(frames, seed)
    dataset = dicom_header(pixels, "MONOCHROME2", **({"frames": frames} if frames else {}))
    planted = Planted(b"", [], scan)
    _plant_standard(dataset, planted.strings)
    dataset.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.77001.{seed}"
    _plant_nested(dataset, planted.strings)
    _plant_private(dataset, planted.strings)
    _plant_overlays(dataset, planted.strings)
    if regions:
        dataset.SequenceOfUltrasoundRegions = Sequence([region_item(scan)])
    dataset.BurnedInAnnotation = "YES"
    dataset.Manufacturer, dataset.ManufacturerModelName = "ACME Ultrasound", "Model 7"
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB"
    dataset.DataSetTrailingPadding = b"PLANTED-TRAILER "
    planted.data = b"PLANTED-PREAMBLE".ljust(128, b"-") + _planted_file(dataset, planted.strings)[128:]
    planted.strings += ["PLANTED-TRAILER", "PLANTED-PREAMBLE"]
    return planted


def _planted_pixels(frames: int | None, seed: int) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Speckle below a dark bar with a name in it."""
    pictures = []
    for number in range(frames or 1):
        canvas = Image.new("L", (320, 240))
        ImageDraw.Draw(canvas).text((8, 8), "PLANTED BURNED NAME 1901-02-03", fill=255)
        picture = np.array(canvas)
        picture[48:232, 40:280] = speckle(184, 240, seed + number)
        pictures.append(picture)
    return np.stack(pictures) if frames else pictures[0], (40, 48, 280, 232)


STANDARD_TEXTS = (
    *("PatientID", "IssuerOfPatientID", "OtherPatientNames", "PatientAddress", "PatientComments"),
    *("AccessionNumber", "StudyID", "InstitutionName", "InstitutionAddress", "StationName", "StudyDescription"),
    *("SeriesDescription", "ProtocolName", "ImageComments", "DeviceSerialNumber", "AdditionalPatientHistory"),
    *("ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName", "NameOfPhysiciansReadingStudy"),
    *("PatientName", "PatientBirthName", "PatientMotherBirthName", "MilitaryRank", "Occupation"),
    *("DerivationDescription", "RequestedProcedureDescription", "WindowCenterWidthExplanation"),
)
DATES = ("PatientBirthDate", "StudyDate", "SeriesDate", "ContentDate", "AcquisitionDate")


def _plant_standard(dataset: Dataset, strings: list[str]) -> None:
    """Names, ids, dates and UIDs in the standard's own elements."""
    for number, keyword in enumerate(STANDARD_TEXTS):
        text = f"PLANT{number:02}^X" if keyword.endswith(("Name", "Names")) else f"PLANTED{number:02}"
        setattr(dataset, keyword, text)
        strings.append(text)
    for number, keyword in enumerate(DATES):
        setattr(dataset, keyword, f"1901020{number + 1}")
        strings.append(f"1901020{number + 1}")
    dataset.OtherPatientIDs = ["PLANTEDOTHER1", "PLANTEDOTHER2"]
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.826.77002", "1.2.826.77003"
    strings += ["PLANTEDOTHER1", "PLANTEDOTHER2", "3680043.8.498.77001", "1.2.826.77002", "1.2.826.77003"]


def _plant_nested(dataset: Dataset, strings: list[str]) -> None:
    """The same in sequences, three deep, and in an icon."""
    inner, middle, outer = Dataset(), Dataset(), Dataset()
    inner.PatientID, inner.PatientName = "PLANTEDINNER", "PLANTED^INNER"
    middle.ReferencedPatientSequence = Sequence([inner])
    outer.ModifiedAttributesSequence = Sequence([middle])
    outer.ModifyingSystem = "PLANTEDSYSTEM"
    dataset.OriginalAttributesSequence = Sequence([outer])
    other = Dataset()
    other.PatientID, other.IssuerOfPatientID = "PLANTEDOTHER3", "PLANTEDISSUER"
    dataset.OtherPatientIDsSequence = Sequence([other])
    icon = dicom_header(np.zeros((16, 16), np.uint8), "MONOCHROME2")
    icon.PixelData = b"PLANTED-ICON".ljust(256, b"\0")
    dataset.IconImageSequence = Sequence([icon])
    strings += ["PLANTEDINNER", "PLANTED^INNER", "PLANTEDSYSTEM", "PLANTEDOTHER3", "PLANTEDISSUER", "PLANTED-ICON"]


def _plant_private(dataset: Dataset, strings: list[str]) -> None:
    """Private elements, as text, as unknown bytes and as a sequence."""
    block = dataset.private_block(0x0019, "PLANTED CREATOR", create=True)
    block.add_new(0x01, "LO", "PLANTEDPRIVATE")
    block.add_new(0x02, "UN", b"PLANTEDUNKNOWN")
    item = Dataset()
    item.PatientName = "PLANTED^PRIVATE^SQ"
    block.add_new(0x03, "SQ", Sequence([item]))
    strings += ["PLANTED CREATOR", "PLANTEDPRIVATE", "PLANTEDUNKNOWN", "PLANTED^PRIVATE^SQ"]


def _plant_overlays(dataset: Dataset, strings: list[str]) -> None:
    """An overlay plane with a name in its description and in its bits."""
    dataset.add_new(Tag(0x6000, 0x0010), "US", 8)
    dataset.add_new(Tag(0x6000, 0x0011), "US", 16)
    dataset.add_new(Tag(0x6000, 0x0022), "LO", "PLANTEDOVERLAY")
    dataset.add_new(Tag(0x6000, 0x1500), "LO", "PLANTEDLABEL")
    dataset.add_new(Tag(0x6000, 0x3000), "OW", b"PLANTEDOVERBITS!")
    strings += ["PLANTEDOVERLAY", "PLANTEDLABEL", "PLANTEDOVERBITS"]


def _planted_file(dataset: Dataset, strings: list[str]) -> bytes:
    """The file, with names in its file meta information too."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPInstanceUID, meta.MediaStorageSOPClassUID = dataset.SOPInstanceUID, dataset.SOPClassUID
    meta.SourceApplicationEntityTitle = "PLANTEDAE"
    meta.PrivateInformationCreatorUID, meta.PrivateInformation = "1.2.826.77004", b"PLANTEDMETA!"
    strings += ["PLANTEDAE", "1.2.826.77004", "PLANTEDMETA"]
    return file_bytes(dataset, uid.ExplicitVRLittleEndian, meta=meta)
