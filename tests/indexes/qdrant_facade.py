"""Qdrant over real HTTP on 127.0.0.1, as far as SonoSeek speaks to it, with faults as they are told."""

import asyncio
import json
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from qdrant_client.http import models
from qdrant_engine import Engine, Refusal


@dataclass
class Fault:
    """What happens to the next ``times`` requests whose method and path hold ``to``.

    ``kind``: a status, ``none``, ``timeout``, or ``cut``: the connection ends ``before`` anything is done, after
    ``half`` of the points, or ``after`` everything, and always before the answer is complete.
    """

    kind: str | int
    to: str = ""
    times: int = 1
    retry_after: int | None = None
    when: str = "before"


def facade(engine: Engine) -> FastAPI:
    """The routes that SonoSeek uses."""
    app = FastAPI()
    server_routes(app, engine)
    collection_routes(app, engine)
    writing_routes(app, engine)
    reading_routes(app, engine)

    @app.exception_handler(Refusal)
    def refused(_request, error):
        return JSONResponse({"status": {"error": error.text}, "time": 0.0}, error.status)

    return app


def server_routes(app, engine):
    @app.get("/")
    def root():
        return models.VersionInfo(title="qdrant - vector search engine", version=engine.version)

    @app.get("/collections")
    def collections():
        names = [models.CollectionDescription(name=name) for name in engine.collections]
        return ok(models.CollectionsResponse(collections=names))

    @app.get("/aliases")
    def aliases():
        found = [models.AliasDescription(alias_name=a, collection_name=c) for a, c in engine.aliases.items()]
        return ok(models.CollectionsAliasesResponse(aliases=found))

    @app.post("/collections/aliases")
    def change_aliases(body: models.ChangeAliasesOperation):
        engine.change_aliases(body.actions)
        return ok(True)


def collection_routes(app, engine):
    @app.get("/collections/{name}/exists")
    def exists(name: str):
        return ok(models.CollectionExistence(exists=engine.has(name)))

    @app.get("/collections/{name}")
    def info(name: str):
        return ok(engine[name].info())

    @app.put("/collections/{name}")
    def create(name: str, body: models.CreateCollection):
        with engine.lock:
            engine.create(name, body)
        return ok(True)

    @app.patch("/collections/{name}")
    def update(name: str, body: models.UpdateCollection):
        engine[name].merge(body.metadata or {})
        return ok(True)

    @app.delete("/collections/{name}")
    def drop(name: str):
        return ok(engine.drop(name))


def writing_routes(app, engine):
    @app.put("/collections/{name}/index")
    def index(name: str, body: models.CreateFieldIndex):
        with engine.lock:
            engine[name].index(body.field_name, body.field_schema)
        return ok(DONE)

    @app.put("/collections/{name}/points")
    def upsert(name: str, body: models.PointsList, wait: bool = False):
        assert wait
        with engine.lock:
            engine[name].upsert(body.points, body.update_filter)
        return ok(DONE)

    @app.post("/collections/{name}/points/delete")
    def delete(name: str, body: models.FilterSelector, wait: bool = False):
        assert wait
        with engine.lock:
            engine[name].delete(body)
        return ok(DONE)


def reading_routes(app, engine):
    @app.post("/collections/{name}/points/query")
    def query(name: str, body: models.QueryRequest):
        with engine.lock:
            return ok(engine[name].query(body))

    @app.post("/collections/{name}/points/scroll")
    def scroll(name: str, body: models.ScrollRequest):
        with engine.lock:
            return ok(engine[name].scroll(body))

    @app.post("/collections/{name}/points/count")
    def count(name: str, body: models.CountRequest):
        assert body.exact
        return ok(engine[name].count())


DONE = models.UpdateResult(operation_id=0, status=models.UpdateStatus.COMPLETED)


def ok(result):
    """The envelope of every answer."""
    return {"result": result, "status": "ok", "time": 0.0}


class Faulty:
    """The facade behind a door at which requests fail as they are told; ``keys`` are those that were shown."""

    def __init__(self, app, faults, asked, key=None):
        self.app, self.faults, self.asked, self.key = app, faults, asked, key

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request = f"{scope['method']} {scope['path']}"
        self.asked.append(request)
        if self.key is not None and dict(scope["headers"]).get(b"api-key") != self.key.encode():
            return await self._status(send, 401)
        fault = self._next(request)
        if fault is None or fault.kind == "none":
            return await self.app(scope, receive, send)
        if fault.kind == "timeout":
            await asyncio.sleep(1.3)
            return await self._status(send, 500)
        if fault.kind == "cut":
            return await self._cut(fault, scope, receive, send)
        return await self._status(send, fault.kind, fault.retry_after)

    def _next(self, request):
        for fault in self.faults:
            if fault.times and fault.to in request:
                fault.times -= 1
                return fault
        return None

    async def _status(self, send, status, retry_after=None):
        headers = [(b"retry-after", str(retry_after).encode())] if retry_after else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"status": {"error": "secret words"}}'})

    async def _cut(self, fault, scope, receive, send):
        if fault.when != "before":
            body = await _whole(receive)
            if fault.when == "half":
                told = json.loads(body)
                told["points"] = told["points"][: len(told["points"]) // 2]
                body = json.dumps(told).encode()
            await self.app(scope, _given(body), _nowhere)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
        await send({"type": "http.response.body", "body": b'{"result', "more_body": True})


async def _whole(receive):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


def _given(body):
    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _nowhere(_message):
    return None


@contextmanager
def served(app):
    """An ASGI application on a port of 127.0.0.1; gives its address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
