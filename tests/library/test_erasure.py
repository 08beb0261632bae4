"""Nothing of an erased patient is left in the data directory: the files are searched for the bytes."""

import random
import sqlite3
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from mounts import read_only
from stores import DIGEST, OTHER, new

from app.domain import Labels
from app.errors import Unavailable
from app.library.reference import NewVector
from app.library.tables import AccessRow, RemovalRow

PATIENT = "5ec3e7" + "a1b2" * 14 + "c4"
WORDS = "polyhydramnios-of-nobody-else"
PICTURE = b"\x89PNG of that one patient" * 40
CANVAS = np.random.default_rng(1).integers(0, 256, (256, 256), dtype=np.uint8)
VECTOR = np.random.default_rng(2).normal(size=384).astype(np.float32)


def of_the_patient(number):
    return new(
        number,
        labels=Labels(organ=WORDS, findings=(WORDS,)),
        attributes={"site": WORDS},
        patient_key=PATIENT,
        png=PICTURE,
        canvas=CANVAS,
        vectors=(NewVector("resnet-us", DIGEST, VECTOR), NewVector("other", OTHER, VECTOR[::-1].copy())),
    )


def traces() -> dict[str, bytes]:
    """What must not be found, by what it is: parts too long to be there by chance, short enough to lie in one page."""
    return {
        "patient key": PATIENT.encode(),
        "label": WORDS.encode(),
        "picture": PICTURE[:20],
        "canvas": CANVAS.tobytes()[30_000:30_016],
        "end of the canvas": CANVAS.tobytes()[-16:],
        "vector": VECTOR.tobytes()[:16],
        "other vector": VECTOR[::-1].tobytes()[:16],
    }


def found_in(folder: Path) -> set[str]:
    contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return {name for name, trace in traces().items() if any(trace in content for content in contents)}


@pytest.fixture
def filled(catalogue):
    """Three references of the patient among many others that come and go, so that pages split and merge."""
    dice = random.Random(4)
    for name in ("fetal", "early"):
        catalogue.put_library(name)
    others = []
    for turn in range(3):
        others += catalogue.add("fetal", [new(100 * turn + n, attributes={"x": "y" * n * 20}) for n in range(30)])
        (key,) = catalogue.add("fetal", [of_the_patient(1000 + turn)])
        catalogue.update(key, Labels(organ=WORDS, findings=(WORDS, WORDS * 9)), {"site": WORDS * 20})
        leaving = dice.sample(others, 10)
        catalogue.remove(leaving)
        others = [key for key in others if key not in leaving]
    catalogue.add("early", [of_the_patient(1)])
    catalogue.recrop(key, of_the_patient(1002))
    catalogue.update(key, Labels(organ="femur"), {})  # the words stay in its history
    return catalogue


def test_no_bytes_of_the_patient_are_left(filled, tmp_path):
    assert found_in(tmp_path) == set(traces())
    reader = sqlite3.connect(tmp_path / "library.db")
    reader.execute("SELECT count(*) FROM canvases").fetchone()  # an open connection between two searches
    erased = filled.erase_patient(PATIENT)
    assert (erased.libraries, len(erased.ids), erased.remains) == ({"fetal": 3, "early": 1}, 4, [])
    assert found_in(tmp_path) == set()
    assert len(filled.all_ids()) == 60
    reader.close()


def test_what_interrupted_writers_left_goes_too(filled, tmp_path):
    key = filled.listing.page("early")[0].id
    left = filled.files.path(key).with_name(f"{key}.abc123.tmp")
    left.write_bytes(PICTURE)
    filled.erase_patient(PATIENT)
    assert found_in(tmp_path) == set()


def test_a_search_that_reads_meanwhile_is_waited_for(filled, tmp_path):
    reader = sqlite3.connect(tmp_path / "library.db", isolation_level=None, check_same_thread=False)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM canvases").fetchone()
    done = threading.Timer(0.4, lambda: reader.execute("COMMIT"))
    done.start()
    began = time.monotonic()
    erased = filled.erase_patient(PATIENT)
    done.join()
    assert time.monotonic() - began > 0.3
    assert erased.remains == []
    assert found_in(tmp_path) == set()
    reader.close()


def test_a_reader_that_never_ends_is_told_of_and_erasing_once_more_ends_it(filled, tmp_path):
    reader = sqlite3.connect(tmp_path / "library.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM canvases").fetchone()
    (remains,) = filled.erase_patient(PATIENT, patience_s=0.2).remains
    assert "sonoseek.db-wal" in remains
    assert found_in(tmp_path)
    reader.execute("COMMIT")
    reader.close()
    assert filled.erase_patient(PATIENT).remains == []
    assert found_in(tmp_path) == set()


def test_writers_are_not_refused_while_a_reader_is_waited_for(filled, tmp_path):
    reader = sqlite3.connect(tmp_path / "library.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM canvases").fetchone()
    erasing = threading.Thread(target=lambda: filled.erase_patient(PATIENT, patience_s=0.6))
    erasing.start()
    time.sleep(0.2)
    assert filled.add("fetal", [new(5000)])
    erasing.join()
    reader.close()


def test_ids_alone_stay_so_that_indexes_can_follow(filled, store):
    erased = filled.erase_patient(PATIENT)
    with store.engine().connect() as connection:
        removed = set(connection.execute(RemovalRow.__table__.select()).scalars("reference_id"))
        assert set(erased.ids) <= removed
        assert connection.execute(AccessRow.__table__.select()).all() == []


def test_a_frame_that_cannot_be_deleted_leaves_the_rows_so_that_erasing_can_be_repeated(filled, tmp_path):
    (key,) = (found.id for found in filled.listing.page("early"))
    with read_only(tmp_path / "frames"):
        with pytest.raises(Unavailable) as caught:
            filled.erase_patient(PATIENT)
        assert caught.value.code == "read_only"
    assert filled.get(key)
    assert filled.files.read(key) == PICTURE
    assert key in filled.erase_patient(PATIENT).ids
    assert found_in(tmp_path) == set()
