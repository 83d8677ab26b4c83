"""Lines come out of files in order, whatever the compression, and damage is told."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import zstandard

from tillstream.io.sources.files import read_lines
from tillstream.pipelines.errors import RecordError

LINES = [b'{"n":%d}' % n for n in range(1000)]
CONTENT = b"\r\n".join(LINES) + b"\n"


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_lines_come_whole_and_in_order(tmp_path: Path, suffix: str) -> None:
    """Plain, gzip and Zstandard files give the same lines, without their ends."""
    pack = {".jsonl": bytes, ".jsonl.gz": gzip.compress, ".jsonl.zst": zstandard.compress}[suffix]
    path = tmp_path / f"in{suffix}"
    path.write_bytes(pack(CONTENT))
    assert list(read_lines(path)) == LINES


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_file_that_is_cut_off_is_told_after_its_lines(tmp_path: Path, suffix: str) -> None:
    """What can be read is read; the rest is one error that names the file."""
    packed = gzip.compress(CONTENT) if suffix == ".gz" else zstandard.compress(CONTENT)
    path = tmp_path / f"in.jsonl{suffix}"
    path.write_bytes(packed[: len(packed) // 2] if suffix == ".gz" else b"\0" + packed)
    read = []
    with pytest.raises(RecordError) as caught:
        read.extend(read_lines(path))
    assert caught.value.reason == "unreadable_file"
    assert str(path) in caught.value.detail


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """A file that went away between listing and reading is an error record, not a crash."""
    with pytest.raises(RecordError, match="unreadable_file"):
        list(read_lines(tmp_path / "gone.jsonl"))
