"""How long a library takes to load from the database at the start of the service, until it can be searched.

Rows are made directly, with labels and attributes as varied as those of a real library; canvases are left out, since
loading does not read them. Prints a table and JSON.

    python benchmarks/loading.py --n 15000 --dim 384 [--without-patients]
    python benchmarks/loading.py --url postgresql://USER@/DATABASE?host=/run/postgresql   # an empty database
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sqlalchemy import insert
from sqlalchemy.orm import Session

from app.domain import ImageFacts, Labels
from app.library.catalogue import Catalogue
from app.library.database import open_database, writing
from app.library.files import FrameFiles
from app.library.queries import locked_library
from app.library.reference import NewReference, NewVector, identity_of, reference_id
from app.library.rows import new_rows
from app.library.tables import EmbeddingRow, ReferenceRow
from app.search.answer import EncoderInfo
from app.search.index_makers import LocalIndexes
from app.search.shelves import Shelves

DIGEST = "sha256:" + "0" * 64
LIBRARY = "loading"
AT_ONCE = 5000


def made_up(n: int, dim: int, patients: bool = True) -> Iterator[NewReference]:
    dice = np.random.default_rng(20261125)
    empty = np.zeros((1, 1), np.uint8)
    for number in range(n):
        organ, finding = dice.integers(20), dice.integers(30)
        yield NewReference(
            facts=ImageFacts(sha256=f"{number:064x}", format="png", width=800, height=600),
            frame_digest=DIGEST,
            labels=Labels(
                organ=f"organ {organ}",
                organ_group=f"group {organ // 4}",
                plane=("axial", "sagittal", None)[number % 3],
                diagnoses=(f"diagnosis {finding}",) if number % 4 == 0 else (),
                findings=(f"finding {finding}",) if number % 2 else (),
            ),
            attributes={"device": f"device {number % 8}", "trimester": str(1 + number % 3)},
            external_id=f"case-{number}",
            patient_key=f"{number // 3:064x}" if patients else None,
            png=b"",
            canvas=empty,
            histogram=np.zeros(1, np.int64),
            fingerprint=f"{dice.integers(2**63):016x}",
            vectors=(NewVector("encoder", DIGEST, dice.normal(size=dim).astype(np.float32)),),
        )


def fill(catalogue: Catalogue, engine, n: int, dim: int, patients: bool = True) -> None:
    catalogue.put_library(LIBRARY)
    new = list(made_up(n, dim, patients))
    for start in range(0, n, AT_ONCE):
        some = new[start : start + AT_ONCE]
        with Session(writing(engine)) as session, session.begin():
            row = locked_library(session, LIBRARY)
            row.version += 1
            ids = [reference_id(LIBRARY, identity_of(item.facts)) for item in some]
            for table, values in new_rows(row.id, row.version, ids, some, "local"):
                if table in (ReferenceRow, EmbeddingRow):
                    session.execute(insert(table), values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=15_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--without-patients", action="store_true", help="near-duplicates stand for patients then")
    parser.add_argument("--url", help="an empty database; default is a SQLite file in a temporary directory")
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = wish.url or f"sqlite:///{folder}/library.db"
        engine = open_database(url)
        fill(Catalogue(engine, FrameFiles(Path(folder))), engine, wish.n, wish.dim, not wish.without_patients)
        engine.dispose()
        seconds, busy = [], []
        for _ in range(wish.repeats):
            engine = open_database(url)  # a start opens the file anew
            shelves = Shelves(Catalogue(engine, FrameFiles(Path(folder))), LocalIndexes("kdtree"))
            began, began_busy = time.perf_counter(), time.process_time()
            snapshot = shelves.snapshot(LIBRARY, EncoderInfo("encoder", DIGEST, wish.dim, "fp32"))
            seconds.append(time.perf_counter() - began)
            busy.append(time.process_time() - began_busy)
            assert snapshot.size == wish.n
            shelves.close()  # the engine that is being built beside it
            engine.dispose()
    best, middle = min(seconds), float(np.median(seconds))
    print(
        f"{wish.n} x {wish.dim}: {best:.3f} s at best, {middle:.3f} s in the middle of {wish.repeats}; "
        f"of the processor {np.median(busy):.3f} s"
    )
    found = {"n": wish.n, "dim": wish.dim, "seconds": seconds, "processor_seconds": busy}
    print(json.dumps({"machine": platform.platform(), **found}))


if __name__ == "__main__":
    main()
