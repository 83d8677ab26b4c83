"""Look behind the HTTP sink."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tillstream.configs import HttpSink
from tillstream.io.sinks import Sink, Writer, sink_class

from .http_service import Service
from .sink_rigs import ENTITIES, Rig, Seen, replayed


class HttpRig(Rig):
    """Look behind the HTTP sink: its rows are what replaying what the service took gives."""

    def __init__(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.service = service
        logger = logging.getLogger("tillstream.io.sinks.http_client")
        monkeypatch.setattr(logger, "handlers", [Seen(self.refused_once)])

    def sink(self, *, retry_s_max: int = 60, writer: Writer | None = None, **model: Any) -> Sink:
        """Return a sink that posts to the service."""
        fields = {"type": "http", "url": self.service.url, "retry_s_max": retry_s_max, **model}
        return sink_class("http")("sink", "acme", HttpSink.model_validate(fields), ENTITIES, writer)

    def rows(self, entity: str) -> list[tuple[Any, ...]]:
        """Replay what the service took of an entity."""
        return replayed(entity, self.service.taken.get(entity, []))

    def log(self, entity: str) -> list[int] | None:
        """Return the offsets that the service took."""
        return [line["_offset"] for line in self.service.taken.get(entity, [])]

    def letters(self) -> list[dict[str, Any]]:
        """Return the dead letters that the service took."""
        return self.service.taken.get("tillstream_dead_letters", [])

    def take_away(self) -> None:
        """Let nobody listen."""
        self.service.stop()

    def bring_back(self) -> None:
        """Listen again."""
        self.service.start()

    def hold(self) -> None:
        """Let requests wait for their answer."""
        self.service.free.clear()

    def let_go(self) -> None:
        """Answer them."""
        self.service.free.set()
