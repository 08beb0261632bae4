"""Qdrant's own engine in process, told with the bodies of Qdrant's REST interface: what a server is without a network.

Its graph exists only after ``optimise``. It holds the GIL while it searches, and one process owns a directory.
"""

import threading
from pathlib import Path

import qdrant_edge as edge
from qdrant_client.http import models

VERSION = "1.19.1"


class Refusal(Exception):
    """What the server answers instead: a status and a sentence."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status, self.text = status, text


class Collection:
    """One shard, and what it was made with."""

    def __init__(self, folder, body):
        self.body = body
        self.metadata = dict(body.metadata or {})
        self.indexed = []  # payload indexes, with the number of points that were there before
        self.shard = edge.EdgeShard.create(str(folder), _config(body))

    def merge(self, metadata):
        for key, value in metadata.items():
            if value is None:
                self.metadata.pop(key, None)
            else:
                self.metadata[key] = value

    def index(self, field, schema):
        kind = getattr(schema, "type", schema)
        self.indexed.append((field, self.shard.info().points_count))
        types = {"keyword": edge.PayloadSchemaType.Keyword, "integer": edge.PayloadSchemaType.Integer}
        self.shard.update(edge.UpdateOperation.create_field_index(field, types[kind.value]))

    def upsert(self, points, condition):
        told = [edge.Point(str(point.id), point.vector, point.payload) for point in points]
        try:
            self.shard.update(edge.UpdateOperation.upsert_points(told, condition=_filter(condition)))
        except Exception as error:
            raise Refusal(400, f"Wrong input: {error}") from None

    def delete(self, selector):
        self.shard.update(edge.UpdateOperation.delete_points_by_filter(_filter(selector.filter)))

    def query(self, body):
        vector = getattr(body.query, "nearest", body.query)
        found = self.shard.query(
            edge.QueryRequest(
                limit=body.limit,
                query=edge.Query.Nearest(vector),
                filter=_filter(body.filter),
                params=_search_params(body.params),
            )
        )
        points = [models.ScoredPoint(id=str(point.id), version=point.version, score=point.score) for point in found]
        return models.QueryResponse(points=points)

    def scroll(self, body):
        request = edge.ScrollRequest(
            offset=str(body.offset) if body.offset else None, limit=body.limit, with_payload=body.with_payload
        )
        records, following = self.shard.scroll(request)
        return models.ScrollResult(
            points=[models.Record(id=str(record.id), payload=record.payload) for record in records],
            next_page_offset=str(following) if following else None,
        )

    def count(self):
        return models.CountResult(count=self.shard.count(edge.CountRequest(exact=True)))

    def info(self):
        facts = self.shard.info()
        body = self.body
        return models.CollectionInfo(
            status="green",
            optimizer_status="ok",
            indexed_vectors_count=facts.indexed_vectors_count,
            points_count=facts.points_count,
            segments_count=facts.segments_count,
            payload_schema={},
            config=models.CollectionConfig(
                params=models.CollectionParams(
                    vectors=body.vectors,
                    shard_number=body.shard_number or 1,
                    replication_factor=body.replication_factor or 1,
                    write_consistency_factor=body.write_consistency_factor or 1,
                    on_disk_payload=body.on_disk_payload,
                ),
                hnsw_config=models.HnswConfig(m=16, ef_construct=100, full_scan_threshold=10_000),
                optimizer_config=models.OptimizersConfig(
                    deleted_threshold=0.2, vacuum_min_vector_number=1000, default_segment_number=0, flush_interval_sec=5
                ),
                wal_config=models.WalConfig(wal_capacity_mb=32, wal_segments_ahead=0),
                quantization_config=body.quantization_config,
                metadata=dict(self.metadata),
            ),
        )


class Engine:
    """Collections and aliases. One call at a time: the tests are about what calls do to each other."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.collections: dict[str, Collection] = {}
        self.aliases: dict[str, str] = {}
        self.version = VERSION
        self.lock = threading.RLock()

    def __getitem__(self, name):
        found = self.collections.get(self.aliases.get(name, name))
        if found is None:
            raise Refusal(404, f"Not found: Collection `{name}` doesn't exist!")
        return found

    def has(self, name):
        return self.aliases.get(name, name) in self.collections

    def create(self, name, body):
        if self.has(name):
            raise Refusal(409, f"Wrong input: Collection `{name}` already exists!")
        made = sum(1 for _ in self.folder.iterdir())
        folder = self.folder / f"{made}-{name}"
        folder.mkdir()
        self.collections[name] = Collection(folder / "shard", body)

    def drop(self, name):
        found = self.collections.pop(name, None)
        self.aliases = {alias: target for alias, target in self.aliases.items() if target != name}
        if found is not None:
            found.shard.close()
        return found is not None

    def change_aliases(self, actions):
        aliases = dict(self.aliases)
        for action in actions:
            if isinstance(action, models.DeleteAliasOperation):
                aliases.pop(action.delete_alias.alias_name, None)
            else:
                aliases[action.create_alias.alias_name] = action.create_alias.collection_name
        self.aliases = aliases

    def close(self):
        for name in list(self.collections):
            self.drop(name)


def optimise(collection):
    """Build the graph, which a server does in the background."""
    while collection.shard.optimize():
        pass


def _config(body):
    hnsw, quantisation = body.hnsw_config, body.quantization_config
    return edge.EdgeConfig(
        vectors=edge.EdgeVectorParams(
            size=body.vectors.size,
            distance=edge.Distance.Euclid if body.vectors.distance == models.Distance.EUCLID else edge.Distance.Cosine,
            on_disk=body.vectors.on_disk,
        ),
        on_disk_payload=body.on_disk_payload,
        hnsw_config=hnsw
        and edge.HnswIndexConfig(
            m=hnsw.m, ef_construct=hnsw.ef_construct, full_scan_threshold=10, on_disk=hnsw.on_disk
        ),
        quantization_config=quantisation
        and edge.ScalarQuantizationConfig(
            edge.ScalarType.Int8, quantile=quantisation.scalar.quantile, always_ram=quantisation.scalar.always_ram
        ),
        wal_enabled=False,
        # In kilobytes; a server begins at 10,000 too, and the tests' collections are small.
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=10),
    )


def _search_params(params):
    if params is None:
        return None
    quantised = params.quantization
    return edge.SearchParams(
        hnsw_ef=params.hnsw_ef,
        exact=bool(params.exact),
        quantization=quantised
        and edge.QuantizationSearchParams(
            ignore=bool(quantised.ignore), rescore=quantised.rescore, oversampling=quantised.oversampling
        ),
    )


def _filter(told):
    if told is None:
        return None
    return edge.Filter(
        must=[_condition(each) for each in told.must or []] or None,
        must_not=[_condition(each) for each in told.must_not or []] or None,
    )


def _condition(told):
    if isinstance(told, models.HasIdCondition):
        return edge.HasIdCondition({str(key) for key in told.has_id})
    if told.match is not None:
        return edge.FieldCondition(key=told.key, match=edge.MatchAny(list(told.match.any)))
    return edge.FieldCondition(key=told.key, range=edge.RangeFloat(gt=told.range.gt))
