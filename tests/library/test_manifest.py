"""Manifests: good rows come through, bad rows are named by line, nothing else is lost."""

from pathlib import Path

import pytest

from app.domain import Box, Taxonomy
from app.errors import BadInput
from app.library.manifest import read_manifest, read_taxonomy


def write(folder: Path, text: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("organ", ["x" * 201, '"two\nlines"', "bell\x07"])
@pytest.mark.parametrize("column", ["organ", "diagnoses", "device"])
def test_labels_that_the_http_door_refuses_are_bad_rows(tmp_path, column, organ):
    manifest = read_manifest(write(tmp_path, f"path,{column}\na.png,{organ}\nb.png,{'x' * 200}\n"))
    assert [row.path.name for row in manifest.rows] == ["b.png"]
    (bad,) = manifest.bad
    assert f"not usable: {column}" in bad.reason
    assert "200 characters" in bad.reason


def test_a_full_row(tmp_path):
    path = write(
        tmp_path,
        "path,frame,region,patient_id,external_id,organ,organ_group,plane,diagnoses,findings,device,source\n"
        'a.png,3,"1,2,30,40",P1,case-1,femur,fetal limb,axial,normal;short femur,shaft; shaft ;,E6,web\n',
    )
    manifest = read_manifest(path)
    (row,) = manifest.rows
    assert row.path == tmp_path / "a.png"
    assert (row.line, row.frame, row.region, row.patient_id) == (2, 3, Box(1, 2, 30, 40), "P1")
    assert row.external_id == "case-1"
    assert row.labels.diagnoses == ("normal", "short femur")
    assert row.labels.findings == ("shaft",)
    assert row.attributes == {"device": "E6"}
    assert manifest.dropped == ("source",)
    assert manifest.taxonomy.organs == {"femur": "fetal limb"}


def test_empty_cells_mean_not_annotated(tmp_path):
    (row,) = read_manifest(write(tmp_path, "path,organ,plane,diagnoses\na.png,,,\n")).rows
    assert (row.labels.organ, row.labels.plane, row.labels.diagnoses) == (None, None, ())


def test_an_attribute_is_kept_only_when_named(tmp_path):
    path = write(tmp_path, "path,referring physician,site\na.png,Dr Planted,north\n")
    assert read_manifest(path).rows[0].attributes == {"site": "north"}
    kept = read_manifest(path, extra_attributes=["referring physician"])
    assert kept.rows[0].attributes == {"site": "north", "referring physician": "Dr Planted"}
    assert kept.dropped == ()


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("a.png,0,,,", "frame"),
        ("a.png,x,,,", "frame"),
        ('a.png,,"1,2,3",,', "region"),
        (",,,,", "path"),
        ("a.png,,,P1,P1", "patient id"),
        ("a.png,,,,no spaces", "external id"),
        ("a.png,,,,", None),
        ("a.png,,,,,extra", "number of cells"),
        ("a.png", "number of cells"),
    ],
)
def test_a_bad_row_is_named_by_its_line_and_the_others_stay(tmp_path, cells, reason):
    text = f"path,frame,region,patient_id,external_id\nfirst.png,,,,\n{cells}\nlast.png,,,,\n"
    manifest = read_manifest(write(tmp_path, text))
    if reason is None:
        assert not manifest.bad
        return
    (bad,) = manifest.bad
    assert bad.line == 3
    assert reason in bad.reason
    assert [row.path.name for row in manifest.rows] == ["first.png", "last.png"]


def test_an_organ_with_two_groups_is_a_bad_row_unless_a_taxonomy_decides(tmp_path):
    path = write(tmp_path, "path,organ,organ_group\na.png,femur,limb\nb.png,femur,leg\n")
    manifest = read_manifest(path)
    assert [(bad.line, "two groups" in bad.reason) for bad in manifest.bad] == [(3, True)]
    given = read_manifest(path, Taxonomy(organs={"femur": "bones"}))
    assert not given.bad
    assert given.taxonomy.complete(given.rows[0].labels).organ_group == "bones"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b"organ,plane\nfemur,axial\n"])
def test_an_unusable_file_is_refused_as_a_whole(tmp_path, content):
    path = tmp_path / "manifest.csv"
    path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        read_manifest(path)
    assert caught.value.code == "bad_manifest"


def test_a_missing_manifest_is_refused(tmp_path):
    with pytest.raises(BadInput, match="cannot be read"):
        read_manifest(tmp_path / "none.csv")


def test_taxonomy(tmp_path):
    path = tmp_path / "taxonomy.toml"
    path.write_text('[organs]\nfemur = "limb"\n[diagnoses]\n"short femur" = "skeletal"\n', encoding="utf-8")
    taxonomy = read_taxonomy(path)
    assert taxonomy.organs == {"femur": "limb"}
    assert taxonomy.diagnoses == {"short femur": "skeletal"}


@pytest.mark.parametrize("text", ["[organs]\nfemur = 3\n", "[planes]\na = 'b'\n", "organs = 'x'\n", "not toml"])
def test_a_bad_taxonomy_is_refused(tmp_path, text):
    path = tmp_path / "taxonomy.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        read_taxonomy(path)
    assert caught.value.code == "bad_taxonomy"


@pytest.mark.parametrize("name", ["patient_id", "path", "organ", "organ_group", "no such column"])
def test_ids_and_labels_are_no_attributes(tmp_path, name):
    with pytest.raises(BadInput) as caught:
        read_manifest(write(tmp_path, "path,patient_id,organ\na.png,P1,femur\n"), extra_attributes=[name])
    assert caught.value.code == "bad_attribute"
