"""The engine qdrant: libraries as collections of a Qdrant server or cluster. A cache that rows can always refill."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import partial

import numpy as np
from qdrant_client import QdrantClient, models

from app.config import QdrantSettings
from app.domain import Vectors
from app.errors import Conflict
from app.indexes.base import Sight
from app.indexes.qdrant_calls import Calls, NoCollection
from app.indexes.qdrant_collection import VERSION, Collections
from app.indexes.qdrant_payload import in_words, just_these, not_after, of_these, structs
from app.indexes.qdrant_points import Found, Place, PointChanges, Points, Repaired, collections_of

_IDS_AT_ONCE = 1_000
_SCROLLED_AT_ONCE = 5_000


class QdrantStore:
    """Keeps collections equal to libraries and asks them. Safe for several threads, and several processes.

    Two processes may bring the same place up to date at once. Whatever one of them knows too late it cannot undo:
    points are written and deleted only where nobody has written them after the version that the writer knows. What
    is left is that a slow process may put back a point which a faster one has taken away; it takes it away itself
    with its next changes, ``sync`` finds it too, and no answer holds it, since answers hold known references only.
    """

    def __init__(self, settings: QdrantSettings, api_key: str | None = None, *, database: str = "") -> None:
        """``database`` tells whose collections these are, where several share a server."""
        self.settings = settings
        self._calls = Calls(settings, api_key)
        self._collections = Collections(self._calls, settings, database)

    def close(self) -> None:
        """Close the connections."""
        self._calls.close()

    def edition(self, place: Place) -> int | None:
        """Up to which version of the library a place is filled; None where it never was.

        Raises Unavailable ``qdrant_unreachable``, Misconfigured ``qdrant_dimension`` or ``qdrant_key_refused``,
        as do all methods.
        """
        return self._collections.edition(place)

    def follow(self, place: Place, changes: PointChanges) -> bool:
        """Bring a place up to date; doing it twice, or being interrupted, harms nothing.

        Changes must begin at or before the edition of the place, and at or before the version to which this process
        followed last (see the class). False, and nothing done, where they begin too late: ask for the edition again.
        """
        _check_numbers(changes.points.vectors)
        edition = self._collections.edition(place)
        if changes.since > (edition or 0):
            return False
        self._collections.ensure(place)
        self._delete(place, changes.removed, changes.version)
        if edition is None or edition < changes.version:
            self._upsert(place, changes.points, changes.version)
            self._collections.set_edition(place, changes.version)
            self._collections.show(place)
        return True

    def sync(
        self,
        place: Place,
        version: int,
        truth: Mapping[str, int],
        load: Callable[[Sequence[str]], Points],
        progress: Callable[[int], None] = lambda _done: None,
    ) -> Repaired:
        """Make a place equal to the library: ``truth`` has the version of every reference at the library's version.

        Points that are missing or older are loaded and written, those of no reference are deleted; points that
        another process wrote after ``version`` stay. An interrupted run goes on where it stopped.
        """
        self._collections.ensure(place)
        there = dict(self._versions(place))
        missing = [key for key in truth if key not in there]
        stale = [key for key, found in truth.items() if there.get(key, found) < found]
        surplus = [key for key, found in there.items() if key not in truth and found <= version]
        self._delete(place, surplus, version)
        wanted = missing + stale
        for start in range(0, len(wanted), _IDS_AT_ONCE):
            points = load(wanted[start : start + _IDS_AT_ONCE])
            _check_numbers(points.vectors)
            self._upsert(place, points, version)
            progress(len(points))
        edition = self._collections.edition(place)
        if edition is None or edition < version:
            self._collections.set_edition(place, version)
        self._collections.show(place)
        return Repaired(len(missing), len(stale), len(surplus))

    def count(self, place: Place) -> int:
        """How many points a place has; 0 where there is none."""
        try:
            return self._calls.read(lambda client: client.count(place.collection, exact=True)).count
        except NoCollection:
            return 0

    def nearest(self, place: Place, query: Vectors, limit: int, sight: Sight, *, exact: bool) -> Found:
        """At most ``limit`` references by distance from a query (dim,), as far as words tell what may be seen.

        Fewer than there are may come where ``exact`` is not set: the graph is an approximation.
        """
        _check_numbers(query)
        asked = in_words(sight)
        try:
            answer = self._calls.read(
                lambda client: client.query_points(
                    place.collection,
                    query=query.tolist(),
                    query_filter=asked,
                    search_params=self._search_params(exact),
                    limit=limit,
                    with_payload=False,
                    consistency=self._consistency(),
                )
            )
        except NoCollection:
            return Found([], [])
        return Found([str(point.id) for point in answer.points], [point.score for point in answer.points])

    def retire(self, uid: str, keep: Sequence[Place]) -> list[str]:
        """Delete the collections of a library other than some, as those of former encoders; returns their names."""
        kept = {place.collection for place in keep}
        gone = [name for name in self._collections.names(collections_of(uid)) if name not in kept]
        for name in gone:
            self._collections.drop(name)
        return gone

    def drop(self, place: Place) -> None:
        """Delete the collection of a place, if it is there."""
        self._collections.drop(place.collection)

    def drop_orphans(self, alive: Set[str]) -> list[str]:
        """Delete this database's collections of all libraries but some (their uids); returns the names."""
        gone = self._collections.orphans(alive)
        for name in gone:
            self._collections.drop(name)
        return gone

    def forget(self, uid: str, ids: Sequence[str]) -> list[str]:
        """Delete the points of references in all collections of a library, whoever wrote them; returns their names."""
        names = self._collections.names(collections_of(uid)) if ids else []
        for name in names:
            for start in range(0, len(ids), _IDS_AT_ONCE):
                gone = models.FilterSelector(filter=just_these(ids[start : start + _IDS_AT_ONCE]))
                self._calls.write(partial(_delete, name, gone))
        return names

    def _delete(self, place: Place, ids: Sequence[str], version: int) -> None:
        for start in range(0, len(ids), _IDS_AT_ONCE):
            gone = models.FilterSelector(filter=of_these(ids[start : start + _IDS_AT_ONCE], version))
            self._calls.write(partial(_delete, place.collection, gone))

    def _upsert(self, place: Place, points: Points, version: int) -> None:
        size = self.settings.batch_size
        for start in range(0, len(points), size):
            batch = structs(points, start, min(start + size, len(points)))
            self._calls.write(partial(_upsert, place.collection, batch, not_after(version)))

    def _versions(self, place: Place) -> Iterator[tuple[str, int]]:
        """Id and version of every point."""
        offset: models.ExtendedPointId | None = None
        while True:
            records, offset = self._calls.read(partial(_scroll, place.collection, offset))
            for record in records:
                yield str(record.id), int((record.payload or {}).get(VERSION, 0))
            if offset is None:
                return

    def _search_params(self, exact: bool) -> models.SearchParams | None:
        if self._calls.in_memory:  # which is always exact, and warns
            return None
        quantised = self.settings.quantisation != "none"
        rescored = models.QuantizationSearchParams(
            ignore=exact, rescore=not exact, oversampling=None if exact else self.settings.oversampling
        )
        return models.SearchParams(
            exact=exact, hnsw_ef=self.settings.hnsw_ef, quantization=rescored if quantised else None
        )

    def _consistency(self) -> models.ReadConsistencyType | None:
        wanted = self.settings.read_consistency
        return None if wanted == "one" else models.ReadConsistencyType(wanted)


def _delete(name: str, which: models.FilterSelector, client: QdrantClient) -> models.UpdateResult:
    return client.delete(name, which, wait=True)


def _upsert(name: str, points: list[models.PointStruct], where: models.Filter, client: QdrantClient) -> None:
    client.upsert(name, points, wait=True, update_filter=where)


def _scroll(
    name: str, offset: models.ExtendedPointId | None, client: QdrantClient
) -> tuple[list[models.Record], models.ExtendedPointId | None]:
    return client.scroll(name, limit=_SCROLLED_AT_ONCE, offset=offset, with_payload=[VERSION], with_vectors=False)


def _check_numbers(vectors: Vectors) -> None:
    """Refuse what is no number: Qdrant would take it and lose the point without a word."""
    if not np.isfinite(vectors).all():
        raise Conflict(
            "vector_not_finite",
            "an embedding holds values that are no numbers, which no search can find",
            hint="run: sonoseek models verify, then sonoseek reembed LIBRARY",
        )
