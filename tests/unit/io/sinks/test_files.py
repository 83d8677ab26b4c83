"""Changes become files, one an entity and call."""

from __future__ import annotations

import errno
import gzip
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
import zstandard

from tillstream.configs import Entity
from tillstream.configs import FilesSink as FilesSinkModel
from tillstream.io.sinks.files import FilesSink
from tillstream.pipelines.errors import SinkError
from tillstream.pipelines.records import DeadLetter

from .builders import TIME_US, batch, delete, entity, upsert, written


def opened(folder: Path, things: Entity, **changes: Any) -> FilesSink:
    """Return a sink that is open."""
    model = FilesSinkModel.model_validate({"type": "files", "path": str(folder), **changes})
    sink = FilesSink("out", "acme", model, {"things": things, "others": things})
    sink.open()
    return sink


def parts(folder: Path) -> list[Path]:
    """Return an entity's files by name."""
    return sorted(folder.glob("*"))


def test_all_changes_are_kept_in_order(tmp_path: Path) -> None:
    """A log is written: nothing collapses, deletes carry the key, and each line has its provenance."""
    sink = opened(tmp_path, entity(id="int32", name="string"))
    batches = [
        batch("id name", upsert(1, "a"), delete(1, offset=1)),
        batch("id name", upsert(1, "b", offset=2)),
        batch("id name", upsert(5, "c"), entity="others"),
    ]
    assert written(sink, batches) == []
    (path,) = parts(tmp_path / "things")
    assert path.name.startswith(f"part-{TIME_US}-")
    place = {"_topic": "t", "_partition": 3, "_index": 0}
    assert [orjson.loads(line) for line in path.read_bytes().splitlines()] == [
        {"_op": "upsert", "_source_time_us": TIME_US, "_offset": 0, **place, "id": 1, "name": "a"},
        {"_op": "delete", "_source_time_us": TIME_US + 1, "_offset": 1, **place, "id": 1},
        {"_op": "upsert", "_source_time_us": TIME_US + 2, "_offset": 2, **place, "id": 1, "name": "b"},
    ]
    assert len(parts(tmp_path / "others")) == 1


@pytest.mark.parametrize("form", ["jsonl", "parquet", "avro"])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_the_same_batches_give_the_same_file(tmp_path: Path, form: str, compression: str) -> None:
    """Writing again, also by another sink, changes neither names nor contents; other changes come beside."""
    batches = [batch("id name", *[upsert(i, f"name {i}", offset=i) for i in range(100)])]
    for _ in range(2):
        written(
            opened(tmp_path, entity(id="int32", name="string"), format=form, compression=compression), batches
        )
    assert len(parts(tmp_path / "things")) == 1
    sink = opened(tmp_path, entity(id="int32", name="string"), format=form, compression=compression)
    written(sink, [batch("id name", upsert(1, "other"))])
    assert len(parts(tmp_path / "things")) == 2


@pytest.mark.parametrize(
    ("compression", "suffix", "decompress"),
    [("gzip", ".jsonl.gz", gzip.decompress), ("zstd", ".jsonl.zst", zstandard.decompress)],
)
def test_lines_are_compressed(tmp_path: Path, compression: str, suffix: str, decompress: Any) -> None:
    """The file's name tells its compression, and its lines come back."""
    written(opened(tmp_path, entity(id="int32"), compression=compression), [batch("id", upsert(1))])
    (path,) = parts(tmp_path / "things")
    assert path.name.endswith(suffix)
    assert orjson.loads(decompress(path.read_bytes()))["id"] == 1


def test_without_contract_rows_pass_as_they_are(tmp_path: Path) -> None:
    """Columns may differ from batch to batch, and values may be nested."""
    sink = opened(tmp_path, entity())
    written(
        sink,
        [batch("id a", upsert(1, {"x": [1]})), batch("id b c", upsert(2, None, "y", offset=1), delete(1))],
    )
    (path,) = parts(tmp_path / "things")
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    columns = [{name: value for name, value in line.items() if name[0] != "_"} for line in lines]
    assert columns == [{"id": 1, "a": {"x": [1]}}, {"id": 2, "b": None, "c": "y"}, {"id": 1}]


def test_floats_that_json_lacks_are_spelt(tmp_path: Path) -> None:
    """NaN and the infinities do not become null."""
    sink = opened(tmp_path, entity(id="int32", ratio="float64"))
    values = [0.5, float("nan"), None, float("-inf")]
    records = [upsert(i, value, offset=i) for i, value in enumerate(values)]
    written(sink, [batch("id ratio", *records, delete(9, offset=9))])
    lines = parts(tmp_path / "things")[0].read_bytes().splitlines()
    assert [orjson.loads(line).get("ratio") for line in lines] == [0.5, "NaN", None, "-Infinity", None]


def test_a_call_of_bad_rows_alone_writes_no_file(tmp_path: Path) -> None:
    """All rows come back as dead letters, and no empty file is left."""
    sink = opened(tmp_path, entity(id="int32", n="int16"), format="parquet")
    letters = written(sink, [batch("id n", upsert(1, 99_999), upsert(2, "x", offset=1))])
    assert [letter.offset for letter in letters] == [0, 1]
    assert written(sink, [batch("id n")]) == []
    assert parts(tmp_path / "things") == []


@pytest.mark.parametrize("form", ["parquet", "avro"])
def test_typed_formats_need_a_contract(tmp_path: Path, form: str) -> None:
    """Without types there is neither Parquet nor Avro: said when the sink opens."""
    with pytest.raises(SinkError, match=f"entity 'things': found no contract, expected one: {form} needs"):
        opened(tmp_path, entity(), format=form)


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    """What retrying cannot cure is said at once, with what to check."""
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match=r"sink out: cannot write under .*: check that it is a folder"):
        opened(tmp_path / "file" / "out", entity(id="int32"))


def test_a_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    """Who tidies between two writes does not stop the sink."""
    sink = opened(tmp_path / "out", entity(id="int32"))
    (tmp_path / "out").rmdir()
    written(sink, [batch("id", upsert(1))])
    assert len(parts(tmp_path / "out" / "things")) == 1


def test_a_full_disk_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One failure of the disk costs a retry, no row."""
    sink = opened(tmp_path, entity(id="int32"))
    failures = iter([OSError(errno.EIO, "Input/output error")])

    def flaky(_: int) -> None:
        for failure in failures:
            raise failure

    monkeypatch.setattr("tillstream.io.sinks.part_files.os.fsync", flaky)
    written(sink, [batch("id", upsert(1))])
    assert len(parts(tmp_path / "things")) == 1


def test_dead_letters_tell_bytes_from_text(tmp_path: Path) -> None:
    """A payload is text where it can be, base64 beside it where not."""
    sink = opened(tmp_path, entity(id="int32"))
    sink.write_dead_letters(
        [
            DeadLetter("acme", "things", "read", "malformed", "no JSON", "t", 0, 7, key=b"k", payload=b"{"),
            DeadLetter("acme", None, "read", "malformed", "no JSON", "t", 0, 8, payload=b"\xff"),
        ]
    )
    sink.write_dead_letters([])
    (path,) = parts(tmp_path / "_dead_letters")
    first, second = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert (first["key"], first["payload"], first["offset"], first["step"]) == ("k", "{", 7, "read")
    assert "payload_base64" not in first
    assert (second["payload"], second["payload_base64"], second["entity"]) == (None, "/w==", None)


def test_a_float_that_evolved_keeps_its_words(tmp_path: Path) -> None:
    """JSON has no numerals for them, and the contract does not know of the column."""
    sink = opened(tmp_path, entity(id="int32"))
    grown = msgspec.structs.replace(
        batch("id new list", upsert(1, float("nan"), [1.5, "-Infinity", None])),
        evolved=(("new", "float64 declared"), ("list", "array(float64) declared")),
    )
    assert written(sink, [grown]) == []
    (path,) = parts(tmp_path / "things")
    row = orjson.loads(path.read_bytes())
    assert (row["new"], row["list"]) == ("NaN", [1.5, "-Infinity", None])
