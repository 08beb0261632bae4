"""The same engine over gRPC on 127.0.0.1, with Qdrant's own messages; faults are status codes."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc as wire
from qdrant_client import grpc
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_client.grpc.collections_service_pb2_grpc import CollectionsServicer, add_CollectionsServicer_to_server
from qdrant_client.grpc.points_service_pb2_grpc import PointsServicer, add_PointsServicer_to_server
from qdrant_client.grpc.qdrant_pb2_grpc import QdrantServicer, add_QdrantServicer_to_server
from qdrant_client.http import models
from qdrant_engine import Engine, Refusal

CODES = {400: wire.StatusCode.INVALID_ARGUMENT, 404: wire.StatusCode.NOT_FOUND, 409: wire.StatusCode.ALREADY_EXISTS}
DONE = grpc.UpdateResult(operation_id=0, status=grpc.UpdateStatus.Completed)


def own(request, name):
    """A message of a request, None where it was not set: protobuf gives an empty one."""
    return getattr(request, name) if request.HasField(name) else None


class Points(PointsServicer):
    def __init__(self, engine):
        self.engine = engine

    def Upsert(self, request, _context):  # noqa: N802
        assert request.wait
        points = [GrpcToRest.convert_point_struct(point) for point in request.points]
        self.engine[request.collection_name].upsert(points, GrpcToRest.convert_filter(request.update_filter))
        return grpc.PointsOperationResponse(result=DONE)

    def Delete(self, request, _context):  # noqa: N802
        assert request.wait
        selector = models.FilterSelector(filter=GrpcToRest.convert_filter(request.points.filter))
        self.engine[request.collection_name].delete(selector)
        return grpc.PointsOperationResponse(result=DONE)

    def Query(self, request, _context):  # noqa: N802
        asked, params = own(request, "filter"), own(request, "params")
        body = models.QueryRequest(
            query=GrpcToRest.convert_query(request.query),
            filter=asked and GrpcToRest.convert_filter(asked),
            params=params and GrpcToRest.convert_search_params(params),
            limit=request.limit,
        )
        points = self.engine[request.collection_name].query(body).points
        return grpc.QueryResponse(result=[RestToGrpc.convert_scored_point(point) for point in points])

    def Scroll(self, request, _context):  # noqa: N802
        offset = own(request, "offset")
        body = models.ScrollRequest(
            offset=offset and GrpcToRest.convert_point_id(offset),
            limit=request.limit,
            with_payload=list(request.with_payload.include.fields),
        )
        page = self.engine[request.collection_name].scroll(body)
        following = page.next_page_offset
        return grpc.ScrollResponse(
            result=[RestToGrpc.convert_record(record) for record in page.points],
            next_page_offset=RestToGrpc.convert_extended_point_id(following) if following else None,
        )

    def Count(self, request, _context):  # noqa: N802
        return grpc.CountResponse(result=grpc.CountResult(count=self.engine[request.collection_name].count().count))

    def CreateFieldIndex(self, request, _context):  # noqa: N802
        kinds = {grpc.FieldType.FieldTypeKeyword: "keyword", grpc.FieldType.FieldTypeInteger: "integer"}
        schema = models.PayloadSchemaType(kinds[request.field_type])
        self.engine[request.collection_name].index(request.field_name, schema)
        return grpc.PointsOperationResponse(result=DONE)


class Collections(CollectionsServicer):
    def __init__(self, engine):
        self.engine = engine

    def Get(self, request, _context):  # noqa: N802
        info = self.engine[request.collection_name].info()
        return grpc.GetCollectionInfoResponse(result=RestToGrpc.convert_collection_info(info))

    def List(self, _request, _context):  # noqa: N802
        return grpc.ListCollectionsResponse(
            collections=[grpc.CollectionDescription(name=name) for name in self.engine.collections]
        )

    def CollectionExists(self, request, _context):  # noqa: N802
        exists = grpc.CollectionExists(exists=self.engine.has(request.collection_name))
        return grpc.CollectionExistsResponse(result=exists)

    def Create(self, request, _context):  # noqa: N802
        quantisation = own(request, "quantization_config")
        body = models.CreateCollection(
            vectors=GrpcToRest.convert_vectors_config(request.vectors_config),
            hnsw_config=GrpcToRest.convert_hnsw_config_diff(request.hnsw_config),
            quantization_config=quantisation and GrpcToRest.convert_quantization_config(quantisation),
            on_disk_payload=request.on_disk_payload,
            shard_number=request.shard_number or None,
            replication_factor=request.replication_factor,
            write_consistency_factor=request.write_consistency_factor,
        )
        self.engine.create(request.collection_name, body)
        return grpc.CollectionOperationResponse(result=True)

    def Update(self, request, _context):  # noqa: N802
        self.engine[request.collection_name].merge(GrpcToRest.convert_payload(request.metadata))
        return grpc.CollectionOperationResponse(result=True)

    def Delete(self, request, _context):  # noqa: N802
        return grpc.CollectionOperationResponse(result=self.engine.drop(request.collection_name))

    def UpdateAliases(self, request, _context):  # noqa: N802
        self.engine.change_aliases([GrpcToRest.convert_alias_operations(action) for action in request.actions])
        return grpc.CollectionOperationResponse(result=True)

    def ListAliases(self, _request, _context):  # noqa: N802
        found = [grpc.AliasDescription(alias_name=a, collection_name=c) for a, c in self.engine.aliases.items()]
        return grpc.ListAliasesResponse(aliases=found)


class Root(QdrantServicer):
    def __init__(self, engine):
        self.engine = engine

    def HealthCheck(self, _request, _context):  # noqa: N802
        return grpc.HealthCheckReply(title="qdrant - vector search engine", version=self.engine.version)


class Door(wire.ServerInterceptor):
    """Fails calls as they are told, one call at a time, and turns refusals into status codes."""

    def __init__(self, engine, faults, asked, key):
        self.engine, self.faults, self.asked, self.key = engine, faults, asked, key

    def intercept_service(self, continuation, call):
        handler = continuation(call)
        shown = dict(call.invocation_metadata).get("api-key")
        self.asked.append(call.method)

        def answer(request, context):
            if self.key is not None and shown != self.key:
                context.abort(wire.StatusCode.UNAUTHENTICATED, "secret words")
            for fault in self.faults:
                if fault.times and fault.to in call.method:
                    fault.times -= 1
                    context.abort(fault.kind, "secret words")
            try:
                with self.engine.lock:
                    return handler.unary_unary(request, context)
            except Refusal as error:
                context.abort(CODES[error.status], error.text)

        return wire.unary_unary_rpc_method_handler(answer, handler.request_deserializer, handler.response_serializer)


@contextmanager
def served_grpc(engine: Engine, faults, asked, key=None):
    """The engine on a port of 127.0.0.1; gives the port."""
    server = wire.server(ThreadPoolExecutor(4), interceptors=[Door(engine, faults, asked, key)])
    add_PointsServicer_to_server(Points(engine), server)
    add_CollectionsServicer_to_server(Collections(engine), server)
    add_QdrantServicer_to_server(Root(engine), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()
