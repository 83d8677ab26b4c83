"""Be an HTTP service that takes rows, honours Idempotency-Key, and misbehaves on demand."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, TypeAlias

import orjson

Misbehave: TypeAlias = Callable[["Request"], None]


class Received(NamedTuple):
    """Hold what one request brought.

    Attributes:
        path: of its URL.
        headers: by name.
        rows: out of its body.
    """

    path: str
    headers: dict[str, str]
    rows: list[dict[str, Any]]


class Request(BaseHTTPRequestHandler):
    """Answer one request."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        """Take rows, or do what was planned instead."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        is_array = self.headers["Content-Type"] == "application/json"
        self.rows = orjson.loads(body) if is_array else [orjson.loads(line) for line in body.splitlines()]
        service = self.server.service
        service.requests.append(Received(self.path, dict(self.headers), self.rows))
        service.connections.append(self.connection)
        service.free.wait(30)
        planned = service.planned.pop(0) if service.planned else service.always
        planned(self)

    def apply(self) -> None:
        """Take the rows, but not twice under one key."""
        service, key = self.server.service, self.headers["Idempotency-Key"]
        with service.lock:
            if key not in service.keys:
                service.keys.add(key)
                service.taken.setdefault(self.path.rpartition("/")[2], []).extend(self.rows)

    def answer(self, status: int, text: str = "", **headers: str) -> None:
        """Answer with a status and a text."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(text))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(text.encode())

    def hang_up(self) -> None:
        """Close the connection as it is."""
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Be silent."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    service: Service

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be silent where a client has gone."""


def take(request: Request) -> None:
    """Do as a good service does."""
    request.apply()
    request.answer(204)


class Service:
    """Run the service in threads.

    Attributes:
        requests: all that came.
        connections: on which they came.
        taken: rows by the last part of the path, in order.
        keys: the idempotency keys that it has seen.
        planned: what to do with the next requests, in order.
        always: what to do with others.
        free: while it is not set, requests wait.
    """

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.connections: list[socket.socket] = []
        self.taken: dict[str, list[dict[str, Any]]] = {}
        self.keys: set[str] = set()
        self.planned: list[Misbehave] = []
        self.always: Misbehave = take
        self.free = threading.Event()
        self.free.set()
        self.lock = threading.Lock()
        self._server: _Server | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        """Return where it takes rows of an entity."""
        return f"http://127.0.0.1:{self.port}/rows/{{entity}}"

    def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = _Server(("127.0.0.1", self.port), Request)
        self._server.service = self
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
