"""Look behind the files sink."""

from __future__ import annotations

import errno
import gzip
import os
import threading
from pathlib import Path
from typing import Any

import fastavro
import orjson
import pyarrow.parquet as pq
import pytest

from tillstream.configs import FilesSink
from tillstream.io.sinks import Sink, Writer, sink_class
from tillstream.io.sinks.files_store import committed_files

from .sink_rigs import ENTITIES, Rig, replayed


class FilesRig(Rig):
    """Look behind the files sink: its rows are what replaying its log gives."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, form: str, compression: str) -> None:
        super().__init__()
        self._folder, self._monkeypatch = folder, monkeypatch
        self._free = threading.Event()
        self._model = FilesSink.model_validate(
            {"type": "files", "path": str(folder), "format": form, "compression": compression}
        )

    def sink(self, *, retry_s_max: int = 60, writer: Writer | None = None) -> Sink:
        """Return a sink that writes into the folder."""
        self._monkeypatch.setattr("tillstream.io.sinks.files._RETRY_S_MAX", retry_s_max)
        return sink_class("files")("sink", "acme", self._model, ENTITIES, writer)

    def rows(self, entity: str) -> list[tuple[Any, ...]]:
        """Replay the log of an entity, read as often as it was written."""
        return replayed(
            entity, sorted(self._lines(entity), key=lambda line: (line["_offset"], line["_index"]))
        )

    def log(self, entity: str) -> list[int] | None:
        """Return the offsets of all lines."""
        return [line["_offset"] for line in self._lines(entity)]

    def letters(self) -> list[dict[str, Any]]:
        """Return the lines of all files of dead letters."""
        return self._lines("_dead_letters")

    def take_away(self) -> None:
        """Fill the disk."""

        def full(_: int) -> None:
            self.refused_once.set()
            raise OSError(errno.ENOSPC, "No space left on device")

        self._monkeypatch.setattr("tillstream.io.sinks.part_files.os.fsync", full)

    def bring_back(self) -> None:
        """Make room."""
        self._monkeypatch.setattr("tillstream.io.sinks.part_files.os.fsync", _FSYNC)

    def hold(self) -> None:
        """Make the disk wait."""
        self._free.clear()

        def slow(number: int) -> None:
            self._free.wait(30)
            _FSYNC(number)

        self._monkeypatch.setattr("tillstream.io.sinks.part_files.os.fsync", slow)

    def let_go(self) -> None:
        """Let the disk go on."""
        self.bring_back()
        self._free.set()

    def die_before_commit(self) -> None:
        """Let the disk fail when the data file is there, and its entry not yet."""
        link = Path.hardlink_to

        def fail(path: Path, target: Path) -> None:
            self._monkeypatch.setattr(Path, "hardlink_to", link)
            raise OSError(errno.EIO, f"Input/output error: {path} to {target}")

        self._monkeypatch.setattr(Path, "hardlink_to", fail)

    def _lines(self, folder: str) -> list[dict[str, Any]]:
        # Dead letters have no log.
        paths = sorted((self._folder / folder).glob("part-*"))
        listed = committed_files(self._folder, folder)
        assert listed in ([], paths)
        return [line for path in paths for line in _lines(path)]


_FSYNC = os.fsync


def _lines(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        table: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return table
    if path.suffix == ".avro":
        with path.open("rb") as file:
            return [line for line in fastavro.reader(file) if isinstance(line, dict)]
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    return [orjson.loads(line) for line in content.splitlines()]
