"""A real HTTP server on 127.0.0.1 that misbehaves as it is told."""

import re
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Loopback:
    """What the server holds, how it misbehaves, and what it was asked.

    ``cuts``: bytes after which the next answers end; ``stalls``: events that the next ones wait for after their
    first bytes; ``statuses``: what the next requests get instead of the
    file; ``versions``: pairs of ETag and content that the next answers switch to. A path under ``/official/``
    redirects to an address that is valid once, one under ``/plain/`` to ``plain``, another server.
    """

    def __init__(self, **files):
        self.files = files
        self.etag = '"1"'
        self.headers = {}
        self.cuts, self.stalls, self.statuses, self.versions = [], [], [], []
        self.ranges = self.if_range = self.length = True
        self.pause_s = 0.0
        self.plain = ""
        self.requests, self.signed, self.sent = [], set(), 0
        self.address = ""

    def url(self, name, *, through=""):
        return f"{self.address}/{through}{name}"

    @property
    def asked(self):
        """The ranges that were asked for."""
        return [headers.get("Range") for _path, headers in self.requests]


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        told = self.server.told
        told.requests.append((self.path, dict(self.headers)))
        if told.statuses and (status := told.statuses.pop(0)) != 200:
            self._end(status)
        elif self.path.startswith("/official/"):
            signed = f"/signed-{len(told.requests)}/{self.path.removeprefix('/official/')}"
            told.signed.add(signed)
            self._end(302, Location=signed)
        elif self.path.startswith("/plain/"):
            self._end(302, Location=told.plain)
        elif self.path.startswith("/signed-") and self.path not in told.signed:
            self._end(403)
        else:
            told.signed.discard(self.path)
            self._file(self.path.rpartition("/")[2])

    def _file(self, name):
        told = self.server.told
        if told.versions:
            told.etag, told.files[name] = told.versions.pop(0)
        if name not in told.files:
            self._end(404)
            return
        content, start, status, more = told.files[name], 0, 200, {}
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and told.ranges and (not told.if_range or self.headers.get("If-Range") == told.etag):
            start, status = int(wanted[1]), 206
            if start >= len(content):
                self._end(416, **{"Content-Range": f"bytes */{len(content)}"})
                return
            more["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if told.length:
            more["Content-Length"] = str(len(content) - start)
        self._head(status, **{"ETag": told.etag, "Content-Type": "binary/octet-stream", **more, **told.headers})
        self._body(content[start:])

    def _body(self, body):
        told = self.server.told
        cut = told.cuts.pop(0) if told.cuts else len(body)
        stall = told.stalls.pop(0) if told.stalls else None
        with suppress(OSError):  # who asked has left
            for place in range(0, min(cut, len(body)), 10_000):
                chunk = body[place : min(place + 10_000, cut)]
                self.wfile.write(chunk)
                told.sent += len(chunk)
                time.sleep(told.pause_s)
                if stall is not None:
                    stall.wait(60)
        self.close_connection = True

    def _head(self, status, **headers):
        self.send_response(status)
        for field, value in headers.items():
            self.send_header(field, value)
        self.end_headers()

    def _end(self, status, **headers):
        self._head(status, **{"Content-Length": "0", **headers})

    def log_message(self, *_arguments):
        pass


@contextmanager
def serving(told, certificate=None):
    """The server, until the end of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads, server.told = True, told
    told.address = f"http://127.0.0.1:{server.server_port}"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_arguments: None  # a client that trusts nobody is expected
        told.address = f"https://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def make_certificate(path):
    """A certificate for 127.0.0.1 that signs itself, with its key, in one PEM file."""
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=loopback -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*command.split(), "-keyout", str(path), "-out", f"{path}.crt"], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + path.with_name(f"{path.name}.crt").read_bytes())
    return path
