"""Real events of the connector are decoded to the rows that the source had, whatever form they have."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.corpus.conformance.connect_avro import avro_schema, avro_value, body
from tests.corpus.schema import COLUMNS, REFUSED, expected, rows
from tillstream.configs import ClientConfig, Entity
from tillstream.io.codecs.base import EVERY_SHARD, Codec, codec_for
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import ChangeRecord
from tillstream.transforms.contracts.compiled import CompiledContract

FOLDER = Path(__file__).parents[2] / "corpus"
RECORDINGS = ("plain", "schemas", "defaults")
_ADDED = 100  # to the keys of rows that came after the snapshot
_SIZE_MAX = 300_000


@cache
def messages(recording: str) -> list[dict[str, Any]]:
    """Return the messages of a recording in the order of their topics and offsets."""
    lines = gzip.decompress((FOLDER / f"{recording}.jsonl.gz").read_bytes()).decode().splitlines()
    return [json.loads(line) for line in lines]


def contract(recording: str) -> dict[str, str]:
    """Return the types of the table of types."""
    return {
        "id": "int32",
        **{name: typed.contracts.get(recording, typed.contract) for name, typed in COLUMNS.items()},
    }


def codec(recording: str, table: str, events: dict[str, Any] | None = None, **described: Any) -> Codec:
    """Return the codec of a table; of Debezium's JSON unless `events` say something else."""
    entity = {"topic": f"{recording}.{recording}.{table}", "sinks": ["files"], **described}
    points = {"columns": {"types": {"spot": {"geometry": True}}}}
    if recording != "plain" or table != "types":
        points = {}  # schemas tell
    return codec_for(
        ClientConfig.model_validate(
            {
                "client": "corpus",
                "source": {"kafka": {"bootstrap_servers": "127.0.0.1:9092"}, "events": events or points},
                "entities": {table: entity},
                "sinks": {"files": {"type": "files", "path": "/nowhere"}},
            }
        ),
        table,
    )


def decoded(found: Codec, recording: str, table: str) -> Iterator[tuple[int, ChangeRecord]]:
    """Yield what a table's messages are decoded to, tombstones aside."""
    for each in messages(recording):
        if each["topic"] == f"{recording}.{recording}.{table}" and each["value"] is not None:
            key = None if each["key"] is None else each["key"].encode()
            yield found.decode(key, each["value"].encode(), each["offset"])


def value_of(row: bytes, name: str, kind: str) -> Any:
    """Return what a sink gets of one column of a row, or REFUSED."""
    described = Entity.model_validate(
        {"topic": "t", "key": ["id"], "contract": {"id": "int32", name: kind}, "sinks": ["files"]}
    )
    try:
        return CompiledContract("types", described.columns(), ["id"]).decode(row)[1]
    except RecordError as error:
        return REFUSED if error.reason == "contract" else error


@pytest.mark.parametrize("recording", RECORDINGS)
def test_every_type_is_decoded_to_what_the_source_had(recording: str) -> None:
    """Read by a snapshot or from the log; the few that the connector itself changes are named."""
    kinds = contract(recording)
    records = decoded(codec(recording, "types", key=["id"], contract=kinds), recording, "types")
    assert_source(recording, records)


def assert_source(recording: str, records: Iterable[tuple[int, ChangeRecord]]) -> None:
    """Expect the table of types as the source had it, read and then written once more."""
    kinds = contract(recording)
    wrong, seen = [], []
    for _, record in records:
        (key,), operation = record.key, record.operation.value
        seen.append((operation, key))
        assert record.after is not None
        values = rows()[key - _ADDED if key >= _ADDED else key - 1]
        for name, value in zip(COLUMNS, values, strict=True):
            wanted = expected(value, recording, operation)
            found = value_of(record.after, name, kinds[name])
            both_nan = wanted == "nan" and isinstance(found, float) and math.isnan(found)
            if (found, type(found)) != (wanted, type(wanted)) and not both_nan:
                wrong.append((operation, name, value[0], found, wanted))
    assert wrong == []
    count = len(rows())
    assert seen == [("r", n + 1) for n in range(count)] + [("c", n + _ADDED) for n in range(count)]


@pytest.mark.parametrize("recording", ["schemas", "defaults"])
def test_avro_is_decoded_to_what_the_source_had(recording: str, tmp_path: Path) -> None:
    """The same events, as Confluent's converter writes them."""
    topic = f"{recording}.{recording}.types"
    values = [json.loads(each["value"]) for each in messages(recording) if each["topic"] == topic]
    schema = avro_schema(values[0]["schema"])
    path = tmp_path / "types.avsc"
    path.write_text(json.dumps(schema), encoding="utf-8")
    events = {"format": "avro", "avro_schema_file": str(path)}
    found = codec(recording, "types", events, key=["id"], contract=contract(recording))
    encoded = [body(schema, avro_value(each["schema"], each["payload"])) for each in values]
    assert_source(recording, (found.decode(None, value, place) for place, value in enumerate(encoded)))
    assert dict(found.schema) == contract(recording)


@pytest.mark.parametrize("recording", ["schemas", "defaults"])
def test_messages_declare_the_types_of_their_columns(recording: str) -> None:
    """As a config spells them, so that a contract can grow by them; a composite is left out."""
    kinds = contract(recording)
    found = codec(recording, "types", key=["id"], contract=kinds)
    schemas = set()
    for _ in decoded(found, recording, "types"):
        schemas.add(found.schema)
    (schema,) = schemas
    assert dict(schema) == kinds


@pytest.mark.parametrize("recording", RECORDINGS)
def test_every_operation_is_decoded(recording: str) -> None:
    """Creates, updates, deletes, a changed key as delete and create, a truncate for every shard."""
    columns = {"id": "int64", "sku": "string", "name": "string", "large": "string"}
    found = codec(recording, "things", key=["id", "sku"], contract=columns)
    found.read_transactions()
    changes = list(decoded(found, recording, "things"))
    told = [(record.operation.value, *record.key) for _, record in changes]
    assert told == [
        ("c", 1, "a"),
        ("u", 1, "a"),
        ("d", 1, "a"),
        ("c", 1, "b"),
        ("u", 1, "b"),
        ("c", 2, "c"),
        ("d", 1, "b"),
        ("t",),
        ("c", 9, "z"),
    ]
    # A null stays one also in a column that has a default.
    assert json.loads(changes[5][1].after or b"") == {"id": 2, "sku": "c", "name": None, "large": None}
    assert [shard == EVERY_SHARD for shard, _ in changes] == [each[0] == "t" for each in told]
    positions = [record.position for _, record in changes]
    assert positions == sorted(positions)
    assert len({record.transaction for _, record in changes}) == len(changes)
    assert all(record.transaction is not None for _, record in changes)
    unknown = [b"__debezium_unavailable_value" in (record.after or b"") for _, record in changes]
    assert [place for place, is_unknown in enumerate(unknown) if is_unknown] == [1, 3]


def test_the_corpus_is_small() -> None:
    """So that it may lie in the repository."""
    assert sum(path.stat().st_size for path in FOLDER.glob("*.gz")) < _SIZE_MAX
