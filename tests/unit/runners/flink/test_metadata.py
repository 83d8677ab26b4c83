"""What Flink writes beside a checkpoint is read without Flink: a recorded one, and spoiled ones."""

from __future__ import annotations

import struct
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest
from apache_beam.io.filesystem import FileMetadata, MatchResult
from apache_beam.io.filesystems import FileSystems

from tillstream.pipelines.errors import UserError
from tillstream.runners.flink import checkpoints
from tillstream.runners.flink.checkpoints import newest_below, newest_beside, read_checkpoint
from tillstream.runners.flink.metadata import decode_metadata
from tillstream.runners.flink.state_names import state_names

READ = "0def005a15a8b885fa4b18458c916854"
TRANSFORM = "838f3036d9f1d2e624679e78876a437d"
WRITE = "a7f9c63134da93ae0d3ea07d38648dcd"
OPERATOR = bytes(range(16))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Return the folder of a checkpoint that Flink 1.19.3 wrote of a job with one entity and one sink."""
    with zipfile.ZipFile(Path(__file__).with_name("recorded") / "checkpoint.zip") as recorded:
        recorded.extractall(tmp_path / "chk")
    return tmp_path / "chk"


def test_a_recorded_checkpoint_is_read(checkpoint: Path) -> None:
    """Its operators, their sizes, and the names of what they keep."""
    found = read_checkpoint(checkpoint.as_uri())
    assert found.version == 4
    assert found.checkpoint_id > 0
    assert len(found.operators) == 5
    assert set(found.held()) == {READ, TRANSFORM, WRITE}
    assert {(each.parallelism, each.max_parallelism) for each in found.operators.values()} == {(1, 128)}
    assert found.operators[READ].size == 47640
    assert found.operators[WRITE].names == ("notYetAcknowledgedSnapshots",)
    assert found.states is not None
    assert {"shard_head", "shard_log", "held_head", "held_log"} <= set(found.states[TRANSFORM])
    assert "offset" in found.states[READ]
    assert {"keyed", "stable-input-buffer0"} <= set(found.states[WRITE])


def test_without_its_files_the_names_are_not_known(checkpoint: Path) -> None:
    """The rest is in the metadata, which may lie by itself."""
    for each in checkpoint.iterdir():
        if each.name != "_metadata":
            each.unlink()
    found = read_checkpoint(str(checkpoint / "_metadata"))
    assert set(found.held()) == {READ, TRANSFORM, WRITE}
    assert found.states == {}


def test_a_cut_file_is_told_wherever_it_is_cut(checkpoint: Path) -> None:
    """No cut passes for a whole one, and none is read for ever."""
    content = (checkpoint / "_metadata").read_bytes()
    # The properties at the end are not read.
    operators = decode_metadata(content).operators
    for end in [*range(200), *range(200, len(content) - 600, 997)]:
        with pytest.raises(ValueError, match="found "):
            decode_metadata(content[:end])
    assert operators


def _file(*parts: bytes, version: int = 4) -> bytes:
    return struct.pack(">iiqi", 0x4960672D, version, 7, 0) + b"".join(parts)


def _text(value: str) -> bytes:
    return struct.pack(">H", len(value)) + value.encode()


def test_what_other_backends_write_is_read() -> None:
    """RocksDB's tables count as state; a finished operator and an empty list do not."""
    tables = struct.pack(">i", 1) + _text("000011.sst") + b"\x02" + struct.pack(">q", 900) + _text("file:/t")
    incremental = (
        b"\x0b"
        + struct.pack(">q", 7)
        + _text("backend")
        + struct.pack(">iiq", 0, 128, 1000)
        + (b"\x01" + _text("meta") + struct.pack(">i", 3) + b"abc")
        + tables
        + struct.pack(">i", 0)
        + _text("handle")
    )
    empty = b"\x04" + struct.pack(">i", 1) + _text("list") + b"\x00" + struct.pack(">i", 0) + b"\x00"
    subtask = (
        struct.pack(">i", 0) + struct.pack(">i", 1) + empty + struct.pack(">i", 0) + incremental + b"\x00"
    )
    first = OPERATOR + struct.pack(">ii", 2, 128) + b"\x00" + struct.pack(">i", 1) + subtask + bytes(8)
    finished = bytes(16) + struct.pack(">ii", 2, 128) + b"\x00" + struct.pack(">i", -1)
    found = decode_metadata(_file(struct.pack(">i", 2), first, finished, version=3))
    assert found.operators[OPERATOR.hex()].size == 903
    assert found.operators[OPERATOR.hex()].keyed[0].content == b"abc"
    assert set(found.held()) == {OPERATOR.hex()}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "another kind of file"),
        (b"PK\x03\x04 a jar", "another kind of file"),
        (_file(version=9), "metadata version 9, expected 3 or 4"),
        (_file(struct.pack(">i", 1_000_000)), "a count of 1000000"),
        (
            _file(
                struct.pack(">i", 1),
                OPERATOR + struct.pack(">ii", 1, 128) + b"\x00" + struct.pack(">iiii", 1, 0, 0, 0) + b"\x0e",
            ),
            "changelog backend",
        ),
        (
            _file(
                struct.pack(">i", 1),
                OPERATOR + struct.pack(">ii", 1, 128) + b"\x00" + struct.pack(">iiii", 1, 0, 0, 0) + b"\x63",
            ),
            "kind 99",
        ),
    ],
)
def test_a_foreign_file_is_refused(content: bytes, text: str, tmp_path: Path) -> None:
    """What it is not is said, with the file's name."""
    (tmp_path / "_metadata").write_bytes(content.ljust(40, b"\0") if len(content) > 30 else content)
    with pytest.raises(UserError, match=rf"_metadata: found .*{text}|_metadata: .*{text}"):
        read_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("hdfs://namenode/chk-1", "found files of hdfs:, expected file:, gs:// or s3://"),
        ("file:/nowhere/chk-1", "/nowhere/chk-1/_metadata: found No such file or directory"),
    ],
)
def test_what_is_out_of_reach_is_told(path: str, text: str) -> None:
    """A person reads where it would have been, and what to do."""
    with pytest.raises(UserError, match=text):
        read_checkpoint(path)


def test_other_files_have_no_names() -> None:
    """Only the head of a keyed backend's file tells names."""
    assert state_names(b"") is None
    assert state_names(b"SSTx") is None
    assert state_names(struct.pack(">i", 6)) == ()


def test_a_store_without_its_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beam knows s3:// once its extra is installed; which one is said."""

    def opened(address: str) -> Any:
        raise ValueError(address)

    monkeypatch.setattr(FileSystems, "open", opened)
    with pytest.raises(
        UserError, match=r"s3a://bucket/chk-1/_metadata: found no way .* 'apache-beam\[aws\]'"
    ):
        read_checkpoint("s3a://bucket/chk-1")


def test_a_remote_checkpoint_is_read_through_beam(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the addresses that Beam knows, whatever Flink's own scheme of the store is."""
    asked = []

    def opened(address: str) -> Any:
        asked.append(address)
        return (checkpoint / address.rpartition("/")[2]).open("rb")

    monkeypatch.setattr(FileSystems, "open", opened)
    found = read_checkpoint("s3p://bucket/jobs/chk-62/")
    assert asked[0] == "s3://bucket/jobs/chk-62/_metadata"
    assert found.states is not None
    assert "offset" in found.states[READ]


def test_the_newest_of_a_folder_is_found(tmp_path: Path) -> None:
    """By its number, whole ones only; elsewhere nobody lists."""
    for name in ("chk-9", "chk-10", "chk-x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "_metadata").touch()
    (tmp_path / "chk-11").mkdir()
    assert newest_beside(f"{tmp_path.as_uri()}/chk-7") == f"{tmp_path}/chk-10"
    assert newest_beside("gs://bucket/chk-7") is None
    assert newest_beside("/nowhere/chk-7") is None
    assert newest_below(tmp_path.as_uri()) == f"{tmp_path}/chk-10"
    assert newest_below(str(tmp_path / "chk-9")) is None
    with pytest.raises(UserError, match="found no such folder here"):
        newest_below("file:/nowhere")


def test_the_newest_is_found_in_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through Beam, which is given options: its s3:// fails without."""
    found = [FileMetadata(f"s3://bucket/ab/chk-{number}/_metadata", 1) for number in (9, 10)]
    asked = []

    def match(patterns: list[str]) -> Any:
        asked.extend([*patterns, FileSystems._pipeline_options])
        return [MatchResult(patterns[0], found)]

    monkeypatch.setattr(FileSystems, "match", match)
    assert newest_below("s3p://bucket/ab") == "s3p://bucket/ab/chk-10"
    assert asked[0] == "s3://bucket/ab/chk-*/_metadata"
    assert asked[1] is not None


def test_a_store_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beam would try again for minutes."""
    over = threading.Event()
    monkeypatch.setattr(FileSystems, "match", lambda _: over.wait())
    monkeypatch.setattr(checkpoints, "_REMOTE_DEADLINE_S", 0.01)
    with pytest.raises(UserError, match="found no answer within"):
        newest_below("s3://bucket/ab")
    over.set()
