"""What a store says has changed since an edition, and that it leaves nothing out."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from follower import Follower, contents
from stores import DIGEST, OTHER, new

from app.domain import Labels, Taxonomy
from app.errors import Conflict, NotFound
from app.library.reference import Edition, NewVector

WITHOUT_VECTOR = {"vectors": (NewVector("other", OTHER, np.ones(4, np.float32)),)}


@pytest.fixture
def library(catalogue):
    """A catalogue with three references, their ids, and the edition they make."""
    catalogue.put_library("fetal", Taxonomy(organs={"femur": "limb"}))
    keys = catalogue.add("fetal", [new(n) for n in range(3)])
    return catalogue, keys, catalogue.editions()["fetal"]


def changes(catalogue, since, digest=DIGEST):
    found = catalogue.embeddings.changes("fetal", digest, since)
    assert found.info.edition == catalogue.editions()["fetal"]
    return found.shelf, found.removed


def test_nothing_has_changed_since_the_present_edition(library):
    catalogue, _, since = library
    shelf, removed = changes(catalogue, since)
    assert (shelf.ids, removed, shelf.vectors.shape[0]) == ([], [], 0)


def test_what_was_added_comes_with_everything_a_search_needs(library):
    catalogue, _, since = library
    (key,) = catalogue.add("fetal", [new(7, external_id="case-7", attributes={"site": "north"})])
    shelf, removed = changes(catalogue, since)
    assert (shelf.ids, removed) == ([key], [])
    _, whole = catalogue.embeddings.shelf("fetal", DIGEST)
    assert contents(shelf)[key] == contents(whole)[key]
    assert shelf.vectors.tolist() == [[0, 0, 0, 1]]


def test_other_labels_come_with_the_vector(library):
    catalogue, keys, since = library
    catalogue.update(keys[1], Labels(organ="spine"), {"site": "north"}, external_id="case-1")
    shelf, removed = changes(catalogue, since)
    assert (shelf.ids, removed) == ([keys[1]], [])
    assert (shelf.labels, shelf.attributes, shelf.external_ids) == (
        [Labels(organ="spine")],
        [{"site": "north"}],
        ["case-1"],
    )


def test_another_crop_comes_with_its_new_vector(library):
    catalogue, keys, since = library
    catalogue.recrop(keys[0], replace(new(3), frame_digest="sha256:newer"))
    shelf, removed = changes(catalogue, since)
    assert (shelf.ids, removed, shelf.frame_digests) == ([keys[0]], [], ["sha256:newer"])
    assert shelf.vectors.tolist() == [[0, 0, 0, 1]]


def test_another_crop_without_a_vector_of_the_digest_takes_the_reference_away(library):
    catalogue, keys, since = library
    catalogue.recrop(keys[0], new(3, **WITHOUT_VECTOR))
    shelf, removed = changes(catalogue, since)
    assert (shelf.ids, removed) == ([], [keys[0]])


def test_what_was_removed_is_named(library):
    catalogue, keys, since = library
    catalogue.remove(keys[:2])
    shelf, removed = changes(catalogue, since)
    assert (shelf.ids, removed) == ([], sorted(keys[:2]))


def test_what_was_removed_and_added_again_is_there(library):
    catalogue, keys, since = library
    catalogue.remove([keys[0]])
    catalogue.add("fetal", [new(0)])
    shelf, removed = changes(catalogue, since)
    assert (shelf.ids, removed) == ([keys[0]], [])


def test_what_was_added_and_removed_again_is_not(library):
    catalogue, _, since = library
    (key,) = catalogue.add("fetal", [new(9)])
    catalogue.remove([key])
    shelf, removed = changes(catalogue, since)
    assert (shelf.ids, removed) == ([], [key])


def test_what_came_changed_or_went_has_been_touched_and_nothing_else(library):
    catalogue, keys, since = library
    touched = catalogue.embeddings.touched
    assert touched("fetal", since) == set()
    (added,) = catalogue.add("fetal", [new(9)])
    catalogue.remove(keys[:1])
    catalogue.update(keys[1], Labels(), {})
    assert touched("fetal", since) == {added, *keys[:2]}
    assert touched("fetal", Edition(since.uid, 99)) is None  # an older database was restored
    assert touched("fetal", Edition("another", since.version)) is None
    assert touched("none", since) is None


def test_another_taxonomy_changes_those_whose_groups_it_changes(library):
    catalogue, keys, since = library
    (spine,) = catalogue.add("fetal", [new(5, labels=Labels(organ="spine", organ_group="trunk"))])
    since = catalogue.editions()["fetal"]
    catalogue.put_library("fetal", Taxonomy(organs={"femur": "bones"}))
    shelf, removed = changes(catalogue, since)
    assert (shelf.ids, removed) == (sorted(keys), [])
    assert {labels.organ_group for labels in shelf.labels} == {"bones"}
    assert spine not in shelf.ids


def test_the_same_taxonomy_again_changes_nothing(library):
    catalogue, _, since = library
    catalogue.put_library("fetal", Taxonomy(organs={"femur": "limb"}))
    catalogue.put_library("fetal")
    assert catalogue.editions()["fetal"] == since


def test_embedding_brings_what_had_no_vector_of_the_digest(library):
    catalogue, keys, since = library
    assert changes(catalogue, since, OTHER)[0].ids == []
    catalogue.embeddings.add("fetal", "other", OTHER, keys, np.ones((3, 6), np.float32))
    shelf, removed = changes(catalogue, since, OTHER)
    assert (shelf.ids, removed, shelf.vectors.shape) == (sorted(keys), [], (3, 6))
    assert set(changes(catalogue, since)[0].ids) == set(keys)  # their rows changed; the same again does no harm


def test_a_library_that_was_made_anew_is_another(library):
    catalogue, _, since = library
    catalogue.delete_library("fetal")
    with pytest.raises(NotFound):
        catalogue.embeddings.changes("fetal", DIGEST, since)
    catalogue.put_library("fetal")
    assert catalogue.embeddings.changes("fetal", DIGEST, since) is None


def test_a_library_that_is_older_than_the_copy_is_another(library):
    catalogue, _, since = library
    assert catalogue.embeddings.changes("fetal", DIGEST, Edition(since.uid, since.version + 1)) is None


def test_changes_of_one_library_are_none_of_another(library):
    catalogue, _, since = library
    catalogue.put_library("early")
    catalogue.remove(catalogue.add("early", [new(1), new(2)])[:1])
    shelf, removed = changes(catalogue, since)
    assert (shelf.ids, removed) == ([], [])


WRITERS = 8
TURNS = 8


class Writer:
    """Adds, relabels, crops, embeds and removes at random; remembers what was acknowledged."""

    def __init__(self, catalogue, number):
        self._catalogue = catalogue
        self._number = number
        self._random = random.Random(number)
        self.alive: dict[str, int] = {}
        self.changes = 0

    def run(self):
        for turn in range(TURNS):
            self._random.choice([self._add, self._add, self._relabel, self._recrop, self._remove, self._embed])(turn)

    def _add(self, turn):
        numbers = [self._number * 1000 + turn * 10 + n for n in range(self._random.randint(1, 3))]
        keys = self._catalogue.add("fetal", [new(number) for number in numbers])
        self.alive.update(zip(keys, numbers, strict=True))
        self.changes += 1
        assert [found.id for found in self._catalogue.get_many(keys)] == keys  # acknowledged means there

    def _relabel(self, turn):
        for key in self._some():
            self._catalogue.update(key, Labels(organ=f"organ-{turn}"), {})
            self.changes += 1

    def _recrop(self, turn):
        for key in self._some():
            self._catalogue.recrop(key, replace(new(self.alive[key]), frame_digest=f"sha256:{turn}"))
            self.changes += 1

    def _remove(self, _turn):
        keys = self._some()
        numbers = [self.alive.pop(key) for key in keys]
        assert self._catalogue.remove(keys) == keys
        self.changes += bool(keys)
        if keys and self._random.random() < 0.5:
            assert self._catalogue.add("fetal", [new(number) for number in numbers]) == keys
            self.alive.update(zip(keys, numbers, strict=True))
            self.changes += 1

    def _embed(self, _turn):
        keys = self._some()
        missing = set(keys) & set(self._catalogue.embeddings.missing("fetal", OTHER))
        self._catalogue.embeddings.add("fetal", "other", OTHER, keys, np.ones((len(keys), 4), np.float32))
        self.changes += bool(missing)

    def _some(self):
        return self._random.sample(sorted(self.alive), min(1, len(self.alive)))


def test_eight_writers_lose_nothing_and_followers_miss_nothing(store):
    catalogue = store.open()
    catalogue.put_library("fetal")
    processes = [catalogue, store.open()]
    writers = [Writer(processes[number % 2], number) for number in range(WRITERS)]
    followers = [Follower(process) for process in processes]
    over = threading.Event()

    def follow(follower):
        while not over.is_set():
            follower.follow()

    with ThreadPoolExecutor(WRITERS + len(followers)) as pool:
        following = [pool.submit(follow, follower) for follower in followers]
        writing = [pool.submit(writer.run) for writer in writers]
        try:
            for done in writing:
                done.result()
        finally:
            over.set()
        for done in following:
            done.result()
    alive = {key for writer in writers for key in writer.alive}
    info, shelf = catalogue.embeddings.shelf("fetal", DIGEST)
    assert set(shelf.ids) == catalogue.all_ids() == alive
    assert info.version == sum(writer.changes for writer in writers)  # each change has a version of its own
    assert all(catalogue.files.read(key).startswith(b"png") for key in alive)
    assert len(list((store.folder / "frames").rglob("*.*"))) == len(alive)
    for follower in followers:
        follower.follow()
        assert follower.rebuilt == 1
        assert follower.info == info
        assert follower.copy == contents(shelf)


def test_the_same_reference_added_and_removed_by_many_is_whole_or_gone(store):
    catalogue = store.open()
    catalogue.put_library("fetal")
    processes = [catalogue, store.open()]

    def quarrel(number):
        own = processes[number % 2]
        for _ in range(10):
            with suppress(Conflict):  # another has it at the moment
                (key,) = own.add("fetal", [new(1)])
                assert own.files.read(key) == b"png\x01"
                own.remove([key])

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(quarrel, range(WRITERS)))
    assert catalogue.all_ids() == set()
    (key,) = catalogue.add("fetal", [new(1)])
    assert catalogue.files.read(key) == b"png\x01"


def test_a_reader_sees_one_version_or_the_next_and_never_a_mix(store):
    catalogue, other = store.open(), store.open()
    catalogue.put_library("fetal", Taxonomy(organs={"femur": "even"}))
    catalogue.add("fetal", [new(n, labels=Labels(organ="femur", organ_group="even")) for n in range(20)])
    first = catalogue.editions()["fetal"].version
    over = threading.Event()

    def write():
        for turn in range(1, 15):
            group = "odd" if turn % 2 else "even"
            catalogue.put_library("fetal", Taxonomy(organs={"femur": group}))  # every row, in one transaction

    def check(info, shelf):
        groups = {labels.organ_group for labels in shelf.labels}
        assert groups <= {"odd" if (info.version - first) % 2 else "even"}
        return info.version

    def read():
        seen, follower = [], Follower(other)
        while not over.is_set() or len(seen) < 2:
            info, shelf = other.embeddings.shelf("fetal", DIGEST)
            assert info.size == len(shelf) == 20
            seen.append(check(info, shelf))
            changes = other.embeddings.changes("fetal", DIGEST, follower.info.edition)
            check(changes.info, changes.shelf)
            follower.follow()
        assert seen == sorted(seen)

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            pool.submit(write).result()
        finally:
            over.set()
        for reader in readers:
            reader.result()
