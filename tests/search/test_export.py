"""A library goes out as files and comes back as it was: ids, labels, keys and vectors."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from harness import other_weights
from PIL import Image

from app.config import SecuritySettings, Settings
from app.domain import Labels, Taxonomy
from app.errors import BadInput, Conflict, NotFound
from app.images.deidentify import Keyer
from app.images.phantom import draw_phantoms, phantom_dicom
from app.library.manifest import read_manifest
from app.search.export_reader import is_export, read_export
from app.search.export_row import cells_of, row_of
from app.search.exporter import Exporter
from app.wiring import running_service

SECRET = "a" * 64


def settings(folder, name, secret=SECRET, **more):
    file = folder / f"{name}.secret"
    file.write_text(secret, encoding="ascii")
    return Settings(data=folder / name, security=SecuritySettings(hmac_key_file=file), **more)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A library of four pictures, one of them DICOM, with labels that are hard to write down."""
    folder = tmp_path_factory.mktemp("source")
    rows = []
    for number, phantom in enumerate(draw_phantoms(count=4, seed=31)):
        path = folder / (f"{number}.dcm" if number == 0 else f"{number}.png")
        if number == 0:
            path.write_bytes(phantom_dicom(phantom))
        else:
            Image.fromarray(phantom.pixels).save(path)
        patient = "" if number in (0, 3) else "P-1"
        rows.append((path.name, patient, f"case-{number}", "femur", "short;bent" if number == 1 else "", "D", "n"))
    rows[3] = (*rows[3][:3], "", "", "", "")
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "patient_id", "external_id", "organ", "diagnoses", "device", "note"))
        writer.writerows(rows)
    with running_service(settings(folder, "data")) as service:
        taxonomy = Taxonomy({"femur": 'limb, "long"'}, {"short": "size; small", "bent": "shape\\form"})
        manifest = replace(read_manifest(folder / "manifest.csv", extra_attributes=("note",)), taxonomy=taxonomy)
        report = service.importer.run("demo", manifest)
        assert (report.added, report.bad) == (4, [])
        Exporter(service.catalogue, service.importer._keyer).run("demo", folder / "plain")
        Exporter(service.catalogue, service.importer._keyer).run("demo", folder / "full", vectors=True)
        yield folder, contents(service)


def contents(service, library="demo"):
    """Everything that must come back equal."""
    found = service.catalogue.listing.page(library)
    digest = service.batcher.default.digest
    return {
        reference.id: (
            reference.external_id,
            reference.labels,
            dict(reference.attributes),
            replace(reference.facts, frames=1),
            reference.frame_digest,
            service.catalogue.embeddings.one(reference.id, digest).tobytes(),
            service.catalogue.files.read(reference.id),
        )
        for reference in found
    }


@pytest.mark.parametrize("kind", ["plain", "full"])
def test_it_comes_back_equal_into_another_directory_of_the_same_secret(source, tmp_path, kind):
    folder, expected = source
    with running_service(settings(tmp_path, "other")) as service:
        export = service.importer.open_export(folder / kind)
        report = service.importer.run_export("demo", export)
        assert (report.added, report.bad) == (4, [])
        assert contents(service) == expected
        assert service.catalogue.taxonomy("demo").diagnoses["short"] == "size; small"
        version = service.catalogue.library("demo").version
        again = service.importer.run_export("demo", export, on_conflict="update")
        assert (again.unchanged, again.added, again.updated) == (4, 0, 0)
        assert service.catalogue.library("demo").version == version


def test_vectors_that_come_along_are_taken_and_not_computed(source, tmp_path):
    """Of an encoder that is not loaded here: nobody could compute them."""
    folder, expected = source
    models = tmp_path / "models"
    other_weights(models)
    with running_service(settings(tmp_path, "other", models=models)) as service:
        report = service.importer.run_export("demo", service.importer.open_export(folder / "full"))
        assert report.bad == []
        counts = service.catalogue.embeddings.counts("demo")
        assert sorted(count for _, count in counts.values()) == [4, 4]
        foreign = next(digest for digest in counts if digest != service.batcher.default.digest)
        for key, values in expected.items():
            assert service.catalogue.embeddings.one(key, foreign).tobytes() == values[5]


def test_with_another_secret_patients_start_anew_only_when_asked(source, tmp_path):
    folder, expected = source
    with running_service(settings(tmp_path, "other", secret="b" * 64)) as service:
        with pytest.raises(Conflict) as caught:
            service.importer.open_export(folder / "full")
        assert (caught.value.code, "--new-patients" in caught.value.hint) == ("other_secret", True)
        assert service.catalogue.names() == []
        export = service.importer.open_export(folder / "full", new_patients=True)
        report = service.importer.run_export("demo", export)
        assert (report.added, report.bad) == (4, [])
        old = {values[0]: values for values in expected.values()}
        new = {values[0]: values for values in contents(service).values()}
        assert new.keys() == old.keys()
        foreign = {values[3].patient_key for values in old.values()} | {
            values[3].instance_key for values in old.values()
        }
        for name, values in new.items():
            assert values[1:3] == old[name][1:3]
            assert values[5:] == old[name][5:]
            assert values[3].patient_key not in foreign - {None}
        # the two pictures of one patient still are of one patient, and that is not the one whom his id names here
        assert new["case-1"][3].patient_key == new["case-2"][3].patient_key
        assert new["case-1"][3].patient_key != service.enroller.patient_key("P-1")
        assert new["case-3"][3].patient_key is None


def test_into_a_library_that_has_it_under_other_labels_the_caller_decides(source, tmp_path):
    folder, _ = source
    with running_service(settings(tmp_path, "other")) as service:
        importer = service.importer
        export = importer.open_export(folder / "plain")
        key = next(iter(importer.run_export("demo", export).ids.values()))
        service.catalogue.update(key, Labels(organ="spine"), {})
        (bad,) = importer.run_export("demo", export).bad
        assert "labels" in bad.reason
        assert importer.run_export("demo", export, on_conflict="update").updated == 1


@pytest.fixture
def copy(source, tmp_path):
    shutil.copytree(source[0] / "full", tmp_path / "copy")
    return tmp_path / "copy"


def test_a_frame_that_was_changed_is_a_bad_row(copy, tmp_path):
    frames = sorted((copy / "frames").iterdir())
    Image.new("L", (64, 64), 9).save(frames[0])
    frames[1].unlink()
    with running_service(settings(tmp_path, "other")) as service:
        report = service.importer.run_export("demo", service.importer.open_export(copy))
    assert (report.added, len(report.bad)) == (2, 2)
    assert all("frame" in bad.reason for bad in report.bad)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "vectors.npz").write_bytes(b"no archive"),
        lambda folder: np.savez(folder / "vectors.npz", ids_0=np.array(["x"]), vectors_0=np.ones((1, 4), np.float32)),
        lambda folder: np.savez(folder / "vectors.npz", ids_0=np.array(["x"]), vectors_0=np.full((1, 4), np.nan, "f4")),
        lambda folder: (folder / "export.json").write_text("{}"),
        lambda folder: (folder / "export.json").write_text("["),
        lambda folder: (folder / "manifest.csv").write_text("path,organ\n"),
    ],
)
def test_a_spoilt_export_is_refused_as_a_whole(copy, spoil):
    spoil(copy)
    with pytest.raises(BadInput) as caught:
        read_export(copy, Keyer(SECRET.encode()))
    assert caught.value.code == "bad_export"


def test_a_spoilt_line_is_a_bad_row(copy):
    path = copy / "manifest.csv"
    with path.open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    spoilt = {"frame_digest": "x", "width": "-3", "region_source": "guess", "attributes": "[]", "patient_key": "P-1"}
    lines = [{**records[1], name: value} for name, value in spoilt.items()]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, records[0])
        writer.writeheader()
        writer.writerows([records[0], *lines])
    export = read_export(copy, Keyer(SECRET.encode()))
    assert len(export.rows) == 1
    assert [name in bad.reason for name, bad in zip(spoilt, export.bad, strict=True)] == [True] * 5
    assert not any("P-1" in bad.reason for bad in export.bad)


def test_a_line_holds_any_label(source):
    with running_service(settings(source[0], "data")) as service:
        reference = service.catalogue.listing.page("demo", limit=1)[0]
    strange = ("a;b", "\\", ";", "\\;", "line\nbreak", ' "quoted", ', "ü")
    labels = Labels(organ=" o;\\", diagnoses=strange, findings=("one",), diagnosis_groups=strange[::-1])
    attributes = {"device": "x;y", "a name": '{"json"}'}
    changed = replace(reference, labels=labels, attributes=attributes)
    row = row_of(2, cells_of(changed, "p", "0" * 64))
    assert (row.labels, row.attributes, row.facts) == (labels, attributes, reference.facts)


def test_an_export_holds_no_identity_and_only_its_owner_reads_it(source):
    folder, _ = source
    text = (folder / "full" / "manifest.csv").read_text(encoding="utf-8")
    assert "P-1" not in text
    assert (folder / "full").stat().st_mode & 0o077 == 0
    about = json.loads((folder / "full" / "export.json").read_text(encoding="utf-8"))
    assert about["secret_check"] == Keyer(SECRET.encode()).check_value()
    assert is_export(folder / "full")
    assert is_export(folder / "full" / "manifest.csv")
    assert not is_export(folder / "manifest.csv")


def test_a_folder_with_files_and_an_unknown_library_are_refused(source, tmp_path):
    folder, _ = source
    with running_service(settings(folder, "data")) as service:
        exporter = Exporter(service.catalogue, service.importer._keyer)
        with pytest.raises(BadInput) as caught:
            exporter.run("demo", folder / "full")
        assert caught.value.code == "folder_not_empty"
        with pytest.raises(NotFound):
            exporter.run("heart", tmp_path / "new")
        assert not (tmp_path / "new").exists()
