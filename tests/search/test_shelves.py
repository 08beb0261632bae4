"""Live snapshots: whatever happens to a library, what is searched equals what is stored."""

import random
import threading
from dataclasses import replace

import numpy as np
import pytest

from app.config import QdrantSettings
from app.domain import ImageFacts, Labels, Taxonomy
from app.errors import Conflict, NotFound
from app.indexes.qdrant import QdrantStore
from app.indexes.registry import ENGINES
from app.library.catalogue import Catalogue
from app.library.database import open_database
from app.library.files import FrameFiles
from app.library.reference import NewReference, NewVector
from app.search.answer import EncoderInfo, Wish
from app.search.index_makers import LocalIndexes
from app.search.ranking import rank
from app.search.remote_indexes import RemoteIndexes
from app.search.shelves import Shelves
from app.search.snapshot import Snapshot, build_snapshot

DIM = 16
ENCODER = EncoderInfo("resnet-us", "sha256:" + "0" * 64, DIM, "fp32")
ORGANS = ["femur", "spine", "thorax", None]


@pytest.fixture
def catalogue(tmp_path):
    opened = Catalogue(open_database(f"sqlite:///{tmp_path}/library.db"), FrameFiles(tmp_path / "frames"))
    opened.put_library("fetal", Taxonomy(organs={"femur": "limb"}))
    return opened


@pytest.fixture(params=[*ENGINES, "qdrant"])
def shelves(request, catalogue):
    local = request.param != "qdrant"
    store = None if local else QdrantStore(QdrantSettings(url=":memory:"))
    opened = Shelves(catalogue, LocalIndexes(request.param) if local else RemoteIndexes(store, catalogue))
    yield opened
    opened.close()


def new(number: int, rng: random.Random) -> NewReference:
    # few distinct vectors and hashes, so that ties and near-duplicates are everyday
    vector = np.random.default_rng(rng.randrange(40)).normal(size=DIM)
    return NewReference(
        facts=ImageFacts(sha256=f"{number:064x}", format="png", width=40, height=30),
        frame_digest="sha256:frame",
        labels=Labels(organ=rng.choice(ORGANS), diagnoses=tuple(rng.sample(["a", "b", "c"], rng.randrange(3)))),
        attributes={"device": rng.choice(["E6", "E8"])},
        external_id=None,
        patient_key=rng.choice([None, None, "p", "q", f"p{number}"]),
        png=b"png",
        canvas=np.zeros((256, 256), dtype=np.uint8),
        histogram=np.arange(256),
        fingerprint=f"{(1 << rng.randrange(20)) - 1:016x}",  # a chain: each is one bit from the next
        vectors=(NewVector(ENCODER.name, ENCODER.digest, (vector / np.linalg.norm(vector)).astype(np.float32)),),
    )


def change(catalogue: Catalogue, rng: random.Random, number: int) -> None:
    """Something that happens to a library."""
    there = sorted(catalogue.all_ids())
    what = rng.choice(["add", "add", "many", "remove", "relabel", "recrop", "taxonomy"])
    if what in ("add", "many") or not there:
        catalogue.add("fetal", [new(100 * number + n, rng) for n in range(30 if what == "many" else 1)])
    elif what == "remove":
        catalogue.remove(rng.sample(there, min(len(there), rng.choice([1, 7]))))
    elif what == "relabel":
        catalogue.update(rng.choice(there), Labels(organ=rng.choice(ORGANS)), {"site": "north"}, patient_key="q")
    elif what == "recrop":
        key = rng.choice(there)
        catalogue.recrop(key, replace(new(number, rng), facts=catalogue.get(key).facts))
    else:
        catalogue.put_library("fetal", Taxonomy(organs={"femur": rng.choice(["limb", "leg"])}))


def some_vectors(catalogue: Catalogue) -> list[np.ndarray]:
    return list(catalogue.embeddings.many(sorted(catalogue.all_ids())[:2], ENCODER.digest).values())


def answers(snapshot: Snapshot, vectors: list[np.ndarray]) -> list[object]:
    """What searches of every sort say, without row numbers, which are a snapshot's own."""
    rng = np.random.default_rng(0)
    wishes = [
        Wish(k=7),
        Wish(k=1000),
        Wish(k=5, max_per_patient=1),
        Wish(k=5, where=(("organ", "femur"), ("organ", "spine"))),
        Wish(k=5, where=(("organ_group", "leg"), ("device", "E6"))),
        Wish(k=5, where=(("diagnoses", "a"),), max_per_patient=2),
    ]
    said: list[object] = [snapshot.info, snapshot.missing, sorted(snapshot.row_of), snapshot.frame_digests]
    keys = sorted(snapshot.row_of)[:2]
    for wish in wishes:
        for query in (*rng.normal(size=(1, DIM)), *vectors):
            unit = (query / np.linalg.norm(query)).astype(np.float32)
            for own in (None, *keys[:1]):
                ranking = rank(snapshot, unit, wish, self_id=own, patient_keys=["p"], without_own_patient=True)
                found = [snapshot.references[row] for row in ranking.hits.rows]
                said += [found, ranking.hits.distances.tolist(), int(ranking.visible.sum())]
    return said


def test_what_changed_is_found_as_if_all_were_built_anew(catalogue, shelves):
    rng = random.Random(1)
    for number in range(60):
        change(catalogue, rng, number)
        live, queries = shelves.snapshot("fetal", ENCODER), some_vectors(catalogue)
        info, shelf = catalogue.embeddings.shelf("fetal", ENCODER.digest)
        assert answers(live, queries) == answers(build_snapshot(info, ENCODER.digest, shelf, "exact"), queries)
    shelves.settle()
    index = shelves.snapshot("fetal", ENCODER).index
    assert index.engine == "qdrant" or index.is_built


@pytest.mark.parametrize("shelves", list(ENGINES), indirect=True)  # Qdrant follows the library
def test_a_snapshot_never_changes(catalogue, shelves):
    rng = random.Random(2)
    catalogue.add("fetal", [new(n, rng) for n in range(50)])
    before = shelves.snapshot("fetal", ENCODER)
    queries = some_vectors(catalogue)
    said = answers(before, queries)
    for number in range(30):
        change(catalogue, rng, number + 1)
        shelves.snapshot("fetal", ENCODER)
    assert answers(before, queries) == said


def test_two_catalogues_see_each_other(catalogue, shelves, tmp_path):
    """As two processes do: nothing is told but what the database says."""
    other = Catalogue(open_database(f"sqlite:///{tmp_path}/library.db"), FrameFiles(tmp_path / "frames"))
    rng = random.Random(3)
    (first,) = catalogue.add("fetal", [new(1, rng)])
    assert shelves.snapshot("fetal", ENCODER).size == 1
    (second,) = other.add("fetal", [new(2, rng)])
    assert set(shelves.snapshot("fetal", ENCODER).row_of) == {first, second}
    other.remove([first])
    assert set(shelves.snapshot("fetal", ENCODER).row_of) == {second}


def test_a_library_made_anew_under_its_name_is_another(catalogue, shelves):
    rng = random.Random(4)
    catalogue.add("fetal", [new(n, rng) for n in range(20)])
    shelves.snapshot("fetal", ENCODER)
    catalogue.delete_library("fetal")
    with pytest.raises(NotFound):
        shelves.snapshot("fetal", ENCODER)
    catalogue.put_library("fetal")
    keys = catalogue.add("fetal", [new(n, rng) for n in range(3)])
    assert set(shelves.snapshot("fetal", ENCODER).row_of) == set(keys)


def test_nothing_is_held_of_a_library_that_another_process_deleted(catalogue, shelves):
    rng = random.Random(4)
    for name in ("early", "fetal"):
        catalogue.put_library(name)
        catalogue.add(name, [new(n, rng) for n in range(3)])
        shelves.snapshot(name, ENCODER)
    catalogue.delete_library("early")
    shelves.keep(catalogue.names())
    shelves.settle()
    assert {key.library for key in shelves._snapshots} == {"fetal"}


def test_a_reference_without_a_vector_is_told(catalogue, shelves):
    rng = random.Random(5)
    keys = catalogue.add("fetal", [new(n, rng) for n in range(3)])
    shelves.snapshot("fetal", ENCODER)
    lacking = replace(new(0, rng), vectors=(NewVector("other", "sha256:other", np.ones(4, np.float32)),))
    catalogue.recrop(keys[0], lacking)
    with pytest.raises(Conflict, match="1 of 3"):
        shelves.snapshot("fetal", ENCODER)
    catalogue.embeddings.add("fetal", ENCODER.name, ENCODER.digest, keys[:1], np.ones((1, DIM), np.float32))
    assert set(shelves.snapshot("fetal", ENCODER).row_of) == set(keys)


@pytest.mark.parametrize("shelves", ["exact"], indirect=True)
def test_searches_during_changes_see_one_version_each(catalogue, shelves):
    """A writer keeps pairs of twins: both are there or none, in every version. No search sees half a pair."""
    rng = random.Random(6)
    done = threading.Event()
    torn = []

    def write():
        for number in range(60):
            pair = catalogue.add("fetal", [new(1000 + 2 * number, rng), new(1001 + 2 * number, rng)])
            if number % 3 == 0:
                catalogue.remove(pair)
        done.set()

    def read():
        while not done.is_set():
            try:
                snapshot = shelves.snapshot("fetal", ENCODER)
            except Conflict as error:
                torn.append(error)
                return
            hits = rank(snapshot, np.full(DIM, 0.25, dtype=np.float32), Wish(k=1000)).hits
            found = {snapshot.references[row].id for row in hits.rows}
            if len(found) % 2 or len(found) != snapshot.info.size:
                torn.append(found)

    threads = [threading.Thread(target=read) for _ in range(3)] + [threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torn == []
    assert shelves.snapshot("fetal", ENCODER).size == 80


class _Held(LocalIndexes):
    """Waits, when it builds, until it may go on."""

    def __init__(self):
        super().__init__("exact")
        self.building, self.go_on, self.builds = threading.Event(), threading.Event(), 0

    def built(self, rows, vectors):
        self.builds += 1
        self.building.set()
        assert self.go_on.wait(10)
        return super().built(rows, vectors)


def test_an_erasure_while_an_index_is_built_leaves_nothing_in_memory(catalogue):
    rng = random.Random(7)
    catalogue.add("fetal", [replace(new(number, rng), patient_key=f"p{number}") for number in range(20)])
    maker = _Held()
    shelves = Shelves(catalogue, maker)
    shelves.snapshot("fetal", ENCODER)
    assert maker.building.wait(10)
    (gone,) = catalogue.erase_patient("p3").gone
    shelves.forget("fetal", gone.uid, gone.ids)
    shelves.snapshot("fetal", ENCODER)  # read anew, while the old rows are still being built
    maker.go_on.set()
    shelves.settle()
    shelves.settle()  # what was thrown away is built again
    present = shelves.snapshot("fetal", ENCODER)
    assert gone.ids[0] not in {found.id for found in present.references}
    assert present.index.is_built
    assert maker.builds == 2
    shelves.close()


def test_very_many_changes_are_read_anew_and_not_followed_one_by_one(catalogue, monkeypatch):
    import app.search.shelves as module

    rng = random.Random(8)
    shelves = Shelves(catalogue, LocalIndexes("exact"))
    catalogue.add("fetal", [new(number, rng) for number in range(8)])
    shelves.snapshot("fetal", ENCODER)
    monkeypatch.setattr(module, "_MANY", 3)
    catalogue.add("fetal", [new(number, rng) for number in range(8, 12)])
    assert shelves.snapshot("fetal", ENCODER).index.late == 0
    catalogue.add("fetal", [new(12, rng)])
    assert shelves.snapshot("fetal", ENCODER).index.late == 1
    shelves.close()


def test_an_older_database_beneath_a_running_process_is_read_anew(catalogue, tmp_path):
    from sqlalchemy import update

    from app.library.tables import LibraryRow

    rng = random.Random(9)
    catalogue.add("fetal", [new(number, rng) for number in range(5)])
    shelves = Shelves(catalogue, LocalIndexes("exact"))
    for number in range(5, 9):
        catalogue.add("fetal", [new(number, rng)])
    assert shelves.snapshot("fetal", ENCODER).size == 9
    with catalogue._engine.execution_options(writes=True).begin() as connection:
        catalogue_rows = 'DELETE FROM "references" WHERE version > 2'
        connection.exec_driver_sql(catalogue_rows)
        connection.execute(update(LibraryRow).values(version=2))
    assert shelves.snapshot("fetal", ENCODER).size == catalogue.library("fetal").size < 9
    shelves.close()
