"""The catalogue on a real SQLite file."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from app.domain import Box, ImageFacts, Labels, RegionSource, Taxonomy
from app.errors import BadInput, Conflict, Misconfigured, NotFound
from app.library.catalogue import Catalogue
from app.library.database import HEAD, open_database
from app.library.files import FrameFiles
from app.library.reference import NewReference, NewVector, identity_of, reference_id

DIGEST = "sha256:" + "0" * 64


def open_catalogue(folder: Path) -> Catalogue:
    return Catalogue(open_database(f"sqlite:///{folder}/library.db"), FrameFiles(folder / "frames"))


@pytest.fixture
def catalogue(tmp_path):
    return open_catalogue(tmp_path)


def new(number: int, **changes) -> NewReference:
    vector = np.zeros(4, dtype=np.float32)
    vector[number % 4] = 1
    item = NewReference(
        facts=ImageFacts(sha256=f"{number:064x}", format="png", width=40, height=30),
        frame_digest=DIGEST,
        labels=Labels(organ="femur", organ_group="limb", diagnoses=("normal",)),
        attributes={"device": "E6"},
        external_id=None,
        patient_key=f"patient-{number % 2}",
        png=b"png" + bytes([number]),
        canvas=np.full((256, 256), number, dtype=np.uint8),
        histogram=np.arange(256),
        fingerprint="0" * 16,
        vectors=(NewVector("resnet-us", DIGEST, vector),),
    )
    return replace(item, **changes)


def test_what_is_added_comes_back(catalogue):
    catalogue.put_library("fetal")
    (key,) = catalogue.add("fetal", [new(7, external_id="case-7")])
    found = catalogue.get(key)
    assert found.labels == Labels(organ="femur", organ_group="limb", diagnoses=("normal",))
    assert (found.external_id, found.library, found.attributes) == ("case-7", "fetal", {"device": "E6"})
    canvas, histogram = catalogue.canvases([key])[key]
    assert canvas[9, 9] == 7
    assert histogram.tolist() == list(range(256))
    assert catalogue.files.read(key) == b"png\x07"
    assert catalogue.vector(key, DIGEST).tolist() == [0, 0, 0, 1]
    assert [change.labels for change in catalogue.history(key)] == [found.labels]


def test_an_id_follows_from_the_content():
    facts = new(1).facts
    assert reference_id("a", identity_of(facts)) == reference_id("a", identity_of(replace(facts, format="bmp")))
    assert reference_id("a", identity_of(facts)) != reference_id("b", identity_of(facts))
    assert identity_of(replace(facts, frame=1)) == identity_of(facts)
    assert identity_of(replace(facts, frame=2)) != identity_of(facts)
    # a DICOM instance is itself, however its bytes were transcoded
    dicom = replace(facts, instance_key="k")
    assert identity_of(dicom) == identity_of(replace(dicom, sha256="f" * 64))


def test_every_change_bumps_the_version(catalogue):
    catalogue.put_library("fetal")
    versions = [catalogue.version("fetal")]
    (key,) = catalogue.add("fetal", [new(1)])
    versions.append(catalogue.version("fetal"))
    catalogue.update(key, Labels(organ="spine"), {})
    versions.append(catalogue.version("fetal"))
    catalogue.add_vectors("fetal", "other", "sha256:other", [key], np.ones((1, 4), np.float32))
    versions.append(catalogue.version("fetal"))
    assert versions == [0, 1, 2, 3]


def test_relabelling_keeps_history(catalogue):
    catalogue.put_library("fetal")
    (key,) = catalogue.add("fetal", [new(1)])
    catalogue.update(key, Labels(organ="spine"), {"site": "north"}, actor="key-1")
    assert catalogue.get(key).labels == Labels(organ="spine")
    assert catalogue.get(key).attributes == {"site": "north"}
    assert [(change.actor, change.labels.organ) for change in catalogue.history(key)] == [
        ("local", "femur"),
        ("key-1", "spine"),
    ]


def test_vectors_of_several_encoders_are_kept_apart(catalogue):
    other = "sha256:" + "1" * 64
    for library in ("fetal", "early"):
        catalogue.put_library(library)
    both = (NewVector("resnet-us", DIGEST, np.full(4, 0.5, np.float32)), NewVector("other", other, np.ones(6)))
    (first, second) = catalogue.add("fetal", [new(1, vectors=both), new(2)])
    catalogue.add("early", [new(3)])
    assert catalogue.vector(first, DIGEST).tolist() == [0.5] * 4
    assert {key: vector.tolist() for key, vector in catalogue.vectors([first, second, "gone"], other).items()} == {
        first: [1.0] * 6
    }
    assert catalogue.vectors([], other) == {}
    assert catalogue.has_vectors("fetal", other)
    assert not catalogue.has_vectors("early", other)
    assert not catalogue.has_vectors("fetal", "sha256:none")
    catalogue.recrop(second, replace(new(2), vectors=both, frame_digest="sha256:newer"))
    assert set(catalogue.vectors([first, second], other)) == {first, second}
    assert catalogue.vector(second, DIGEST).tolist() == [0.5] * 4


def test_a_shelf_is_in_order_of_ids_and_counts_missing_vectors(catalogue):
    catalogue.put_library("fetal")
    catalogue.add("fetal", [new(n) for n in range(5)])
    catalogue.add("fetal", [new(9, vectors=(NewVector("resnet-us", "sha256:other", np.ones(4, np.float32)),))])
    shelf = catalogue.shelf("fetal", DIGEST)
    assert shelf.ids == sorted(shelf.ids)
    assert shelf.vectors.shape == (5, 4)
    assert (shelf.info.size, shelf.missing) == (6, 1)
    assert catalogue.encoders("fetal") == {DIGEST: ("resnet-us", 5), "sha256:other": ("resnet-us", 1)}
    (missing,) = catalogue.without_vector("fetal", DIGEST)
    catalogue.add_vectors("fetal", "resnet-us", DIGEST, [missing], np.ones((1, 4), np.float32))
    assert catalogue.shelf("fetal", DIGEST).missing == 0


def test_an_external_id_is_unique_in_its_library(catalogue):
    catalogue.put_library("fetal")
    catalogue.put_library("early")
    catalogue.add("fetal", [new(1, external_id="case-1")])
    catalogue.add("early", [new(1, external_id="case-1")])
    with pytest.raises(Conflict) as caught:
        catalogue.add("fetal", [new(2, external_id="case-1")])
    assert caught.value.code == "external_id_taken"
    assert catalogue.library("fetal").size == 1


def test_the_same_image_is_not_added_twice(catalogue):
    catalogue.put_library("fetal")
    catalogue.add("fetal", [new(1)])
    with pytest.raises(Conflict) as caught:
        catalogue.add("fetal", [new(2), new(1)])
    assert caught.value.code == "already_enrolled"
    assert catalogue.library("fetal").size == 1  # all or nothing


def test_another_taxonomy_regroups_what_is_there(catalogue):
    catalogue.put_library("fetal", Taxonomy(organs={"femur": "limb"}))
    (key,) = catalogue.add("fetal", [new(1)])
    catalogue.put_library("fetal", Taxonomy(organs={"femur": "bones"}, diagnoses={"normal": "healthy"}))
    assert catalogue.get(key).labels.organ_group == "bones"
    assert catalogue.get(key).labels.diagnosis_groups == ("healthy",)


def test_unknown_names_list_the_known(catalogue):
    catalogue.put_library("fetal")
    for ask in (catalogue.library, catalogue.version, catalogue.encoders, catalogue.taxonomy):
        with pytest.raises(NotFound) as caught:
            ask("fetall")
        assert "fetal" in caught.value.hint
    with pytest.raises(NotFound):
        catalogue.get("no-such-id")


def test_pragmas_are_set_by_us_and_not_by_how_sqlite_was_compiled(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path}/library.db")
    with engine.connect() as connection:
        values = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("secure_delete", "foreign_keys", "journal_mode", "busy_timeout")
        }
    assert values == {"secure_delete": 1, "foreign_keys": 1, "journal_mode": "wal", "busy_timeout": 15000}


def test_reads_of_one_transaction_see_one_version(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path}/library.db")
    catalogue = Catalogue(engine, FrameFiles(tmp_path / "frames"))
    catalogue.put_library("fetal")
    with engine.connect() as reader:
        before = reader.exec_driver_sql("SELECT version FROM libraries").scalar()
        catalogue.add("fetal", [new(1)])
        assert reader.exec_driver_sql("SELECT version FROM libraries").scalar() == before


def test_the_head_in_the_code_is_that_of_the_migrations():
    config = Config()
    config.set_main_option("script_location", "app/library/migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_the_migrations_make_the_tables_of_the_code(tmp_path):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from app.library.tables import Table

    with open_database(f"sqlite:///{tmp_path}/library.db").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []


def test_a_damaged_database_says_so(tmp_path):
    (tmp_path / "library.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(Misconfigured) as caught:
        open_database(f"sqlite:///{tmp_path}/library.db")
    assert caught.value.code == "database_unusable"


def test_old_orphans_are_swept_and_young_ones_stay(catalogue, tmp_path):
    catalogue.put_library("fetal")
    (key,) = catalogue.add("fetal", [new(1)])
    old, young = "aa-old", "bb-young"
    for name in (old, young):
        catalogue.files.write(name, b"png")
    os.utime(catalogue.files.path(old), (0, 0))
    os.utime(catalogue.files.path(key), (0, 0))
    assert catalogue.files.sweep(catalogue.all_ids()) == 1
    assert not catalogue.files.path(old).exists()
    assert catalogue.files.path(young).exists()
    assert catalogue.files.path(key).exists()


def test_a_refused_batch_leaves_neither_rows_nor_files_and_harms_no_other(catalogue, tmp_path):
    catalogue.put_library("fetal")
    (key,) = catalogue.add("fetal", [new(1)])
    with pytest.raises(Conflict):
        catalogue.add("fetal", [new(2, external_id="x"), new(3, external_id="x")])
    with pytest.raises(Conflict):
        catalogue.add("fetal", [new(1, png=b"another crop"), new(4)])
    assert catalogue.files.read(key) == b"png\x01"
    assert [path.stem for path in (tmp_path / "frames").rglob("*.png")] == [key]
    assert catalogue.library("fetal").size == 1


def test_a_process_that_is_killed_between_file_and_row_leaves_no_half_reference(tmp_path):
    """The file without a row is an orphan that the next start sweeps; a row without a file would be a loss."""
    script = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_catalogue import new, open_catalogue
from pathlib import Path
catalogue = open_catalogue(Path({str(tmp_path)!r}))
catalogue.put_library("fetal")
write = catalogue.files.write
def write_and_die(key, png):
    write(key, png)
    os.kill(os.getpid(), 9)
catalogue.files.write = write_and_die
catalogue.add("fetal", [new(1)])
"""
    killed = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert killed.returncode == -9, killed.stderr
    catalogue = open_catalogue(tmp_path)
    assert catalogue.library("fetal").size == 0
    (orphan,) = (tmp_path / "frames").rglob("*.png")
    os.utime(orphan, (0, 0))
    assert catalogue.files.sweep(catalogue.all_ids()) == 1
    assert catalogue.add("fetal", [new(1)])


def test_another_crop_replaces_frame_canvas_and_all_vectors(catalogue):
    catalogue.put_library("fetal")
    (key,) = catalogue.add("fetal", [new(1)])
    catalogue.add_vectors("fetal", "other", "sha256:other", [key], np.ones((1, 4), np.float32))
    facts = replace(new(1).facts, region=Box(1, 2, 30, 29), region_source=RegionSource.GIVEN)
    catalogue.recrop(key, replace(new(2), facts=facts, frame_digest="sha256:newer"))
    found = catalogue.get(key)
    assert (found.facts.region, found.facts.region_source, found.frame_digest) == (
        Box(1, 2, 30, 29),
        "given",
        "sha256:newer",
    )
    assert catalogue.files.read(key) == b"png\x02"
    assert catalogue.canvases([key])[key][0][0, 0] == 2
    assert catalogue.encoders("fetal") == {DIGEST: ("resnet-us", 1)}
    assert catalogue.vector(key, DIGEST).tolist() == [0, 0, 1, 0]


def test_two_processes_that_embed_the_same_do_not_quarrel(catalogue):
    catalogue.put_library("fetal")
    keys = catalogue.add("fetal", [new(1), new(2)])
    catalogue.add_vectors("fetal", "other", "sha256:other", keys[:1], np.ones((1, 4), np.float32))
    catalogue.add_vectors("fetal", "other", "sha256:other", keys, np.ones((2, 4), np.float32))
    assert catalogue.encoders("fetal")["sha256:other"] == ("other", 2)


@pytest.mark.parametrize("name", ["", "a/b", "[/x]", "-x", "..", "a b", "x" * 65, "é"])
def test_names_that_could_not_stand_in_an_address_are_refused(catalogue, name):
    with pytest.raises(BadInput) as caught:
        catalogue.put_library(name)
    assert caught.value.code == "bad_library_name"


def test_moments_carry_their_zone(catalogue):
    catalogue.put_library("fetal")
    (key,) = catalogue.add("fetal", [new(1)])
    assert catalogue.get(key).enrolled_at.utcoffset().total_seconds() == 0
    assert catalogue.history(key)[0].at.utcoffset().total_seconds() == 0


@pytest.mark.parametrize("url", ["nonsense", "sqlite://", "nodialect://x/y"])
def test_an_unusable_address_says_so(url):
    with pytest.raises(Misconfigured) as caught:
        open_database(url)
    assert caught.value.code == "database_unusable"


def test_a_database_of_a_newer_version_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path}/library.db"
    with open_database(url).begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Misconfigured) as caught:
        open_database(url)
    assert "newer version" in caught.value.hint
