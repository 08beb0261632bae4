"""A small library whose vectors go to Qdrant, and brute force as its referee."""

import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from qdrant_engine import Engine
from qdrant_facade import Faulty, facade, served
from qdrant_grpc import served_grpc

from app.config import QdrantSettings
from app.domain import Labels
from app.indexes.base import Sight
from app.indexes.qdrant import QdrantStore
from app.indexes.qdrant_index import QdrantIndex
from app.indexes.qdrant_points import Place, PointChanges, Points

ORGANS = ("femur", "abdomen", "trans-cerebellar")
FINDINGS = ("a: colon", "cyst")


@dataclass
class Row:
    """One reference: its vector, its labels and the version at which it was changed last."""

    vector: np.ndarray
    labels: Labels
    attributes: dict[str, str]
    version: int

    def says(self, kind, value):
        return value in self.labels.values(kind) if kind != "device" else self.attributes.get(kind) == value


@dataclass
class SmallLibrary:
    """What a library does: rows by id, a version that grows, removals."""

    dim: int = 24
    digest: str = "sha256:" + "ab" * 32
    uid: str = field(default_factory=lambda: uuid.uuid4().hex)
    version: int = 0
    rows: dict[str, Row] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)

    @property
    def place(self):
        return Place(self.uid, "fetal", "resnet-us", self.digest, self.dim)

    def add(self, vectors):
        """Enrol vectors in one version; gives their ids."""
        self.version += 1
        ids = [str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.uid}{len(self.rows)}{n}")) for n in range(len(vectors))]
        for n, (key, vector) in enumerate(zip(ids, vectors, strict=True)):
            labels = Labels(organ=ORGANS[n % 3], findings=FINDINGS[: n % 3])
            self.rows[key] = Row(vector, labels, {"device": f"device {n % 7}"}, self.version)
        return ids

    def relabel(self, key, organ):
        self.version += 1
        self.rows[key].labels = Labels(organ=organ)
        self.rows[key].version = self.version

    def remove(self, *keys):
        self.version += 1
        for key in keys:
            del self.rows[key]
            self.gone[key] = self.version

    def points(self, keys):
        rows = [self.rows[key] for key in keys]
        vectors = np.asarray([row.vector for row in rows], np.float32).reshape(len(rows), self.dim)
        return Points(
            list(keys), vectors, [r.version for r in rows], [r.labels for r in rows], [r.attributes for r in rows]
        )

    def changes(self, since=0):
        changed = [key for key, row in self.rows.items() if row.version > since]
        removed = [key for key, version in self.gone.items() if version > since and key not in self.rows]
        return PointChanges(since, self.version, self.points(changed), removed)

    def truth(self):
        return {key: row.version for key, row in self.rows.items()}

    def index(self, store):
        ids = list(self.rows)
        vectors = np.asarray([self.rows[key].vector for key in ids], np.float32).reshape(len(ids), self.dim)
        return QdrantIndex(store, self.place, {key: row for row, key in enumerate(ids)}, lambda rows: vectors[rows])

    def sight(self, where=(), without=(), hidden=()):
        """What may be seen, in words and in rows; ``hidden`` are left out in rows only."""
        told = tuple((kind, tuple(values)) for kind, values in where)
        rows = [
            all(any(row.says(kind, value) for value in values) for kind, values in told)
            and key not in {*without, *hidden}
            for key, row in self.rows.items()
        ]
        return Sight(np.asarray(rows, dtype=bool), told, frozenset(without))

    def brute_force(self, query, k, sight):
        ids = np.asarray(list(self.rows))[sight.rows]
        vectors = np.asarray([row.vector for row in self.rows.values()], np.float64)[sight.rows]
        distances = np.linalg.norm(vectors - query.astype(np.float64), axis=1) if len(vectors) else np.empty(0)
        order = np.lexsort((ids, distances))[:k]
        return ids[order].tolist(), distances[order]

    def ids_of(self, hits):
        ids = list(self.rows)
        return [ids[row] for row in hits.rows]


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


class Qdrant:
    """A running stand-in for Qdrant: its address, its engine, what it was asked, and the faults to come."""

    def __init__(self, url, grpc_port, engine, faults, asked):
        self.url, self.grpc_port, self.engine, self.faults, self.asked = url, grpc_port, engine, faults, asked

    @property
    def is_grpc(self):
        return self.grpc_port is not None

    def settings(self, **given):
        told = {"url": self.url, "grpc": self.is_grpc, "timeout_s": 1, "write_timeout_s": 1, "retry_s": 5.0}
        if self.is_grpc:
            told["grpc_port"] = self.grpc_port
        return QdrantSettings(**(told | given))

    @contextmanager
    def store(self, key=None, **given):
        store = QdrantStore(self.settings(**given), key)
        try:
            yield store
        finally:
            store.close()


@contextmanager
def running_qdrant(folder, *, grpc=False, key=None):
    """Qdrant's engine behind HTTP, and behind gRPC too where that is asked for."""
    engine, faults, asked = Engine(folder), [], []
    with served(Faulty(facade(engine), faults, asked, key)) as url:
        try:
            if grpc:
                with served_grpc(engine, faults, asked, key) as port:
                    yield Qdrant(url, port, engine, faults, asked)
            else:
                yield Qdrant(url, None, engine, faults, asked)
        finally:
            engine.close()
