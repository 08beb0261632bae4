"""What every store does alike, on SQLite and on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from stores import DIGEST, OTHER, new, opened_store

from app.domain import Box, Labels, RegionSource, Taxonomy
from app.errors import BadInput, Conflict, Misconfigured, NotFound
from app.library.reference import NewVector
from app.library.tables import Table


def test_what_is_added_comes_back(catalogue):
    catalogue.put_library("fetal")
    (key,) = catalogue.add("fetal", [new(7, external_id="case-7")])
    found = catalogue.get(key)
    assert found.labels == Labels(organ="femur", organ_group="limb", diagnoses=("normal",))
    assert (found.external_id, found.library, found.attributes) == ("case-7", "fetal", {"device": "E6"})
    canvas, histogram, _ = catalogue.canvases([key])[key]
    assert canvas[9, 9] == 7
    assert histogram.tolist() == list(range(256))
    assert catalogue.files.read(key) == b"png\x07"
    assert catalogue.embeddings.one(key, DIGEST).tolist() == [0, 0, 0, 1]
    assert [change.labels for change in catalogue.history(key)] == [found.labels]


def test_every_change_bumps_the_version(catalogue):
    catalogue.put_library("fetal")
    versions = [catalogue.library("fetal").version]
    (key,) = catalogue.add("fetal", [new(1)])
    versions.append(catalogue.library("fetal").version)
    catalogue.update(key, Labels(organ="spine"), {})
    versions.append(catalogue.library("fetal").version)
    catalogue.embeddings.add("fetal", "other", "sha256:other", [key], np.ones((1, 4), np.float32))
    versions.append(catalogue.library("fetal").version)
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
    other = OTHER
    for library in ("fetal", "early"):
        catalogue.put_library(library)
    both = (NewVector("resnet-us", DIGEST, np.full(4, 0.5, np.float32)), NewVector("other", other, np.ones(6)))
    (first, second) = catalogue.add("fetal", [new(1, vectors=both), new(2)])
    catalogue.add("early", [new(3)])
    assert catalogue.embeddings.one(first, DIGEST).tolist() == [0.5] * 4
    assert {
        key: vector.tolist() for key, vector in catalogue.embeddings.many([first, second, "gone"], other).items()
    } == {first: [1.0] * 6}
    assert catalogue.embeddings.many([], other) == {}
    assert catalogue.embeddings.any("fetal", other)
    assert not catalogue.embeddings.any("early", other)
    assert not catalogue.embeddings.any("fetal", "sha256:none")
    catalogue.recrop(second, replace(new(2), vectors=both, frame_digest="sha256:newer"))
    assert set(catalogue.embeddings.many([first, second], other)) == {first, second}
    assert catalogue.embeddings.one(second, DIGEST).tolist() == [0.5] * 4


def test_a_shelf_is_in_order_of_ids_and_counts_missing_vectors(catalogue):
    catalogue.put_library("fetal")
    catalogue.add("fetal", [new(n) for n in range(5)])
    catalogue.add("fetal", [new(9, vectors=(NewVector("resnet-us", "sha256:other", np.ones(4, np.float32)),))])
    info, shelf = catalogue.embeddings.shelf("fetal", DIGEST)
    assert shelf.ids == sorted(shelf.ids)
    assert shelf.vectors.shape == (5, 4)
    assert (info.size, len(shelf)) == (6, 5)
    assert [vector.tolist() for vector in shelf.vectors] == [
        catalogue.embeddings.one(key, DIGEST).tolist() for key in shelf.ids
    ]
    assert catalogue.embeddings.counts("fetal") == {DIGEST: ("resnet-us", 5), "sha256:other": ("resnet-us", 1)}
    (missing,) = catalogue.embeddings.missing("fetal", DIGEST)
    catalogue.embeddings.add("fetal", "resnet-us", DIGEST, [missing], np.ones((1, 4), np.float32))
    assert catalogue.embeddings.missing("fetal", DIGEST) == []


def test_an_external_id_is_unique_in_its_library(catalogue):
    catalogue.put_library("fetal")
    catalogue.put_library("early")
    catalogue.add("fetal", [new(1, external_id="case-1")])
    catalogue.add("early", [new(1, external_id="case-1")])
    with pytest.raises(Conflict) as caught:
        catalogue.add("fetal", [new(2, external_id="case-1")])
    assert caught.value.code == "external_id_taken"
    assert catalogue.library("fetal").size == 1


def test_an_update_that_is_refused_leaves_the_frame_as_it_was(catalogue):
    catalogue.put_library("fetal")
    key, _ = catalogue.add("fetal", [new(1), new(2, external_id="case-2")])
    before = catalogue.library("fetal"), catalogue.get(key)
    with pytest.raises(Conflict):
        catalogue.update(key, Labels(), {}, external_id="case-2", cropped=new(1, png=b"another"))
    assert (catalogue.library("fetal"), catalogue.get(key)) == before
    assert catalogue.files.read(key) == b"png\x01"
    catalogue.update(key, Labels(), {}, external_id="case-1", cropped=new(1, png=b"another"))
    assert (catalogue.get(key).labels, catalogue.files.read(key)) == (Labels(), b"another")
    assert catalogue.library("fetal").version == before[0].version + 1


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


def test_a_taxonomy_that_shrank_takes_its_groups_with_it_and_no_others(catalogue):
    catalogue.put_library("fetal", Taxonomy(organs={"femur": "limb"}, diagnoses={"normal": "healthy"}))
    groups = {"organ_group": "limb", "diagnoses": ("normal",), "diagnosis_groups": ("healthy",)}
    (by_taxonomy,) = catalogue.add("fetal", [new(1, labels=Labels(organ="femur", **groups))])
    (by_hand,) = catalogue.add("fetal", [new(2, labels=Labels(organ="spine", organ_group="trunk"))])
    catalogue.put_library("fetal", Taxonomy(organs={"skull": "head"}))
    assert catalogue.get(by_taxonomy).labels == Labels(organ="femur", diagnoses=("normal",))
    assert catalogue.get(by_hand).labels == Labels(organ="spine", organ_group="trunk")


def test_unknown_names_list_the_known(catalogue):
    catalogue.put_library("fetal")
    for ask in (catalogue.library, catalogue.taxonomy, catalogue.embeddings.counts, catalogue.delete_library):
        with pytest.raises(NotFound) as caught:
            ask("fetall")
        assert "fetal" in caught.value.hint
    with pytest.raises(NotFound):
        catalogue.get("no-such-id")


def test_reads_of_one_transaction_see_one_version(store, catalogue):
    catalogue.put_library("fetal")
    ask = text("SELECT version FROM libraries")
    with store.engine().connect() as reader:
        before = reader.execute(ask).scalar()
        catalogue.add("fetal", [new(1)])
        assert reader.execute(ask).scalar() == before


def test_the_migrations_make_the_tables_of_the_code(store):
    with store.engine().connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []


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


def test_another_crop_replaces_frame_canvas_and_all_vectors(catalogue):
    catalogue.put_library("fetal")
    (key,) = catalogue.add("fetal", [new(1)])
    catalogue.embeddings.add("fetal", "other", "sha256:other", [key], np.ones((1, 4), np.float32))
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
    assert catalogue.embeddings.counts("fetal") == {DIGEST: ("resnet-us", 1)}
    assert catalogue.embeddings.one(key, DIGEST).tolist() == [0, 0, 1, 0]


def test_two_processes_that_embed_the_same_do_not_quarrel(catalogue):
    catalogue.put_library("fetal")
    keys = catalogue.add("fetal", [new(1), new(2)])
    catalogue.embeddings.add("fetal", "other", "sha256:other", keys[:1], np.ones((1, 4), np.float32))
    catalogue.embeddings.add("fetal", "other", "sha256:other", keys, np.ones((2, 4), np.float32))
    assert catalogue.embeddings.counts("fetal")["sha256:other"] == ("other", 2)


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


def test_a_database_of_a_newer_version_is_refused(store):
    with store.engine().begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Misconfigured) as caught:
        store.engine()
    assert "newer version" in caught.value.hint


def test_many_processes_may_start_on_an_empty_database(empty_url, tmp_path):
    with opened_store(empty_url, tmp_path) as store, ThreadPoolExecutor(6) as pool:
        catalogues = list(pool.map(lambda _: store.open(), range(6)))
        list(pool.map(lambda opened: opened.put_library("fetal"), catalogues))
        checks = set(pool.map(lambda pair: pair[1].facts.remember_secret(str(pair[0])), enumerate(catalogues)))
        assert catalogues[0].names() == ["fetal"]
        assert len(checks) == 1


def test_a_deleted_library_leaves_nothing(catalogue, tmp_path):
    for name in ("fetal", "early"):
        catalogue.put_library(name)
    catalogue.add("fetal", [new(n) for n in range(5)])
    (other,) = catalogue.add("early", [new(1)])
    assert catalogue.delete_library("fetal") == 5
    assert catalogue.names() == ["early"]
    assert catalogue.all_ids() == {other}
    assert [path.stem for path in (tmp_path / "frames").rglob("*.png")] == [other]
    with pytest.raises(NotFound) as caught:
        catalogue.delete_library("fetal")
    assert caught.value.code == "unknown_library"
    catalogue.put_library("fetal")
    assert len(catalogue.add("fetal", [new(1)])) == 1


def test_a_library_that_is_made_anew_while_the_old_one_is_deleted_stays(store, monkeypatch):
    monkeypatch.setattr("app.library.catalogue._AT_ONCE", 2)
    first, other = store.open(), store.open()
    first.put_library("fetal")
    first.add("fetal", [new(n) for n in range(4)])
    drop, added = first._drop_frames, []

    def between_two_portions(keys):
        drop(keys)
        if not added:
            assert other.delete_library("fetal") == 2
            other.put_library("fetal")
            added.extend(other.add("fetal", [new(n) for n in range(10, 13)]))

    monkeypatch.setattr(first, "_drop_frames", between_two_portions)
    assert first.delete_library("fetal") == 2
    assert first.all_ids() == set(added)
    assert all(first.files.path(key).exists() for key in added)


def test_what_is_removed_is_gone_and_may_come_again(catalogue, tmp_path):
    catalogue.put_library("fetal")
    first, second = catalogue.add("fetal", [new(1), new(2)])
    assert catalogue.remove([first, "no-such-id"]) == [first]
    assert catalogue.remove([first]) == []
    with pytest.raises(NotFound):
        catalogue.get(first)
    assert catalogue.history(first) == []
    assert catalogue.canvases([first]) == {}
    assert catalogue.embeddings.many([first], DIGEST) == {}
    assert [path.stem for path in (tmp_path / "frames").rglob("*.png")] == [second]
    assert catalogue.add("fetal", [new(1)]) == [first]
    assert [change.actor for change in catalogue.history(first)] == ["local"]


def test_an_external_id_that_another_has_cannot_be_given(catalogue):
    catalogue.put_library("fetal")
    first, second = catalogue.add("fetal", [new(1, external_id="case-1"), new(2)])
    with pytest.raises(Conflict) as caught:
        catalogue.update(second, Labels(), {}, external_id="case-1")
    assert caught.value.code == "external_id_taken"
    assert catalogue.get(second).labels == new(2).labels
    catalogue.update(first, Labels(), {}, external_id="case-1")  # its own


def test_a_patient_is_erased_from_every_library(catalogue, tmp_path):
    for name in ("fetal", "early", "none"):
        catalogue.put_library(name)
    ids = [*catalogue.add("fetal", [new(1), new(3), new(4)])[:2], *catalogue.add("early", [new(5)])]
    before = catalogue.editions()
    erased = catalogue.erase_patient("patient-1")
    assert (erased.libraries, sorted(erased.ids)) == ({"fetal": 2, "early": 1}, sorted(ids))
    assert len(catalogue.all_ids()) == len(list((tmp_path / "frames").rglob("*.png"))) == 1
    assert catalogue.embeddings.changes("fetal", DIGEST, before["fetal"]).removed == sorted(ids[:2])
    assert catalogue.editions()["none"] == before["none"]
    again = catalogue.erase_patient("patient-1")
    assert (again.libraries, again.ids) == ({}, [])


def test_relabelling_by_what_is_there_loses_nothing_to_another(store):
    catalogue = store.open()
    catalogue.put_library("fetal")
    (key,) = catalogue.add("fetal", [new(1, labels=Labels(), attributes={})])
    processes = [catalogue, store.open()]

    def add_finding(number):
        def change(stored, _taxonomy):
            return replace(stored.labels, findings=(*stored.labels.findings, str(number))), stored.attributes

        assert processes[number % 2].relabel(key, change)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add_finding, range(16)))
    assert sorted(catalogue.get(key).labels.findings, key=int) == [str(number) for number in range(16)]
    assert len(catalogue.history(key)) == 17


def test_relabelling_sees_the_taxonomy_and_changes_nothing_where_nothing_differs(catalogue):
    catalogue.put_library("fetal", Taxonomy(organs={"spine": "trunk"}))
    (key,) = catalogue.add("fetal", [new(1)])
    before = catalogue.editions()["fetal"]
    assert not catalogue.relabel(key, lambda stored, _: (stored.labels, stored.attributes))
    assert (catalogue.editions()["fetal"], len(catalogue.history(key))) == (before, 1)
    assert catalogue.relabel(key, lambda _, taxonomy: (taxonomy.complete(Labels(organ="spine")), {}), actor="key-1")
    assert catalogue.get(key).labels == Labels(organ="spine", organ_group="trunk")
    assert [change.actor for change in catalogue.history(key)] == ["local", "key-1"]


def test_of_two_who_put_a_library_one_has_made_it(store):
    assert [store.open().put_library("fetal"), store.open().put_library("fetal")] == [True, False]


def test_groups_are_those_of_the_taxonomy_at_the_moment_of_writing(catalogue):
    catalogue.put_library("fetal", Taxonomy(organs={"femur": "leg"}, diagnoses={"normal": "none"}))
    (key,) = catalogue.add("fetal", [new(1, labels=Labels(organ="femur", diagnoses=("normal",)))])
    assert catalogue.get(key).labels == Labels("femur", "leg", diagnoses=("normal",), diagnosis_groups=("none",))
    catalogue.update(key, Labels(organ="femur", organ_group="of another time"), {})
    assert catalogue.get(key).labels == Labels("femur", "leg")
    assert catalogue.history(key)[-1].labels == Labels("femur", "leg")


def test_a_change_of_groups_is_in_the_history_of_those_that_it_changes(catalogue):
    catalogue.put_library("fetal", Taxonomy(organs={"femur": "limb", "spine": "back"}))
    first, second = catalogue.add("fetal", [new(n, labels=Labels(organ=o)) for n, o in enumerate(("femur", "spine"))])
    catalogue.put_library("fetal", Taxonomy(organs={"femur": "leg", "spine": "back"}), actor="somebody")
    changes = [(change.actor, change.labels.organ_group) for change in catalogue.history(first)]
    assert changes == [("local", "limb"), ("somebody", "leg")]
    assert len(catalogue.history(second)) == 1
