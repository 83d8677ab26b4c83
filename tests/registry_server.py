"""A schema registry for tests: the calls of Confluent's REST API that are needed to read messages.

Its answers are those of a real server (Apicurio Registry 2.6.13, its Confluent-compatible API, version 7).
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from typing_extensions import Self

__all__ = ["RegistryServer"]

Answer = tuple[int, bytes]


class RegistryServer:
    """Serve schemas on a port of this machine, and count who asks for what.

    Args:
        schemas: by id; a text is Avro, else all of the answer.
        subjects: answers by `subject/version`.
        login: `user:password` that everyone must show; None for none.
        tls: of the server; None for plain HTTP.

    Attributes:
        paths: what was asked for, in order.
        answers: functions that answer the next requests in place of the server, in order.
    """

    def __init__(
        self,
        schemas: Mapping[int, Any],
        subjects: Mapping[str, Any] | None = None,
        login: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.schemas = dict(schemas)
        self.subjects = dict(subjects or {})
        self.paths: list[str] = []
        self.answers: list[Callable[[], Answer]] = []
        self._login = None if login is None else f"Basic {base64.b64encode(login.encode()).decode()}"
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.paths.append(self.path)
                status, said = server.answer(self.path, self.headers.get("Authorization"))
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        """Start to serve."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def answer(self, path: str, login: str | None) -> Answer:
        """Return status and body of an answer."""
        if self.answers:
            return self.answers.pop(0)()
        if self._login is not None and login != self._login:
            return 401, b'{"error_code":401,"message":"Unauthorized"}'
        parts = path.strip("/").split("/")
        if parts[:2] == ["schemas", "ids"]:
            return _found(self.schemas.get(int(parts[2])), 40403, "No content with id/hash was found.")
        return _found(self.subjects.get(f"{parts[1]}/{parts[3]}"), 40402, "No version was found.")


def _found(found: Any, code: int, message: str) -> Answer:
    if found is None:
        return 404, json.dumps({"error_code": code, "message": message}).encode()
    return 200, json.dumps({"schema": found, "references": []} if isinstance(found, str) else found).encode()
