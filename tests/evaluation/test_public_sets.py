"""Tiny archives in the layouts of four public data sets, imported and read back as manifests."""

import csv
import io
import json
import subprocess
import sys
import zipfile

import openpyxl
import pytest
from PIL import Image

from app.errors import BadInput, Misconfigured
from app.evaluation import archive
from app.evaluation.public_sets import PUBLIC_SETS, import_set
from app.library.manifest import read_manifest, read_taxonomy


def png(level):
    packed = io.BytesIO()
    Image.new("L", (8, 6), level).save(packed, "PNG")
    return packed.getvalue()


FETAL_CSV = (
    "Image_name;Patient_num;Plane;Brain_plane;Operator;US_Machine;Train \n"
    "Patient00786_Plane3_1_of_2;786;Fetal brain;Trans-cerebellum;Op. 1;Voluson E6;1 \n"
    "Patient00799_Plane3_1_of_1.png;799;Fetal brain;Other;Other;Other;0\n"
    "Patient00002_Plane5_1_of_1;2;Fetal femur;Not A Brain;Op. 2;Aloka;0\n"
    "Patient00002_Plane1_1_of_1;2;Other;Not A Brain;Op. 2;Aloka;1\n"
    "Patient00009_Plane6_1_of_1;9;Fetal thorax;Not A Brain;Op. 3;Aloka;1\n"
)
FETAL = {
    "FETAL_PLANES_DB_data.csv": FETAL_CSV.encode(),
    "README.md": b"",
    "Images/Patient00786_Plane3_1_of_2.png": png(1),
    "Images/Patient00799_Plane3_1_of_1.png": png(2),
    "Images/Patient00002_Plane5_1_of_1.png": png(3),
    "Images/Patient00002_Plane1_1_of_1.png": png(4),
    "__MACOSX/Images/._Patient00002_Plane1_1_of_1.png": b"x",
}


def zipped(files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in files.items():
            target.writestr(name, data)
    return packed.getvalue()


def unpack(files, folder):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def sheet(rows, columns=("fname", "structure", "h_min", "w_min", "h_max", "w_max")):
    book = openpyxl.Workbook()
    book.active.append(columns)
    for row in rows:
        book.active.append(row)
    packed = io.BytesIO()
    book.save(packed)
    return packed.getvalue()


def take(name, source, folder, **options):
    folder.mkdir(exist_ok=True)
    done = import_set(PUBLIC_SETS[name], source, folder, **options)
    manifest = read_manifest(folder / "manifest.csv", read_taxonomy(folder / "taxonomy.toml"))
    assert not manifest.bad
    assert len(manifest.rows) == done.rows
    assert all(row.path.is_file() for row in manifest.rows)
    assert all(manifest.taxonomy.organs[row.labels.organ] for row in manifest.rows if row.labels.organ)
    return done, {row.external_id: row for row in manifest.rows}


def test_fetal_planes_from_the_zip_as_downloaded(tmp_path):
    source = tmp_path / "FETAL_PLANES_ZENODO.zip"
    source.write_bytes(zipped(FETAL))
    done, rows = take("fetal-planes-db", source, tmp_path / "out")
    assert set(rows) == {"Patient00786_Plane3_1_of_2", "Patient00799_Plane3_1_of_1", "Patient00002_Plane5_1_of_1"}
    brain = rows["Patient00786_Plane3_1_of_2"]
    assert (brain.labels.organ, brain.labels.organ_group, brain.labels.plane) == (
        "trans-cerebellar",
        "fetal head",
        "axial",
    )
    assert brain.attributes == {"device": "Voluson E6", "operator": "Op. 1"}
    assert brain.path.read_bytes() == png(1)
    twin = rows["Patient00799_Plane3_1_of_1"]
    assert (twin.labels.organ, twin.labels.organ_group, twin.attributes) == (None, "fetal head", {})
    assert brain.patient_id == twin.patient_id == "Patient00786"
    assert rows["Patient00002_Plane5_1_of_1"].labels.organ == "femur"
    assert done.left_out == {
        "without a label of ours (--unlabelled keeps them)": 1,
        "listed but not in the archive": 1,
    }
    assert any("12400" in note for note in done.notes)
    with (tmp_path / "out" / "manifest.csv").open(newline="") as file:
        assert [row["split"] for row in csv.DictReader(file)] == ["train", "test", "test"]


@pytest.mark.parametrize("separator", [";", ","])
def test_fetal_planes_from_a_folder_leaves_the_images_where_they_are(tmp_path, separator):
    files = {**FETAL, "FETAL_PLANES_DB_data.csv": FETAL_CSV.replace(";", separator).encode("utf-8-sig")}
    source = unpack(files, tmp_path / "set")
    done, rows = take("fetal-planes-db", source, tmp_path / "out", keep_unlabelled=True)
    assert done.rows == 4
    assert rows["Patient00002_Plane1_1_of_1"].labels.organ is None
    assert (
        rows["Patient00786_Plane3_1_of_2"].path.resolve()
        == (source / "Images" / "Patient00786_Plane3_1_of_2.png").resolve()
    )
    assert not (tmp_path / "out" / "images").exists()


HC18 = {
    "training_set.zip": zipped(
        {
            "training_set/000_HC.png": png(1),
            "training_set/000_HC_Annotation.png": png(2),
            "training_set/000_2HC.png": png(3),
        }
    ),
    "test_set.zip": zipped({"test_set/000_HC.png": png(4)}),
    "training_set_pixel_size_and_HC.csv": b"filename,pixel size(mm),head circumference (mm)\n000_HC.png,0.07,44.3\n",
    "test_set_pixel_size.csv": b"filename,pixel size(mm)\n000_HC.png,0.08\n",
}


def test_hc18_keeps_training_and_test_patients_apart(tmp_path):
    done, rows = take("hc18", unpack(HC18, tmp_path / "hc18"), tmp_path / "out")
    assert done.rows == 3
    assert {key: row.patient_id for key, row in rows.items()} == {
        "HC18-training-000_HC": "HC18-000",
        "HC18-training-000_2HC": "HC18-000",
        "HC18-test-000_HC": "HC18-test-000",
    }
    with (tmp_path / "out" / "manifest.csv").open(newline="") as file:
        sizes = {row["external_id"]: row["pixel_size_mm"] for row in csv.DictReader(file)}
    assert sizes["HC18-training-000_HC"] == "0.07"
    assert sizes["HC18-test-000_HC"] == "0.08"


def test_hc18_of_an_unknown_set_is_refused(tmp_path):
    source = unpack({"000_HC.png": png(1)}, tmp_path / "some")
    with pytest.raises(BadInput, match="cannot be told"):
        take("hc18", source, tmp_path / "out")


def test_busi_without_its_masks(tmp_path):
    files = {
        "Dataset_BUSI_with_GT/benign/benign (1).png": png(1),
        "Dataset_BUSI_with_GT/benign/benign (1)_mask.png": png(2),
        "Dataset_BUSI_with_GT/benign/benign (1)_mask_1.png": png(2),
        "Dataset_BUSI_with_GT/malignant/malignant (7).png": png(3),
        "Dataset_BUSI_with_GT/normal/normal (2).png": png(4),
    }
    source = tmp_path / "Dataset_BUSI_with_GT.zip"
    source.write_bytes(zipped(files))
    done, rows = take("busi", source, tmp_path / "out")
    assert {key: row.labels.diagnoses for key, row in rows.items()} == {
        "busi-benign-1": ("benign",),
        "busi-malignant-7": ("malignant",),
        "busi-normal-2": ("normal",),
    }
    assert {row.patient_id for row in rows.values()} == {None}
    assert any("near-duplicates" in note for note in done.notes)


def test_nt_takes_what_is_marked_once(tmp_path):
    standard, other = "Set1-Training&Validation Sets CNN/Standard/", "Set1-Training&Validation Sets CNN/Non-standard/"
    files = {
        "Dataset for Fetus Framework/ObjectDetection.xlsx": sheet(
            [
                ("2.png", "thalami", 1, 1, 2, 2),
                ("2.png", "IT", 1, 1, 2, 2),
                ("2.png", "NT", 1, 1, 2, 2),
                ("3.png", "nasal_bone", 1, 1, 2, 2),
                ("4.png", "CM", 1, 1, 2, 2),
                ("5.png", "CM", 1, 1, 2, 2),
                ("6.png", "palate", 1, 1, 2, 2),
                (None, None, None, None, None, None),
            ]
        ),
        f"{standard}2.png": png(2),
        f"Set2/{standard}2.png": png(2),  # the same file in two sets
        f"{standard}3.png": png(3),
        f"{other}3.png": png(33),  # another picture of the same name: the standard one is meant
        "A/4.png": png(4),
        "B/4.png": png(44),  # nobody can tell
        f"{other}9.png": png(9),  # not marked
        f"{standard}6.jpg": png(6),  # not the name that is listed
    }
    done, rows = take("nt", unpack(files, tmp_path / "nt"), tmp_path / "out")
    assert {key: row.labels.findings for key, row in rows.items()} == {
        "nt-2": ("intracranial translucency", "nuchal translucency", "thalami"),
        "nt-3": ("nasal bone",),
    }
    assert rows["nt-3"].path.read_bytes() == png(3)
    assert rows["nt-2"].labels.organ == "nuchal translucency plane"
    assert done.left_out == {
        "the same file again": 1,
        "another picture of a name that is taken": 1,
        "one name, several pictures": 2,
        "not marked in ObjectDetection.xlsx": 2,
        "listed but not in the archive": 2,
    }


@pytest.mark.parametrize(
    ("name", "files", "code"),
    [
        ("fetal-planes-db", {"Images/a.png": png(1)}, "other_layout"),
        ("fetal-planes-db", {"FETAL_PLANES_DB_data.csv": b"Image_name;Plane\na;b\n"}, "other_layout"),
        ("fetal-planes-db", {"FETAL_PLANES_DB_data.csv": b"\xff\xfe\x00"}, "other_layout"),
        ("hc18", {"readme.txt": b""}, "other_layout"),
        ("busi", {"other/a (1).png": png(1)}, "other_layout"),
        ("nt", {"ObjectDetection.xlsx": b"no excel"}, "other_layout"),
        ("nt", {"ObjectDetection.xlsx": sheet([], ("a", "b"))}, "other_layout"),
        ("hc18", {"training_set.zip": b"no zip"}, "bad_archive"),
    ],
)
def test_other_layouts_are_refused(tmp_path, name, files, code):
    with pytest.raises(BadInput) as refused:
        take(name, unpack(files, tmp_path / "set"), tmp_path / "out")
    assert refused.value.code == code
    assert not (tmp_path / "out" / "manifest.csv").exists()


def test_a_broken_zip_and_huge_members_are_refused(tmp_path, monkeypatch):
    broken = tmp_path / "x.zip"
    broken.write_bytes(zipped(FETAL)[:-30])
    with pytest.raises(BadInput, match="cannot be read") as refused:
        take("fetal-planes-db", broken, tmp_path / "out")
    assert refused.value.code == "bad_archive"
    broken.write_bytes(zipped(FETAL))
    monkeypatch.setattr(archive, "MOST_BYTES", 50)
    with pytest.raises(BadInput, match="larger"):
        take("fetal-planes-db", broken, tmp_path / "out")


def test_names_in_a_zip_never_lead_out_of_the_folder(tmp_path):
    files = {**FETAL, "../../outside.png": png(9), "/absolute.png": png(8)}
    files["FETAL_PLANES_DB_data.csv"] = (
        FETAL_CSV + "outside;3;Fetal femur;Not A Brain;;;1\n../up;4;Fetal femur;Not A Brain;;;1\n"
    ).encode()
    source = tmp_path / "deep" / "set.zip"
    source.parent.mkdir()
    source.write_bytes(zipped(files))
    _, rows = take("fetal-planes-db", source, tmp_path / "out")
    assert "outside" not in rows
    written = {path.resolve() for path in tmp_path.rglob("*.png")}
    assert all(path.is_relative_to((tmp_path / "out" / "images").resolve()) for path in written)


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "images").write_text("a file stands where the folder should be")
    source = tmp_path / "set.zip"
    source.write_bytes(zipped(FETAL))
    with pytest.raises(Misconfigured):
        take("fetal-planes-db", source, tmp_path / "out")


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "app", "datasets", "import", *arguments],
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "160"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_command_says_what_comes_next(tmp_path):
    source = unpack(HC18, tmp_path / "hc18")
    result = run("hc18", str(source), str(tmp_path / "out"))
    assert result.returncode == 0, result.stderr
    assert "3 images in" in result.stdout
    assert "sonoseek enrol NAME" in result.stdout
    assert json.loads(run("hc18", str(source), str(tmp_path / "out"), "--json").stdout)["rows"] == 3
    assert run("imagenet", str(source), str(tmp_path / "out")).returncode == 2
    assert run("busi", str(source), str(tmp_path / "out")).returncode == 3
