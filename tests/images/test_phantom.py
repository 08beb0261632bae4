"""The phantoms are seeded, labelled, marked as synthetic, and show what their labels say."""

import csv
import io
import tomllib
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from PIL import Image

from app.images.phantom import contact_sheet, draw_phantoms, phantom_dicom, phantom_taxonomy, write_phantoms
from app.images.phantom_anatomy import ORGANS, VIEWS
from app.images.phantom_canvas import Canvas, Place, ellipse
from app.images.phantom_patient import DIAGNOSIS_GROUPS, recruit
from app.images.phantom_scanner import Probe, Settings, scan

NARROW = Probe("linear", 0.0, 0.0, 80.0, 100.0)
WIDE = Probe("linear", 0.0, 0.0, 110.0, 100.0)
PLAIN = Settings(gain=0.0, dynamic_range=60.0, focus=0.3, pulse=1.2, beam=1.0, fading=0.0, noise=-80.0, smoothing=0.4)


@pytest.fixture(scope="module")
def some():
    return list(draw_phantoms(count=18, seed=3, patients=6))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("phantoms")
    seen = []
    write_phantoms(target, progress=seen.append)
    assert seen == list(range(1, 251))
    return target


@pytest.fixture(scope="module")
def rows(folder):
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def empty_canvas(probe=NARROW):
    canvas = Canvas(*probe.points(), np.random.default_rng(0))
    canvas.echo[:] = -30.0
    return canvas


def painted(organ, diagnosis):
    """A canvas with nothing but one view on it, of a patient with that diagnosis."""
    view = next(view for view in VIEWS if view.organ == organ)
    canvas = empty_canvas(WIDE)
    place = Place((0.0, 0.0) if view.inside else (0.0, 50.0), 0.0, 1.0, False)
    patient = replace(recruit(1, 1), diagnosis=diagnosis)
    findings = view.draw(canvas, *place.axes(canvas), patient, np.random.default_rng(5))
    return canvas, findings


def test_same_seed_same_pixels_and_another_seed_another_picture(some):
    again = list(draw_phantoms(count=3, seed=3, patients=6))
    other = next(draw_phantoms(count=1, seed=4, patients=6))
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(again, some[:3], strict=True))
    assert [a.labels for a in again] == [b.labels for b in some[:3]]
    assert not np.array_equal(other.pixels, some[0].pixels)


def test_the_region_is_the_box_of_the_tissue(some):
    for phantom in some:
        rows, columns = np.nonzero(phantom.tissue)
        assert phantom.region == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert phantom.region.fits(phantom.pixels.shape[1], phantom.pixels.shape[0])
        assert phantom.tissue.shape == phantom.pixels.shape[:2]
        assert 0.2 < phantom.tissue.mean() < 0.85


def test_each_scanner_burns_its_own_marks_in_around_the_scan(some):
    marks = {}
    for phantom in some:
        outside = phantom.pixels[~phantom.tissue]
        assert (outside.reshape(len(outside), -1).max(axis=1) > 100).sum() > 1500
        marks.setdefault(phantom.attributes["device"], phantom.pixels)
    assert {pixels.shape for pixels in marks.values()} == {(480, 640), (600, 800, 3)}


def test_the_scan_itself_is_grey_on_the_colour_screen(some):
    colour = next(phantom for phantom in some if phantom.pixels.ndim == 3)
    scanned = colour.pixels[colour.tissue]
    assert (scanned == scanned[:, :1]).all()
    assert 20 < scanned.mean() < 150
    assert len(np.unique(scanned)) > 100


def test_two_pictures_of_one_view_of_one_patient_are_no_copies():
    first, *_, last = (
        phantom for phantom in draw_phantoms(count=3, seed=3, patients=1) if phantom.labels.organ == "trans-ventricular"
    )
    assert first.patient_id == last.patient_id
    difference = np.abs(first.pixels.astype(int) - last.pixels.astype(int))
    assert difference[first.tissue & last.tissue].mean() > 10


def test_all_views_groups_planes_diagnoses_and_patients_are_there_often_enough(rows):
    counts = {organ: sum(row["organ"] == organ for row in rows) for organ in ORGANS}
    assert len(rows) == 250
    assert len(counts) >= 8
    assert min(counts.values()) >= 20
    assert len({row["organ_group"] for row in rows}) >= 4
    assert {row["plane"] for row in rows} == {"axial", "sagittal", "coronal", ""}
    assert len({row["patient_id"] for row in rows}) == 60
    assert {row["trimester"] for row in rows} == {"first", "second", "third"}
    assert len({row["device"] for row in rows}) == 2
    for diagnosis in DIAGNOSIS_GROUPS:
        assert sum(row["diagnoses"] == diagnosis for row in rows) >= 8


def test_a_patient_is_seen_in_several_views(rows):
    for patient in {row["patient_id"] for row in rows}:
        assert len({row["organ"] for row in rows if row["patient_id"] == patient}) >= 2


def test_a_diagnosis_stands_only_where_its_view_can_show_it(rows):
    shows = {view.organ: {*view.shows, "normal"} if view.shows else {""} for view in VIEWS}
    assert all(row["diagnoses"] in shows[row["organ"]] for row in rows)
    assert all(row["findings"] for row in rows)


def test_the_manifest_names_existing_pictures_once(rows, folder):
    assert list(rows[0]) == [
        *("path", "frame", "region", "patient_id", "external_id", "organ", "organ_group", "plane"),
        *("diagnoses", "findings", "device", "trimester", "site"),
    ]
    assert len({row["path"] for row in rows}) == len({row["external_id"] for row in rows}) == 250
    assert all((folder / row["path"]).is_file() for row in rows)
    assert [path.name for path in folder.glob("manifest*")] == ["manifest.csv"]


def test_the_taxonomy_file_is_the_taxonomy(rows, folder):
    written = tomllib.loads((folder / "taxonomy.toml").read_text(encoding="utf-8"))
    taxonomy = phantom_taxonomy()
    assert written == {"organs": dict(taxonomy.organs), "diagnoses": dict(taxonomy.diagnoses)}
    assert all(taxonomy.organs[row["organ"]] == row["organ_group"] for row in rows)


def test_there_is_a_query_of_each_view_that_no_manifest_row_repeats(rows, folder):
    queries = sorted((folder / "queries").iterdir())
    assert len(queries) == len(ORGANS)
    enrolled = {(folder / row["path"]).read_bytes() for row in rows}
    assert not any(query.read_bytes() in enrolled for query in queries)


def test_everything_says_synthetic(rows, folder, some):
    assert "SYNTHETIC" in (folder / "README.txt").read_text(encoding="utf-8")
    assert all(row["patient_id"].startswith("synthetic-") for row in rows)
    data = pydicom.dcmread(io.BytesIO(phantom_dicom(some[0])))
    assert "synthetic" in str(data.Manufacturer).lower()
    assert "Synthetic" in str(data.PatientName)


def test_writing_twice_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_phantoms(tmp_path / name, count=2, seed=9)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 2 + len(ORGANS) + 3
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)


def test_a_folder_that_is_not_complete_has_no_manifest(tmp_path):
    def stop(done):
        if done == 2:
            raise KeyboardInterrupt

    (tmp_path / "manifest.csv").write_text("of a run before", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        write_phantoms(tmp_path, count=5, seed=10, progress=stop)
    assert len(list((tmp_path / "images").iterdir())) == 2
    assert not list(tmp_path.glob("manifest*"))


def test_dicom_holds_the_same_picture_and_region(some):
    for phantom in {phantom.attributes["device"]: phantom for phantom in some}.values():
        data = pydicom.dcmread(io.BytesIO(phantom_dicom(phantom)))
        assert np.array_equal(data.pixel_array, phantom.pixels)
        region = data.SequenceOfUltrasoundRegions[0]
        corner = (region.RegionLocationMaxX1 + 1, region.RegionLocationMaxY1 + 1)
        assert (region.RegionLocationMinX0, region.RegionLocationMinY0, *corner) == phantom.region
        assert data.PatientID == phantom.patient_id
        assert 0.005 < region.PhysicalDeltaX < 0.06


def test_dicom_is_the_same_each_time_and_its_instance_is_the_phantoms_own(some):
    assert phantom_dicom(some[0]) == phantom_dicom(some[0])
    uids = {pydicom.dcmread(io.BytesIO(phantom_dicom(phantom))).SOPInstanceUID for phantom in some}
    assert len(uids) == len(some)


def test_contact_sheet_has_a_cell_for_each_phantom(some):
    sheet = contact_sheet(some[:5], columns=3)
    assert isinstance(sheet, Image.Image)
    cells = np.array(sheet).reshape(2, sheet.height // 2, 3, sheet.width // 3).swapaxes(1, 2)
    assert [cell.mean() > 5 for cell in cells.reshape(6, -1)] == [True] * 5 + [False]


def test_it_is_darker_behind_bone_and_brighter_behind_fluid():
    canvas = empty_canvas()
    canvas.bone(ellipse(canvas.x, canvas.z, (-20.0, 30.0), (8.0, 2.0)))
    canvas.fluid(ellipse(canvas.x, canvas.z, (20.0, 30.0), (8.0, 12.0)))
    lines = scan(canvas, PLAIN, np.random.default_rng(1))
    deep = lines[230:330]
    behind_bone, beside, behind_fluid = (deep[:, at - 8 : at + 8].mean() for at in (56, 112, 168))
    assert behind_bone < beside - 40
    assert behind_fluid > beside + 5
    assert lines[110:140, 160:176].mean() < 60


def test_speckle_has_the_spread_of_a_rayleigh_envelope():
    """The log of a Rayleigh envelope has a standard deviation of 5.57 dB; texture and noise add a little."""
    lines = scan(empty_canvas(), replace(PLAIN, smoothing=0.01), np.random.default_rng(1))
    level = 60.0 * (lines / 255.0) ** (1 / 1.3)
    patch = level[150:250, 60:160]
    assert 5.0 < np.std(patch) < 8.0


def test_speckle_grows_wider_away_from_the_focus():
    lines = scan(empty_canvas(), PLAIN, np.random.default_rng(1))
    assert lateral_grain(lines[360:400]) > 1.3 * lateral_grain(lines[105:145])


def lateral_grain(rows):
    """How many lines speckle reaches across: from the correlation of neighbouring lines."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    neighbour = (rows[:, 1:] * rows[:, :-1]).mean() / (rows**2).mean()
    return 1.0 / np.sqrt(-np.log(neighbour))


@pytest.mark.parametrize(
    ("organ", "diagnosis"), [("trans-ventricular", "ventriculomegaly"), ("abdomen", "hydronephrosis")]
)
def test_widened_hollows_hold_more_fluid(organ, diagnosis):
    sick, normal = (painted(organ, name)[0] for name in (diagnosis, "normal"))
    assert (sick.echo < -60).sum() > 1.2 * (normal.echo < -60).sum()


def test_a_short_femur_is_short():
    lengths = []
    for diagnosis in ("short femur", "normal"):
        shaft = painted("femur", diagnosis)[0].mirror > 1.5
        lengths.append(np.flatnonzero(shaft.any(axis=0)).size)
    assert lengths[0] < 0.8 * lengths[1]


def test_thick_nuchal_skin_reaches_further_behind_the_occiput():
    sick, normal = (skin_behind(*painted("trans-cerebellar", name)) for name in ("thick nuchal fold", "normal"))
    assert sick > normal + 3.0


def skin_behind(canvas, findings):
    """How far (mm) anything reflects behind the head's centre, at its height."""
    shines = (canvas.mirror > 0.1) & (np.abs(canvas.z - 50.0) < 8.0)
    return -canvas.x[shines].min()


def test_an_omphalocele_lies_before_the_belly():
    sick, normal = (painted("abdomen", name)[0] for name in ("omphalocele", "normal"))
    before = (sick.x > 31.0) & (sick.x < 38.0) & (np.abs(sick.z - 50.0) < 6.0)
    assert (normal.mirror[before] == 0).mean() > 0.9 * (sick.mirror[before] == 0).mean()
    assert np.abs(sick.echo - normal.echo)[before].mean() > 2.0


def test_a_placenta_praevia_lies_on_the_inner_os():
    sick, found = painted("maternal cervix", "placenta praevia")
    normal, usual = painted("maternal cervix", "normal")
    beyond = ellipse(sick.x, sick.z, (-24.0, 36.0), (5.0, 5.0)) > 0
    assert sick.echo[beyond].mean() > normal.echo[beyond].mean() + 5.0
    assert "placenta over the os" in found
    assert "placenta over the os" not in usual
