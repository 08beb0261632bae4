"""The collection of a place: how it is made, what it may hold, and up to which version it equals the library."""

from collections.abc import Set
from typing import Any

from qdrant_client import QdrantClient, models

from app.config import QdrantSettings
from app.errors import Misconfigured
from app.indexes.qdrant_calls import Calls, NoCollection, no_qdrant, where
from app.indexes.qdrant_points import Place, collections_of

# Flat texts kind:value, one index for all of them: an attribute that comes up later needs no index of its own,
# which it could not get any more once the graph is built.
LABELS = "labels"
VERSION = "version"

DATABASE = "database"
LIBRARY = "library_uid"

_INDEXES: dict[str, models.PayloadSchemaType | models.IntegerIndexParams] = {
    LABELS: models.PayloadSchemaType.KEYWORD,
    VERSION: models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=False, range=True),
}
_OLDEST = (1, 16)
"""The first server that updates points under a condition and keeps metadata of a collection."""


class Collections:
    """Makes and describes collections. What it has found to be right it does not ask again."""

    def __init__(self, calls: Calls, settings: QdrantSettings, database: str) -> None:
        self._calls = calls
        self._database = database
        self._settings = settings
        self._checked: set[str] = set()

    def edition(self, place: Place) -> int | None:
        """The version that a place has been brought to; None where there is nothing, or an unfinished beginning.

        Raises Misconfigured ``qdrant_dimension`` for a collection of other vectors.
        """
        try:
            info = self._calls.read(lambda client: client.get_collection(place.collection))
        except NoCollection:
            self._checked.discard(place.collection)
            return None
        self._check(place, info)
        version = (info.config.metadata or {}).get(VERSION)
        return version if isinstance(version, int) else None

    def ensure(self, place: Place) -> None:
        """Make the collection where there is none, with its indexes, before any point comes."""
        if place.collection in self._checked:
            return
        self._check_server()
        if not self._calls.read(lambda client: client.collection_exists(place.collection)):
            self._create(place)
        # Made again where they are there: whoever began this collection may have been interrupted here.
        if not self._calls.in_memory:  # which filters without any, and warns
            for field in _INDEXES:
                self._index(place, field)
        self.edition(place)
        self._checked.add(place.collection)

    def set_edition(self, place: Place, version: int) -> None:
        """Note up to which version everything is in."""
        facts = {
            DATABASE: self._database,
            LIBRARY: place.uid,
            "digest": place.digest,
            "encoder": place.encoder,
            VERSION: version,
        }
        self._calls.write(lambda client: client.update_collection(place.collection, metadata=facts))

    def show(self, place: Place) -> None:
        """Let the alias of library and encoder point at this collection, in one step for all who use it."""
        aliases = self._calls.read(lambda client: client.get_aliases()).aliases
        present = {alias.alias_name: alias.collection_name for alias in aliases}
        if present.get(place.alias) == place.collection:
            return
        steps: list[models.AliasOperations] = []
        if place.alias in present:
            steps.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=place.alias)))
        created = models.CreateAlias(alias_name=place.alias, collection_name=place.collection)
        steps.append(models.CreateAliasOperation(create_alias=created))
        self._calls.write(lambda client: client.update_collection_aliases(steps))

    def names(self, prefix: str) -> list[str]:
        """The collections whose names begin so."""
        found = self._calls.read(lambda client: client.get_collections()).collections
        return sorted(each.name for each in found if each.name.startswith(prefix))

    def orphans(self, alive: Set[str]) -> list[str]:
        """The collections that this database has filled for libraries which are not among some (their uids)."""
        return [name for name in self.names(collections_of("")[:-1]) if self._is_orphan(name, alive)]

    def _is_orphan(self, name: str, alive: Set[str]) -> bool:
        try:
            info = self._calls.read(lambda client: client.get_collection(name))
        except NoCollection:
            return False
        facts = info.config.metadata or {}
        return bool(self._database) and facts.get(DATABASE) == self._database and facts.get(LIBRARY) not in alive

    def drop(self, name: str) -> None:
        """Delete a collection, if it is there; its aliases go with it."""
        self._checked.discard(name)
        self._calls.write(lambda client: client.delete_collection(name))

    def _index(self, place: Place, field: str) -> None:
        self._calls.write(lambda client: client.create_payload_index(place.collection, field, _INDEXES[field]))

    def _check_server(self) -> None:
        try:
            version = self._calls.read(lambda client: client.info()).version
        except NoCollection:  # something answers there, and does not know the question
            raise no_qdrant() from None
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
        if numbers < _OLDEST:
            raise Misconfigured(
                "qdrant_too_old",
                f"Qdrant at {where(self._settings.url or '')} is version {version}; SonoSeek needs at least "
                f"{'.'.join(map(str, _OLDEST))}",
                hint="update Qdrant one minor version after the other, as its release notes ask",
            )

    def _create(self, place: Place) -> None:
        try:
            self._calls.write(lambda client: _create(client, place, self._settings))
        except Exception:
            # Another process was faster, or the connection was cut after it had been made: both are fine.
            if not self._calls.read(lambda client: client.collection_exists(place.collection)):
                raise

    def _check(self, place: Place, info: models.CollectionInfo) -> None:
        params: Any = info.config.params.vectors
        size, distance = getattr(params, "size", None), getattr(params, "distance", None)
        if (size, distance) != (place.dim, models.Distance.EUCLID):
            raise Misconfigured(
                "qdrant_dimension",
                f"the collection {place.collection} holds vectors of {size} numbers under the distance {distance}; "
                f"{place.encoder} gives {place.dim}, compared by {models.Distance.EUCLID}",
                hint="it was not made by SonoSeek: delete it in Qdrant, then run sonoseek sync",
            )


def _create(client: QdrantClient, place: Place, settings: QdrantSettings) -> bool:
    return client.create_collection(
        place.collection,
        # Euclidean, though vectors have unit length: a cosine of float32 cannot tell near neighbours apart,
        # differences can. And Qdrant leaves the vectors as they are.
        vectors_config=models.VectorParams(
            size=place.dim, distance=models.Distance.EUCLID, on_disk=settings.vectors_on_disk
        ),
        hnsw_config=models.HnswConfigDiff(
            m=settings.hnsw_m, ef_construct=settings.hnsw_ef_construct, on_disk=settings.graph_on_disk
        ),
        quantization_config=_quantisation(settings),
        on_disk_payload=settings.payload_on_disk,
        shard_number=settings.shards,
        replication_factor=settings.replicas,
        write_consistency_factor=settings.write_consistency,
    )


def _quantisation(settings: QdrantSettings) -> models.ScalarQuantization | None:
    if settings.quantisation == "none":
        return None
    return models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=settings.quantile, always_ram=True)
    )
