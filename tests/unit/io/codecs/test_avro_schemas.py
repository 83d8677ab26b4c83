"""Whatever the schema of an envelope says, its messages become records or dead letters."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.conformance.connect_avro import body
from tests.unit.io.codecs.avro_messages import ID, PLAIN, SOURCE, envelope, event
from tillstream.io.codecs.avro import EnvelopeCodec
from tillstream.io.codecs.avro_envelope import EnvelopePlan, KeyPlan
from tillstream.io.codecs.avro_schema import parse_schema
from tillstream.pipelines.errors import RecordError

TEXTS = {"type": "array", "items": "string"}
ENUM = {"type": "enum", "name": "Word", "symbols": ["postgresql", "mysql", "c", "d", "t", "m", "true"]}
TRANSACTION = {
    "type": "record",
    "name": "Block",
    "fields": [{"name": "id", "type": "string"}, {"name": "total_order", "type": "long"}],
}
TYPES: list[Any] = [
    *("null", "boolean", "int", "long", "float", "double", "bytes", "string"),
    TEXTS,
    {"type": "map", "values": "long"},
    {"type": "fixed", "name": "Two", "size": 2},
    ENUM,
    ["null", "string"],
    ["null", "long", "string"],
    {"type": "record", "name": "Any", "fields": [{"name": "id", "type": "long"}]},
    {"type": "long", "logicalType": "timestamp-micros"},
    {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2},
]
# Fields by which the order of changes is told, by connector.
SOURCES = {
    "mysql": {"gtid": ["null", "string"], "file": "string", "pos": "long", "row": "int"},
    "sqlserver": {"commit_lsn": "string", "change_lsn": ["null", "string"], "event_serial_no": "long"},
    "oracle": {"scn": "string", "commit_scn": ["null", "string"], "ssn": "int", "rs_id": "string"},
    "mongodb": {"ord": "int", "txnNumber": ["null", "long"]},
}
WORDS = {"connector": ["postgresql", *SOURCES], "op": [*"rcudtm"], "file": ["binlog.000003"]}
NUMBERS = [0, 1, -1, 5, (1 << 31) - 1, (1 << 63) - 1, -(1 << 63)]


class SchemaCodec(EnvelopeCodec):
    """Read messages of one schema."""

    schema_text = ""

    def envelope(self, head: bytes) -> EnvelopePlan:  # noqa: ARG002
        """Return what reads a message."""
        return self.envelope_of(lambda: parse_schema(self.schema_text))

    def key(self, head: bytes) -> KeyPlan:  # noqa: ARG002
        """Return what reads a key."""
        return self.key_of(lambda: parse_schema(self.schema_text))


def codec_of(schema: Any) -> SchemaCodec:
    """Return a codec that tells transactions."""
    codec = SchemaCodec("orders", ("id",), 16)
    codec.schema_text = json.dumps(schema)
    codec.read_transactions()
    return codec


def with_transaction(schema: dict[str, Any], block: Any = TRANSACTION) -> dict[str, Any]:
    """Return a schema whose messages tell their transactions."""
    field = {"name": "transaction", "type": ["null", block]}
    return {**copy.deepcopy(schema), "fields": [*copy.deepcopy(schema)["fields"], field]}


def with_source(**types: Any) -> dict[str, Any]:
    """Return an envelope's schema in which fields of `source` have other types."""
    schema = copy.deepcopy(PLAIN)
    for each in schema["fields"][2]["type"]["fields"]:
        each["type"] = types.get(each["name"], each["type"])
    return schema


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (with_source(lsn="string"), "found source.lsn of type string, expected int or long"),
        (with_source(lsn=["null", "long", "double"]), "found source.lsn of type double"),
        (with_source(connector=TEXTS), "found source.connector of type array, expected string or enum"),
        (with_source(sequence="bytes"), "found source.sequence of type bytes"),
        (with_source(snapshot="long"), "found source.snapshot of type long"),
        (with_source(ts_us="double"), "found source.ts_us of type double"),
        (
            {**PLAIN, "fields": [*PLAIN["fields"][:3], {"name": "op", "type": TEXTS}]},
            "found op of type array",
        ),
        (envelope([ID], [{"name": "connector", "type": TEXTS}]), "found source.connector of type array"),
        (
            with_transaction(PLAIN, {**TRANSACTION, "fields": TRANSACTION["fields"][:1]}),
            "found no transaction.total_order",
        ),
        (
            with_transaction(PLAIN, {**TRANSACTION, "fields": [ID, TRANSACTION["fields"][1]]}),
            "found transaction.id of type long, expected string or enum",
        ),
    ],
)
def test_fields_of_other_types_are_refused_with_a_sentence(schema: Any, told: str) -> None:
    """It is the schema that is wrong, so each of its messages is a dead letter."""
    with pytest.raises(RecordError) as caught:
        codec_of(schema).decode(None, b"", 1)
    assert caught.value.reason == "unsupported_schema"
    assert told in caught.value.detail


def test_texts_may_be_enums_and_a_source_null() -> None:
    """Converters may write either; a message without a source is refused, and not misread."""
    schema = with_source(connector=ENUM)
    value = body(schema, event(source={**SOURCE, "connector": "postgresql"}))
    assert codec_of(schema).decode(None, value, 1)[1].position == (0, 2, 1, 2)
    schema = copy.deepcopy(PLAIN)
    schema["fields"][2]["type"] = ["null", schema["fields"][2]["type"]]
    assert codec_of(schema).decode(None, body(schema, event()), 1)[1].position == (0, 2, 1, 2)
    with pytest.raises(RecordError, match="no source"):
        codec_of(schema).decode(None, body(schema, event(source=None)), 1)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**64))
def test_no_schema_does_more_than_make_dead_letters(seed: int) -> None:
    """Fields of any type, or that lack: a message becomes a record, or a RecordError with a sentence."""
    chance = random.Random(seed)  # noqa: S311
    fields = [{"name": name, "type": kind} for name, kind in chance.choice([*SOURCES.values()]).items()]
    fields += [{"name": "connector", "type": "string"}, {"name": "ts_ms", "type": "long"}]
    schema = with_transaction(PLAIN if chance.random() < 0.5 else envelope([ID], fields))
    records = [schema, schema["fields"][2]["type"], schema["fields"][-1]["type"][1]]
    for _ in range(chance.randint(1, 3)):
        found = chance.choice(records)["fields"]
        place = chance.randrange(len(found))
        if chance.random() < 0.15 and len(found) > 1:
            del found[place]
        elif not (found is schema["fields"] and found[place]["name"] == "before"):
            # The type of rows stands there, to which the ones after it refer.
            found[place]["type"] = chance.choice(TYPES)
    codec = codec_of(unique(schema))
    try:
        encoded = body(unique(schema), made(chance, schema, ""))
    except Exception:  # noqa: BLE001  (no schema at all, for fastavro)
        encoded = bytes(chance.randrange(256) for _ in range(60))
    for key in (None, encoded):
        try:
            shard, record = codec.decode(key, encoded, 1)
        except RecordError:
            continue
        assert shard < 16
        assert record.after is None or json.loads(record.after)


def unique(schema: Any) -> Any:
    """Return a schema in which each type that has a name has one of its own."""
    seen: dict[str, int] = {}

    def walk(each: Any) -> Any:
        if isinstance(each, list):
            return [walk(branch) for branch in each]
        if not isinstance(each, dict):
            return each
        found = {name: walk(value) for name, value in each.items() if name != "symbols"}
        if "symbols" in each:
            found["symbols"] = each["symbols"]
        if each.get("type") in ("record", "enum", "fixed"):
            seen[each["name"]] = seen.get(each["name"], 0) + 1
            found["name"] = f"{each['name']}{seen[each['name']] - 1 or ''}"
        return found

    return walk(schema)


def made(chance: random.Random, schema: Any, name: str) -> Any:
    """Return some value of a schema."""
    if isinstance(schema, list):
        return made(chance, chance.choice(schema), name)
    kind = schema if isinstance(schema, str) else schema["type"]
    if kind == "record":
        return {each["name"]: made(chance, each["type"], each["name"]) for each in schema["fields"]}
    number = chance.choice(NUMBERS)
    values: dict[str, Any] = {
        "null": None,
        "boolean": number > 0,
        "int": number % (1 << 31),
        "float": 1.5,
        "double": float(number),
        "bytes": b"\0\xff",
        "string": chance.choice(WORDS.get(name, ["", "1", '["1","2"]', "0:1:2", "a:5", "true"])),
        "array": ["postgresql"],
        "map": {"id": number},
        "fixed": b"ab",
        "enum": chance.choice(ENUM["symbols"]),
        "Value": {"id": number},
    }
    return values.get(kind, number)
