"""Kills a writer at random moments and looks at what is left.

python tests/slow/crash_loop.py [--kills 200] [--seed 1]

Each round forks a writer that enrols, enrols many, removes, erases patients, relabels, crops anew and re-embeds, saying
what it begins and what is done; SIGKILL comes at a random moment. Then another process opens the data directory as a
start of the service does. After each kill every acknowledged reference must be there once and whole, none half, each
with the frame that its row names, and the index must equal the store.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from harness import other_weights

from app.config import Settings
from app.domain import Box, Frame, ImageFacts, Labels
from app.images.phantom import write_phantoms
from app.images.reader import read_stored
from app.library.manifest import Manifest, read_manifest, read_taxonomy
from app.library.reference import identity_of, reference_id
from app.logs import configure_logs
from app.search.answer import Wish
from app.search.ranking import rank
from app.search.rebuild import reembed
from app.search.recorder import LOCAL
from app.wiring import Service, running_service

LIBRARY = "crash"
PHANTOMS = 120
WINDOWS = {"enrol": 0.1, "enrol-many": 0.6, "remove": 0.02, "relabel": 0.02, "reembed": 0.4}
WINDOWS |= {"erase": 0.1, "recrop": 0.2, "": 1.0}
"""Seconds after the beginning of something (of the writer, where nothing is named) within which the kill comes."""

PATIENCE_S = 3.0
FIRST = "resnet-us"
SECOND = "resnet-us-crop"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    configure_logs("error")
    with tempfile.TemporaryDirectory() as folder:
        print(run(Path(folder), options.kills, options.seed))


def run(folder: Path, kills: int, seed: int) -> str:
    """Kill a writer so many times; returns what was seen. Raises AssertionError where anything was lost."""
    write_phantoms(folder / "phantoms", count=PHANTOMS, seed=seed)
    rng = random.Random(seed)
    expected = Expected()
    killed_in: Counter[str] = Counter()
    for number in range(kills):
        what = rng.choice(list(WINDOWS))
        said = killed_writer(folder, seed * 100_000 + number, what, rng.uniform(0.0, WINDOWS[what]))
        doing = expected.hear(said)
        killed_in[doing] += 1
        checked(folder, expected, doing)
    return (
        f"{kills} kills, seed {seed}: {expected.acknowledged} acknowledged changes, none lost, none half there, "
        f"index equal to the store each time; killed during: "
        f"{', '.join(f'{what} {count}' for what, count in sorted(killed_in.items()))}"
    )


class Expected:
    """What must be there after a kill: what was acknowledged; of what was only begun either state will do."""

    def __init__(self) -> None:
        self.there: dict[str, list[str]] = {}  # key -> organ, sha256 of its frame
        self.open: set[str] = set()
        self.acknowledged = 0

    def hear(self, said: list[str]) -> str:
        """Take in what a writer said; returns what it was doing when it was killed."""
        doing = "starting"
        self.open = set()
        for line in said:
            word, _, rest = line.partition(" ")
            if word == "begin":
                doing, _, keys = rest.partition(" ")
                self.open = set(keys.split())
                continue
            self.acknowledged += 1
            self.open, doing = set(), "nothing"
            if word == "added":
                self.there.update(json.loads(rest))
            elif word == "removed":
                for key in rest.split():
                    self.there.pop(key, None)
            elif word == "relabelled":
                key, organ = rest.split()
                self.there[key] = [organ, self.there[key][1]]
        return doing


def killed_writer(folder: Path, seed: int, during: str, after_s: float) -> list[str]:
    """What a writer said before it was killed, a line each; a last line that was cut off does not count.

    The kill comes some time after it began something for the first time, if it does so soon.
    """
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        in_child(lambda: write(folder, seed, theirs))
    os.close(theirs)
    said = bytearray()
    with os.fdopen(ours, "rb", buffering=0) as pipe:
        while not said.startswith(b"ready\n"):
            said += pipe.read(65536) or sys.exit("the writer could not start")
        deadline = time.monotonic() + PATIENCE_S
        while during and f"begin {during}".encode() not in said and time.monotonic() < deadline:
            said += pipe.read(65536)
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while more := pipe.read(65536):
            said += more
    return said.decode().split("\n")[1:-1]


def in_child(action) -> None:
    """Run something in a forked process and end it there."""
    status = 1
    try:
        action()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def opened(folder: Path, *names: str):
    """The service over the data directory with some encoders; SECOND is resnet-us with another preprocessing."""
    models = folder / "models"
    if not models.exists():
        other_weights(models)
        (models / "resnet-us").rename(models / SECOND)
        manifest = models / SECOND / "manifest.toml"
        manifest.write_text(manifest.read_text().replace('name = "resnet-us"', f'name = "{SECOND}"'))
    return running_service(Settings(data=folder / "data", models=models, encoders={"names": names}))


def write(folder: Path, seed: int, pipe: int) -> None:
    rng = random.Random(seed)
    manifest = read_manifest(folder / "phantoms" / "manifest.csv", read_taxonomy(folder / "phantoms" / "taxonomy.toml"))

    def say(line: str) -> None:
        os.write(pipe, f"{line}\n".encode())

    # What is enrolled with one encoder alone leaves work for a later writer that re-embeds with the second.
    names = rng.choice([(FIRST,), (FIRST, SECOND)])
    with opened(folder, *names) as service:
        service.catalogue.put_library(LIBRARY, manifest.taxonomy)
        say("ready")
        if SECOND in names:
            embed(service, say)
        while True:
            acts = [enrol_one, enrol_one, enrol_many, enrol_many, remove, relabel, recrop, recrop, erase]
            rng.choice(acts)(service, manifest, rng, say)


def enrol_one(service: Service, manifest: Manifest, rng: random.Random, say) -> None:
    enrol(service, manifest, [rng.choice(manifest.rows)], "enrol", say)


def enrol_many(service: Service, manifest: Manifest, rng: random.Random, say) -> None:
    enrol(service, manifest, rng.sample(manifest.rows, 24), "enrol-many", say)


def enrol(service, manifest, rows, what, say) -> None:
    there = service.catalogue.all_ids()
    say(f"begin {what}")
    report = service.importer.run(
        LIBRARY, Manifest(rows=rows, bad=[], dropped=(), taxonomy=manifest.taxonomy), on_conflict="skip"
    )
    assert not report.bad, report.bad
    new = set(report.ids.values()) - there
    say(f"added {json.dumps(states(service, sorted(new)))}")


def states(service: Service, keys: list[str]) -> dict[str, list[str]]:
    """Key -> organ and sha256 of the frame, of some references."""
    files = service.catalogue.files
    return {
        found.id: [str(found.labels.organ), checksum(files.read(found.id))]
        for found in service.catalogue.get_many(keys)
    }


def remove(service: Service, manifest: Manifest, rng: random.Random, say) -> None:
    there = sorted(service.catalogue.all_ids())
    keys = rng.sample(there, min(len(there), rng.choice([1, 1, 20])))
    say(f"begin remove {' '.join(keys)}")
    service.catalogue.remove(keys)
    say(f"removed {' '.join(keys)}")


def relabel(service: Service, manifest: Manifest, rng: random.Random, say) -> None:
    there = sorted(service.catalogue.all_ids())
    if there:
        key, organ = rng.choice(there), f"organ-{rng.randrange(1000)}"
        say(f"begin relabel {key}")
        service.catalogue.update(key, Labels(organ=organ), {})
        say(f"relabelled {key} {organ}")


def erase(service: Service, manifest: Manifest, rng: random.Random, say) -> None:
    patient_id = rng.choice(manifest.rows).patient_id
    patient = service.importer._keyer.patient_key(patient_id)
    there = service.catalogue.get_many(sorted(service.catalogue.all_ids()))
    keys = " ".join(found.id for found in there if found.facts.patient_key == patient)
    say(f"begin erase {keys}")
    service.editor.erase(patient_id, by=LOCAL)
    say(f"removed {keys}")


def recrop(service: Service, manifest: Manifest, rng: random.Random, say) -> None:
    """Enrol a known image with another region: its frame, canvas and vectors are replaced."""
    there = service.catalogue.all_ids()
    known = [row for row in manifest.rows if still_id(row.path) in there]
    if known:
        row, left, top = rng.choice(known), rng.randrange(80), rng.randrange(60)
        key = still_id(row.path)
        say(f"begin recrop {key}")
        rows = [replace(row, region=Box(left, top, left + 300, top + 260))]
        report = service.importer.run(
            LIBRARY, Manifest(rows=rows, bad=[], dropped=(), taxonomy=manifest.taxonomy), on_conflict="update"
        )
        assert not report.bad, report.bad
        say(f"added {json.dumps(states(service, [key]))}")


def still_id(path: Path) -> str:
    """The reference id that a still has."""
    facts = ImageFacts(checksum(path.read_bytes()), "png", 0, 0)
    return reference_id(LIBRARY, identity_of(facts))


def embed(service: Service, say) -> None:
    say("begin reembed")
    reembed(service.catalogue, service.batcher, service.batcher.encoder(SECOND), LIBRARY)
    say("embedded")


def checked(folder: Path, expected: Expected, doing: str) -> None:
    """Look at what is left from another process, and compare it with what was acknowledged."""
    found = folder / "found.json"
    child = os.fork()
    if child == 0:
        in_child(lambda: found.write_text(json.dumps(look(folder))))
    _, status = os.waitpid(child, 0)
    assert status == 0, "what was left after a kill cannot be opened, or something is half there; see above"
    there = json.loads(found.read_text())
    for key in expected.there.keys() - expected.open:
        assert there.get(key) == expected.there[key], f"{key} was acknowledged and is lost or changed"
    surplus = there.keys() - expected.there.keys()
    assert not surplus or doing.startswith("enrol"), f"{doing} left {len(surplus)} references that were removed"
    expected.there = there


def look(folder: Path) -> dict[str, list[str]]:
    """The states of all that a start finds after a kill; raises AssertionError where anything is half there."""
    with opened(folder, FIRST) as service:
        service.preload()
        catalogue = service.catalogue
        encoder = service.batcher.default
        keys = sorted(catalogue.all_ids())
        references = catalogue.get_many(keys)
        assert [found.id for found in references] == keys
        assert sorted(path.stem for path in (folder / "data" / "frames").glob("*/*")) == keys
        assert frames_of_rows(folder) == {key: checksum(catalogue.files.read(key)) for key in keys}
        assert sorted(catalogue.canvases(keys)) == keys
        assert all(catalogue.history(key) for key in keys)
        vectors = catalogue.embeddings.many(keys, encoder.digest)
        assert sorted(vectors) == keys
        for key in random.Random(0).sample(keys, min(3, len(keys))):
            stored = Frame(read_stored(catalogue.files.read(key)), catalogue.get(key).facts)
            assert service.finder.encode(encoder, stored).tobytes() == vectors[key].tobytes()
        snapshot = service.shelves.snapshot(LIBRARY, encoder)
        assert sorted(snapshot.row_of) == keys
        for key in keys[:3]:
            hits = rank(snapshot, vectors[key], Wish(k=10)).hits
            all_distances = np.sort(np.linalg.norm(np.stack(list(vectors.values())) - vectors[key], axis=1))
            np.testing.assert_allclose(hits.distances, all_distances[:10], atol=1e-6)
        assert_sound(folder)
        return states(service, keys)


def frames_of_rows(folder: Path) -> dict[str, str]:
    """Id -> sha256 of the frame that a row names."""
    with closing(sqlite3.connect(folder / "data" / "sonoseek.db")) as database:
        return dict(database.execute('SELECT id, frame_sha256 FROM "references"').fetchall())


def checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def assert_sound(folder: Path) -> None:
    """Nothing hangs on a reference that is gone, and SQLite finds nothing wrong with its file."""
    with sqlite3.connect(folder / "data" / "sonoseek.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []


if __name__ == "__main__":
    main()
