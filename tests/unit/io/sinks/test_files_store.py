"""Files and log in a folder: whatever call fails, and whoever else writes, nothing is lost or doubled."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from tillstream.configs import FilesSink as FilesSinkModel
from tillstream.io.sinks import Writer
from tillstream.io.sinks.files import FilesSink
from tillstream.io.sinks.files_store import FolderStore, committed_files
from tillstream.pipelines.errors import SinkUnavailableError
from tillstream.pipelines.records import MutationBatch

from .builders import batch, entity, upsert, written

CALLS = [
    (Path, "open"),
    (Path, "mkdir"),
    (Path, "hardlink_to"),
    (Path, "rename"),
    (Path, "unlink"),
    (Path, "read_bytes"),
    (Path, "iterdir"),
    (os, "fsync"),
]


class Disk:
    """Let one call of many fail, once or for good; `calls` counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self._fatal = -1
        self._when = ""
        self._error: BaseException | None = None
        for owner, name in CALLS:
            monkeypatch.setattr(owner, name, self._wrapped(getattr(owner, name)))

    def fail(self, call: int, when: str, error: BaseException) -> None:
        """Let the call of that number raise the error, before or after it did its part."""
        self.calls, self._fatal, self._when, self._error = 0, call, when, error

    def mend(self) -> None:
        """Let all calls pass."""
        self._error = None

    def _wrapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            error, place = self._error, self.calls
            self.calls += 1
            is_dead = isinstance(error, _KilledError) and place > self._fatal
            if error is not None and (is_dead or (place == self._fatal and self._when == "before")):
                raise error
            result = function(*arguments, **named)
            if error is not None and place == self._fatal:
                raise error
            return result

        return call


class _KilledError(BaseException):
    """Stand for SIGKILL: no call after it does anything."""


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Return a disk that works so far."""
    return Disk(monkeypatch)


def opened(folder: Path, *, generation: int = 1) -> FilesSink:
    """Return a sink that is open."""
    model = FilesSinkModel.model_validate({"type": "files", "path": str(folder)})
    sink = FilesSink("out", "acme", model, {"things": entity(id="int32")}, Writer(generation, 8, 2))
    sink.open()
    return sink


def numbered(sequence: int, shard: int = 0) -> MutationBatch:
    """Return a batch of one change at offset `sequence`."""
    made = batch("id", upsert(shard, offset=sequence))
    return msgspec.structs.replace(made, shard=shard, sequence=sequence, generation=1, first=1)


def offsets(paths: list[Path]) -> list[int]:
    """Return the offsets in files, in order."""
    return [orjson.loads(line)["_offset"] for path in paths for line in path.read_bytes().splitlines()]


def shown(folder: Path) -> list[Path]:
    """Return what a reader finds who knows of no log."""
    return sorted((folder / "things").glob("part-*"))


def test_files_sort_as_they_were_written(tmp_path: Path) -> None:
    """Names have the log's number, so a plain listing and the log give the same order."""
    sink = opened(tmp_path)
    for sequence in range(1, 13):
        written(sink, [numbered(sequence)])
    assert committed_files(tmp_path, "things") == shown(tmp_path)
    assert offsets(shown(tmp_path)) == list(range(1, 13))
    assert shown(tmp_path)[0].name.startswith("part-00000000000000000001-")
    assert committed_files(tmp_path, "others") == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_killed_at_any_call_loses_and_doubles_nothing(
    tmp_path: Path, disk: Disk, when: str
) -> None:
    """SIGKILL before or after each call of a start and two writes; the next process replays."""
    call, was_killed = 0, True
    while was_killed:
        folder = tmp_path / str(call)
        disk.fail(call, when, _KilledError())
        try:
            sink = opened(folder)
            written(sink, [numbered(1), numbered(1, 3)])
            written(sink, [numbered(2)])
            was_killed = False
        except _KilledError:
            pass
        disk.mend()
        listed = offsets(committed_files(folder, "things"))
        assert listed in ([], [1, 1], [1, 1, 2])
        written(opened(folder), [numbered(1), numbered(1, 3), numbered(2)])
        assert offsets(shown(folder)) == [1, 1, 2]
        assert committed_files(folder, "things") == shown(folder)
        call += 1
    assert call > 25


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_call_that_fails_once_costs_a_retry(tmp_path: Path, disk: Disk, when: str) -> None:
    """The disk fails at any call of a write: the same write goes on, and what it wrote is shown."""
    call, has_failed = 0, True
    while has_failed:
        folder = tmp_path / str(call)
        sink = opened(folder)
        written(sink, [numbered(1)])
        disk.fail(call, when, OSError(errno.EIO, "Input/output error"))
        written(sink, [numbered(2)])
        has_failed = disk.calls > call
        disk.mend()
        assert offsets(shown(folder)) == [1, 2]
        assert committed_files(folder, "things") == shown(folder)
        call += 1
    assert call > 9


def test_what_is_listed_is_read_before_it_is_shown(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash between entry and move, readers of the log have the file; the next start moves it."""
    sink = opened(tmp_path)
    with monkeypatch.context() as patch:

        def die(_: Path, __: Path) -> None:
            disk.fail(0, "before", _KilledError())
            raise _KilledError

        patch.setattr(Path, "rename", die)
        with pytest.raises(_KilledError):
            written(sink, [numbered(1)])
    disk.mend()
    assert shown(tmp_path) == []
    assert offsets(committed_files(tmp_path, "things")) == [1]
    opened(tmp_path)
    assert offsets(shown(tmp_path)) == [1]


def test_old_leftovers_go_and_young_ones_stay(tmp_path: Path) -> None:
    """What no entry lists is removed an hour later, and an entry says so to whoever still holds it."""
    written(opened(tmp_path), [numbered(1)])
    staged = tmp_path / "things" / "_staged"
    for name, age_s in (("old.jsonl", 7200), ("young.jsonl", 0)):
        (staged / name).write_bytes(b"")
        now = (staged / name).stat().st_mtime
        os.utime(staged / name, (now - age_s,) * 2)
    (tmp_path / "things" / "_log" / ".0a.tmp").touch()
    os.utime(tmp_path / "things" / "_log" / ".0a.tmp", (0, 0))
    sink = opened(tmp_path)
    assert [path.name for path in staged.iterdir()] == ["young.jsonl"]
    assert [path.name for path in (tmp_path / "things" / "_log").glob(".*")] == []
    assert FolderStore(tmp_path / "things", ".jsonl").last() == 2
    written(sink, [numbered(2)])
    assert offsets(shown(tmp_path)) == [1, 2]


def test_a_folder_that_vanished_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network folder goes and comes back: what is written meanwhile must not land in its stead."""
    sink = opened(tmp_path / "out")
    written(sink, [numbered(1)])
    (tmp_path / "out").rename(tmp_path / "gone")
    (tmp_path / "out" / "things").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr("tillstream.io.sinks.files._RETRY_S_MAX", 0)
        with pytest.raises(SinkUnavailableError):
            written(sink, [numbered(2)])
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "gone").rename(tmp_path / "out")
    written(sink, [numbered(2)])
    assert offsets(shown(tmp_path / "out")) == [1, 2]


def test_files_that_were_taken_away_are_not_missed(tmp_path: Path) -> None:
    """A reader may move a file on once it has it."""
    written(opened(tmp_path), [numbered(1)])
    shown(tmp_path)[0].unlink()
    written(opened(tmp_path), [numbered(1), numbered(2)])
    assert offsets(shown(tmp_path)) == [2]


def test_a_call_of_bad_rows_alone_lists_no_file(tmp_path: Path) -> None:
    """All rows come back as dead letters, and the next batch fits."""
    sink = opened(tmp_path)
    bad = msgspec.structs.replace(numbered(1), records=(upsert("\ud800", offset=1),))
    assert len(written(sink, [bad])) == 1
    assert shown(tmp_path) == []
    written(sink, [numbered(2)])
    assert offsets(shown(tmp_path)) == [2]


def test_names_are_settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entity's folder is synced: moves out of `_staged/` outlive the machine."""
    store = FolderStore(tmp_path, ".jsonl")
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    store.settle()
    assert synced == [tmp_path.stat().st_ino]


def test_many_writers_share_a_log(tmp_path: Path) -> None:
    """Four writers race with a shard each, and a fifth, asleep till then, repeats one of them."""
    rounds = 30
    start = threading.Barrier(5)

    def run(shard: int) -> None:
        sink = opened(tmp_path)
        start.wait(10)
        for sequence in range(1, rounds + 1):
            written(sink, [numbered(sequence, shard)])

    threads = [threading.Thread(target=run, args=(shard,)) for shard in (0, 1, 2, 3, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    lines = [orjson.loads(line) for path in shown(tmp_path) for line in path.read_bytes().splitlines()]
    for shard in range(4):
        assert [line["_offset"] for line in lines if line["id"] == shard] == list(range(1, rounds + 1))
    assert committed_files(tmp_path, "things") == shown(tmp_path)
    assert list((tmp_path / "things" / "_staged").iterdir()) == []
