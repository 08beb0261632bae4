"""Seeded synthetic ultrasound images with labels, for demo, documentation, tests and benchmarks. No patient."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundImageStorage, generate_uid

from app.domain import Box, Labels, Pixels, Taxonomy
from app.images.phantom_anatomy import ORGANS, VIEWS, View
from app.images.phantom_exam import examine
from app.images.phantom_patient import DIAGNOSIS_GROUPS, Patient, recruit
from app.images.phantom_screen import SCREENS, compose

PATIENTS = 60
SYNTHETIC = "synthetic, no patient"
"""The site of every phantom: the crop loses what is burned in, and an answer must still say it."""

COLUMNS = (
    "path",
    "frame",
    "region",
    "patient_id",
    "external_id",
    "organ",
    "organ_group",
    "plane",
    "diagnoses",
    "findings",
    "device",
    "trimester",
    "site",
)
README = """SYNTHETIC IMAGES. All of it.

The pictures in this folder were computed by SonoSeek from geometry and random numbers. No patient, no
scanner and no real image had a part in them. Names, numbers and dates that they show are fictive.
They are for demonstration and tests, never for diagnosis, and say nothing about how well SonoSeek works
on real images. queries/ holds pictures of fictive patients that are not in manifest.csv.
"""


@dataclass(frozen=True, slots=True)
class Phantom:
    """A synthetic image: the whole screen, the truth about its scan region, and its labels.

    ``region`` is the box of ``tissue``, the mask (height, width) of the scan; ``pitch`` is mm per pixel.
    """

    name: str
    pixels: Pixels
    region: Box
    tissue: NDArray[np.bool_]
    patient_id: str
    labels: Labels
    attributes: dict[str, str]
    pitch: float


def draw_phantoms(count: int = 250, seed: int = 1, patients: int = PATIENTS) -> Iterator[Phantom]:
    """Draw synthetic images one after the other; the same arguments give the same pixels."""
    people = [recruit(number, seed) for number in range(1, patients + 1)]
    for index, (patient, organ) in enumerate(_schedule(people, count, seed)):
        yield _draw(f"phantom-{index + 1:04d}", patient, organ, seed, index)


def phantom_taxonomy() -> Taxonomy:
    """The groups of the phantoms' organs and diagnoses."""
    return Taxonomy({view.organ: view.group for view in VIEWS}, dict(DIAGNOSIS_GROUPS))


def write_phantoms(
    folder: Path, count: int = 250, seed: int = 1, progress: Callable[[int], None] | None = None
) -> None:
    """Write a data set: images/, manifest.csv, taxonomy.toml, queries/ and a README that says synthetic.

    ``progress`` is called with the number of images written so far.
    """
    for name in ("images", "queries"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    # A manifest says that the folder is complete: the old one goes first, the new one comes last.
    (folder / "manifest.csv").unlink(missing_ok=True)
    for phantom in _queries(seed):
        _save(phantom, folder / "queries" / f"{phantom.name}.png")
    rows = []
    for done, phantom in enumerate(draw_phantoms(count, seed), start=1):
        _save(phantom, folder / "images" / f"{phantom.name}.png")
        rows.append(_row(phantom))
        if progress:
            progress(done)
    (folder / "taxonomy.toml").write_text(_taxonomy_toml(), encoding="utf-8")
    (folder / "README.txt").write_text(README, encoding="utf-8")
    _write_manifest(folder / "manifest.csv", rows)


def phantom_dicom(phantom: Phantom) -> bytes:
    """The picture as a DICOM file (Ultrasound Image Storage) with its region and a fictive patient."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = UltrasoundImageStorage
    _describe(data, phantom)
    data.SequenceOfUltrasoundRegions = [_region_item(phantom)]
    _add_pixels(data, phantom.pixels)
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def contact_sheet(phantoms: Sequence[Phantom], columns: int) -> Image.Image:
    """A grey sheet of small pictures, each with its view and diagnosis under it."""
    width, height, caption = 240, 180, 16
    rows = -(-len(phantoms) // columns)
    sheet = Image.new("L", (columns * width, rows * (height + caption)))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for index, phantom in enumerate(phantoms):
        x, y = index % columns * width, index // columns * (height + caption)
        small = Image.fromarray(phantom.pixels).convert("L").resize((width - 2, height), Image.Resampling.BOX)
        sheet.paste(small, (x, y))
        words = [phantom.labels.organ or "", *phantom.labels.diagnoses]
        draw.text((x + 4, y + height + 1), f"synthetic: {', '.join(words)}", fill=210, font=font)
    return sheet


def _schedule(people: Sequence[Patient], count: int, seed: int) -> Iterator[tuple[Patient, str]]:
    """Who is seen in which view: the rarest view next that the patient has not had; the sick ones' own twice."""
    rng = np.random.default_rng([seed, 2])
    drawn: Counter[str] = Counter()
    had: dict[int, set[str]] = {patient.number: set() for patient in people}
    for index in range(count):
        patient, turn = people[index % len(people)], index // len(people)
        own = [view.organ for view in VIEWS if patient.diagnosis in view.shows]
        fresh = [organ for organ in ORGANS if organ not in had[patient.number]] or list(ORGANS)
        rarest = min(fresh, key=lambda organ: (drawn[organ], rng.random()))
        organ = own[0] if own and turn in (0, 2) else rarest
        drawn[organ] += 1
        had[patient.number].add(organ)
        yield patient, organ


def _draw(name: str, patient: Patient, organ: str, seed: int, index: int) -> Phantom:
    rng = np.random.default_rng([seed, 3, index])
    views = [view for view in VIEWS if view.organ == organ]
    view = views[int(rng.integers(len(views)))]
    exam = examine(patient, view, SCREENS[patient.device].window, rng)
    early = view.organ == "crown-rump"
    weeks = patient.early_weeks if early else patient.weeks
    pixels, tissue, region = compose(exam, patient, f"{int(weeks)}w{int(weeks % 1 * 7)}d")
    trimester = "first" if early else patient.trimester
    attributes = {"device": patient.device, "trimester": trimester, "site": SYNTHETIC}
    labels = _labels(view, patient, exam.findings)
    return Phantom(name, pixels, region, tissue, patient.patient_id, labels, attributes, exam.pitch)


def _labels(view: View, patient: Patient, findings: tuple[str, ...]) -> Labels:
    """The view's labels; a diagnosis only where the view can show it, else ``normal``."""
    shown = (patient.diagnosis if patient.diagnosis in view.shows else "normal",) if view.shows else ()
    labels = Labels(organ=view.organ, plane=view.plane, diagnoses=shown, findings=findings)
    return phantom_taxonomy().complete(labels)


def _queries(seed: int) -> Iterator[Phantom]:
    """One picture of each view, of patients that no manifest holds."""
    for index, organ in enumerate(ORGANS):
        patient = recruit(9001 + index, seed)
        yield _draw(f"query-{organ.replace(' ', '-')}", patient, organ, seed, 1_000_000 + index)


def _save(phantom: Phantom, path: Path) -> None:
    Image.fromarray(phantom.pixels).save(path, compress_level=1)


def _write_manifest(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write the whole table under another name, then give it its own."""
    unfinished = path.with_suffix(".csv.part")
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    unfinished.replace(path)


def _row(phantom: Phantom) -> dict[str, str]:
    labels = phantom.labels
    return {
        "path": f"images/{phantom.name}.png",
        "frame": "",
        "region": "",
        "patient_id": phantom.patient_id,
        "external_id": phantom.name,
        "organ": labels.organ or "",
        "organ_group": labels.organ_group or "",
        "plane": labels.plane or "",
        "diagnoses": ";".join(labels.diagnoses),
        "findings": ";".join(labels.findings),
        **phantom.attributes,
    }


def _taxonomy_toml() -> str:
    taxonomy = phantom_taxonomy()
    lines = ["# Synthetic phantoms: label = group"]
    for table, groups in (("organs", taxonomy.organs), ("diagnoses", taxonomy.diagnoses)):
        lines += ["", f"[{table}]", *(f'"{label}" = "{group}"' for label, group in groups.items())]
    return "\n".join(lines) + "\n"


def _describe(data: Dataset, phantom: Phantom) -> None:
    """Who and what: all of it fictive, the UIDs made from the phantom's name."""
    data.PatientName = "Synthetic^Phantom"
    data.PatientID = phantom.patient_id
    data.PatientBirthDate = "19000101"
    data.AccessionNumber = f"SYN{phantom.patient_id[-3:]}"
    data.StudyInstanceUID = generate_uid(entropy_srcs=["study", phantom.patient_id])
    data.SeriesInstanceUID = generate_uid(entropy_srcs=["series", phantom.patient_id])
    data.SOPInstanceUID = generate_uid(entropy_srcs=["instance", phantom.name, phantom.pixels.tobytes().hex()])
    data.Modality = "US"
    data.Manufacturer = "SonoSeek synthetic"
    data.ManufacturerModelName = phantom.attributes["device"]
    data.SeriesDescription = "Synthetic image, no patient"
    data.BurnedInAnnotation = "YES"


def _region_item(phantom: Phantom) -> Dataset:
    """One 2-D tissue region (PS3.3 C.8.5.5); its far corner is inclusive, deltas are in cm."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, 1, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = phantom.region.x0, phantom.region.y0
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = phantom.region.x1 - 1, phantom.region.y1 - 1
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX = item.PhysicalDeltaY = phantom.pitch / 10
    return item


def _add_pixels(data: Dataset, pixels: Pixels) -> None:
    data.Rows, data.Columns = pixels.shape[:2]
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    data.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    data.PixelData = pixels.tobytes()
