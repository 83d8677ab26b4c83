"""Readers see what a sink's own readers would."""

from __future__ import annotations

import json
from pathlib import Path

from tillstream.runners.verify.oracle import Change, Oracle, RowKey
from tillstream.runners.verify.sinks import FilesReader

_META = {"_source_time_us": 1, "_topic": "t", "_partition": 0, "_offset": 0, "_index": 0}
_ROW = {"id": 1, "version": 4, "balance": "1.00", "note": None}


def _write(folder: Path, name: str, *lines: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps({**_META, **line}) + "\n" for line in lines))


def test_files_are_read_in_order_and_once(tmp_path: Path) -> None:
    """Files that come later are found, temporary ones are not looked at."""
    row = RowKey("accounts", (1,))
    oracle = Oracle()
    oracle.add([Change(row, _ROW), Change(row, None)])
    reader = FilesReader(tmp_path)
    assert reader.newest() == 0
    _write(tmp_path / "accounts", "part-2.jsonl", {"_op": "delete", "id": 1})
    assert reader.compare(oracle).missing > 0
    _write(tmp_path / "accounts", "part-1.jsonl", {"_op": "upsert", **_ROW})
    _write(tmp_path / "accounts", ".part-3.tmp", {"_op": "upsert", **_ROW})
    assert reader.compare(oracle).is_exact
    assert reader.newest() == 4
