"""Files come whole or not at all."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tillstream.io.sinks.part_files import create_only, part_name, remove_leftovers, write_part


def test_a_name_is_made_of_what_the_file_holds() -> None:
    """The same content has the same name, another has another, and names sort by where they begin."""
    assert part_name(5, b"a", ".jsonl") == "part-0000000000000005-40f89e395b66422f.jsonl"
    assert part_name(5, b"b", ".jsonl") != part_name(5, b"a", ".jsonl")
    assert part_name(-1, b"a", "") < part_name(9, b"a", "") < part_name(10, b"a", "")


def test_a_file_is_written_whole_and_again(tmp_path: Path) -> None:
    """The folder is made, the content is there, nothing else is, and a second time changes nothing."""
    for _ in range(2):
        write_part(tmp_path / "a" / "b", "part", b"content")
    assert {path.name: path.read_bytes() for path in (tmp_path / "a" / "b").iterdir()} == {"part": b"content"}


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk refuses, neither the file nor its temporary one stays."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tillstream.io.sinks.part_files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_part(tmp_path, "part", b"content")
    assert list(tmp_path.iterdir()) == []


def test_new_folders_are_on_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each folder that is made is synced within the one above it, before the file counts as written."""
    synced: list[int] = []
    monkeypatch.setattr(
        "tillstream.io.sinks.part_files.os.fsync",
        lambda descriptor: synced.append(os.fstat(descriptor).st_ino),
    )
    inner = tmp_path / "a" / "b"
    write_part(inner, "part", b"content")
    expected = [path.stat().st_ino for path in (tmp_path, tmp_path / "a", inner / "part", inner)]
    assert synced == expected


def test_only_old_leftovers_are_removed(tmp_path: Path) -> None:
    """Another writer's file of this moment stays, as does everything that is no temporary file."""
    old, young, part = tmp_path / ".0a.tmp", tmp_path / ".0b.tmp", tmp_path / "part-1"
    for path in (old, young, part):
        path.touch()
    for path in (old, part):
        os.utime(path, (time.time() - 7200,) * 2)
    remove_leftovers(tmp_path)
    remove_leftovers(tmp_path / "missing")
    assert sorted(tmp_path.iterdir()) == sorted([young, part])


def test_a_name_is_made_once(tmp_path: Path) -> None:
    """The first file of a name stays, whole; the second is told, and leaves nothing behind."""
    assert create_only(tmp_path, "one", b"first")
    assert not create_only(tmp_path, "one", b"second")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"one": b"first"}
