"""References made up for tests of the store, and stores to put them in."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from sqlalchemy import Engine

from app.domain import ImageFacts, Labels
from app.library.catalogue import Catalogue
from app.library.database import open_database
from app.library.files import FrameFiles
from app.library.reference import NewReference, NewVector

DIGEST = "sha256:" + "0" * 64
OTHER = "sha256:" + "1" * 64


@dataclass
class Store:
    """A place for a database and frames, which may be opened several times, as several processes do."""

    url: str
    folder: Path
    engines: list[Engine] = field(default_factory=list)

    def open(self) -> Catalogue:
        """A catalogue with connections of its own."""
        engine = self.engine()
        return Catalogue(engine, FrameFiles(self.folder / "frames"))

    def engine(self, **options: float) -> Engine:
        """Connections of their own."""
        self.engines.append(open_database(self.url, **options))
        return self.engines[-1]


@contextmanager
def opened_store(url: str, folder: Path) -> Iterator[Store]:
    """A store whose connections are closed at the end."""
    store = Store(url, folder)
    try:
        yield store
    finally:
        for engine in store.engines:
            engine.dispose()


def sqlite_url(folder: Path) -> str:
    """The address of a SQLite file in a folder."""
    return f"sqlite:///{folder}/library.db"


def new(number: int, **changes: object) -> NewReference:
    """A reference that is told from others by its number."""
    vector = np.zeros(4, dtype=np.float32)
    vector[number % 4] = 1
    item = NewReference(
        facts=ImageFacts(sha256=f"{number:064x}", format="png", width=40, height=30),
        frame_digest=DIGEST,
        labels=Labels(organ="femur", organ_group="limb", diagnoses=("normal",)),
        attributes={"device": "E6"},
        external_id=None,
        patient_key=f"patient-{number % 2}",
        png=b"png" + bytes([number % 256]),
        canvas=np.full((256, 256), number % 256, dtype=np.uint8),
        histogram=np.arange(256),
        fingerprint=f"{number:016x}",
        vectors=(NewVector("resnet-us", DIGEST, vector),),
    )
    return replace(item, **changes)
