"""Importing manifests through the whole service."""

import csv
import shutil

import numpy as np
import pytest
from PIL import Image

from app.config import Settings
from app.domain import Labels
from app.encoders.weights import shipped_models
from app.errors import Misconfigured
from app.images.phantom import draw_phantoms, phantom_dicom
from app.library.manifest import read_manifest, read_taxonomy
from app.wiring import running_service


def manifest_of(folder, rows, columns=("path", "patient_id", "external_id", "organ", "diagnoses")):
    path = folder / "manifest.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


@pytest.fixture
def folder(tmp_path):
    """Three synthetic pictures, one of them also as DICOM."""
    for number, phantom in enumerate(draw_phantoms(count=3, seed=8)):
        Image.fromarray(phantom.pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "0.dcm").write_bytes(phantom_dicom(next(iter(draw_phantoms(count=1, seed=8)))))
    return tmp_path


def run(service, path, **options):
    return service.importer.run("demo", read_manifest(path), **options)


def test_a_manifest_is_imported_and_again_changes_nothing(service, phantoms):
    manifest = read_manifest(phantoms / "manifest.csv", read_taxonomy(phantoms / "taxonomy.toml"))
    first = service.importer.run("demo", manifest)
    version = service.catalogue.library("demo").version
    assert (first.added, first.bad) == (len(manifest.rows), [])
    again = service.importer.run("demo", manifest)
    assert (again.added, again.unchanged, again.bad) == (0, len(manifest.rows), [])
    assert again.ids == first.ids
    assert service.catalogue.library("demo").version == version
    found = service.catalogue.get(first.ids[2])
    assert found.labels.organ_group == manifest.taxonomy.organs[found.labels.organ]


def test_an_interrupted_import_goes_on(service, phantoms):
    manifest = read_manifest(phantoms / "manifest.csv")

    class Stop(Exception):
        pass

    def stop(_done):
        raise Stop

    with pytest.raises(Stop):
        service.importer.run("demo", manifest, progress=stop)
    before = service.catalogue.library("demo").size
    assert 0 < before < len(manifest.rows)
    report = service.importer.run("demo", manifest)
    assert (report.unchanged, report.added) == (before, len(manifest.rows) - before)


def test_bad_rows_are_reported_and_the_rest_is_enrolled(service, folder):
    (folder / "text.png").write_text("no picture", encoding="utf-8")
    path = manifest_of(
        folder,
        [
            ("0.png", "P1", "case-1", "femur", ""),
            ("missing.png", "", "", "", ""),
            ("text.png", "", "", "", ""),
            ("1.png", "P1", "case-1", "femur", ""),
            ("2.png", "P2", "P2", "femur", ""),
            ("2.png", "P2", "case-3", "femur", "normal"),
        ],
    )
    report = run(service, path)
    assert report.added == 2
    assert [bad.line for bad in report.bad] == [3, 4, 5, 6]
    assert set(report.ids) == {2, 7}


def test_the_same_image_twice_is_one_reference(service, folder):
    path = manifest_of(folder, [("0.png", "", "", "femur", ""), ("0.png", "", "", "femur", "")])
    report = run(service, path)
    assert (report.added, report.unchanged) == (1, 1)
    assert report.ids[2] == report.ids[3]


def test_other_labels_are_a_conflict_that_the_caller_decides(service, folder):
    run(service, manifest_of(folder, [("0.png", "", "", "femur", "")]))
    other = manifest_of(folder, [("0.png", "", "", "spine", "")])
    report = run(service, other)
    assert [bad.line for bad in report.bad] == [2]
    assert "another set of labels" in report.bad[0].reason
    assert run(service, other, on_conflict="skip").skipped == 1
    key = run(service, other, on_conflict="update").ids[2]
    assert service.catalogue.get(key).labels == Labels(organ="spine")
    assert len(service.catalogue.history(key)) == 2


def test_an_external_id_that_repeats_an_id_of_the_header_is_refused(service, folder):
    import pydicom

    patient = str(pydicom.dcmread(folder / "0.dcm").PatientID)
    report = run(service, manifest_of(folder, [("0.dcm", "", patient, "femur", "")]))
    assert report.added == 0
    assert "repeats an id" in report.bad[0].reason
    assert patient not in report.bad[0].reason


def test_a_dicom_instance_is_itself_however_it_was_transcoded(service, folder):
    import pydicom
    from pydicom.uid import RLELossless

    run(service, manifest_of(folder, [("0.dcm", "", "", "femur", "")]))
    dataset = pydicom.dcmread(folder / "0.dcm")
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(folder / "again.dcm")
    assert (folder / "again.dcm").read_bytes() != (folder / "0.dcm").read_bytes()
    report = run(service, manifest_of(folder, [("again.dcm", "", "", "femur", "")]))
    assert (report.added, report.unchanged) == (0, 1)


def test_a_region_in_the_manifest_is_used(service, folder):
    path = manifest_of(folder, [("0.png", "100,80,300,260")], columns=("path", "region"))
    report = run(service, path)
    found = service.catalogue.get(report.ids[2])
    assert (found.facts.region, found.facts.region_source) == ((100, 80, 300, 260), "given")
    with Image.open(service.catalogue.files.path(found.id)) as stored:
        assert stored.size == (200, 180)


def test_a_picture_without_a_scan_region_is_enrolled_only_when_asked(service, folder):
    rng = np.random.default_rng(0)
    page = np.full((400, 600), 250, dtype=np.uint8)
    page[50:60, 50 : 50 + 200] = rng.integers(0, 255, (10, 200))
    Image.fromarray(page).save(folder / "page.png")
    path = manifest_of(folder, [("page.png", "", "", "", "")])
    report = run(service, path)
    assert "burned-in text" in report.bad[0].reason
    assert run(service, path, allow_unmasked=True).added == 1


def test_what_a_second_run_says_of_patient_name_and_region_is_a_conflict_or_an_update(service, folder):
    columns = ("path", "patient_id", "external_id", "region")
    run(service, manifest_of(folder, [("0.png", "", "", "")], columns))
    richer = manifest_of(folder, [("0.png", "P1", "case-1", "100,80,300,260")], columns)
    (bad,) = run(service, richer).bad
    assert "another patient and external id and region" in bad.reason
    version = service.catalogue.library("demo").version
    report = run(service, richer, on_conflict="update")
    assert (report.updated, report.bad) == (1, [])
    assert service.catalogue.library("demo").version == version + 1  # frame and labels change together
    found = service.catalogue.get(report.ids[2])
    assert found.facts.patient_key is not None
    assert (found.external_id, found.facts.region) == ("case-1", (100, 80, 300, 260))
    with Image.open(service.catalogue.files.path(found.id)) as stored:
        assert stored.size == (200, 180)
    assert run(service, richer).unchanged == 1
    # empty cells say nothing: they take nothing away
    assert run(service, manifest_of(folder, [("0.png", "", "", "")], columns)).unchanged == 1


def test_references_of_other_crop_rules_are_cropped_again_by_an_update(service, folder):
    from sqlalchemy import update as sql_update

    from app.images.reader import FRAME_DIGEST
    from app.library.tables import ReferenceRow

    path = manifest_of(folder, [("0.png", "", "", "femur", "")])
    key = run(service, path).ids[2]
    with service.catalogue._engine.begin() as connection:
        connection.execute(sql_update(ReferenceRow).values(frame_digest="sha256:older"))
    assert run(service, path).unchanged == 1
    assert run(service, path, on_conflict="update").updated == 1
    assert service.catalogue.get(key).frame_digest == FRAME_DIGEST
    assert len(service.catalogue.history(key)) == 1


def test_a_lost_frame_comes_back_when_its_image_is_enrolled_again(service, folder):
    path = manifest_of(folder, [("0.png", "", "", "femur", "")])
    key = run(service, path).ids[2]
    frame = service.catalogue.frame(key)
    service.catalogue.files.path(key).unlink()
    with pytest.raises(Misconfigured) as caught:
        service.catalogue.frame(key)
    assert "enrol the image again" in caught.value.hint
    assert run(service, path).updated == 1
    assert service.catalogue.frame(key) == frame
    assert run(service, path).unchanged == 1


def test_the_same_image_twice_with_other_labels_is_settled_like_any_other(service, folder):
    path = manifest_of(folder, [("0.png", "", "", "femur", ""), ("0.png", "", "", "spine", "")])
    report = run(service, path, on_conflict="update")
    assert (report.added, report.updated) == (1, 1)
    assert service.catalogue.get(report.ids[2]).labels.organ == "spine"


def test_a_manifest_of_bad_rows_leaves_no_library(service, folder):
    report = run(service, manifest_of(folder, [("missing.png", "", "", "", "")]))
    assert len(report.bad) == 1
    assert service.catalogue.names() == []


@pytest.mark.parametrize("names", [("resnet-us", "twin"), ("resnet-us", "resnet-us")])
def test_two_encoders_of_one_digest_are_refused_before_any_import_fails(tmp_path, names):
    twin = tmp_path / "models" / "twin"
    shutil.copytree(shipped_models() / "resnet-us", twin)
    text = (twin / "manifest.toml").read_text(encoding="utf-8")
    (twin / "manifest.toml").write_text(text.replace('name = "resnet-us"', 'name = "twin"', 1), encoding="utf-8")
    settings = Settings(data=tmp_path / "data", models=tmp_path / "models", encoders={"names": names})
    with pytest.raises(Misconfigured) as caught, running_service(settings):
        pass
    assert caught.value.code == "same_encoder_twice"
    assert " and ".join(names) in caught.value.hint
