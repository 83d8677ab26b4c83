"""Code that is compiled for a schema reads what Avro's own library writes, and refuses all else."""

from __future__ import annotations

import io
import json
import math
import struct
import time
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from fastavro import parse_schema as parsed
from fastavro import schemaless_reader, schemaless_writer
from hypothesis import given, settings
from hypothesis import strategies as st

from tillstream.io.codecs.avro_reader import CodeWriter
from tillstream.io.codecs.avro_schema import SchemaError, parse_schema

# What a plan's code raises for bytes that are not as its schema says; codecs make dead letters of it.
REFUSED = (ValueError, LookupError, struct.error)
INT32, INT64 = 1 << 31, 1 << 63
SCALARS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    ("null", st.none()),
    ("boolean", st.booleans()),
    ("int", st.integers(-INT32, INT32 - 1)),
    ("long", st.integers(-INT64, INT64 - 1)),
    ("double", st.floats(allow_nan=False)),
    ("bytes", st.binary(max_size=200)),
    ("string", st.text(max_size=100)),
    ({"type": "enum", "name": "E", "symbols": ["A", "B", "C"]}, st.sampled_from("ABC")),
    ({"type": "fixed", "name": "F", "size": 3}, st.binary(min_size=3, max_size=3)),
]


def encoded(schema: Any, value: Any) -> bytes:
    """Return a value as Avro's library writes it."""
    out = io.BytesIO()
    schemaless_writer(out, parsed(schema), value)
    return out.getvalue()


def read(schema: Any, body: bytes) -> Any:
    """Return what the compiled code reads."""
    code = CodeWriter()
    return code.function(code.read(parse_schema(json.dumps(schema))))(body, 0)


@st.composite
def written(draw: st.DrawFn, depth: int = 0) -> tuple[Any, st.SearchStrategy[Any]]:
    """Draw a schema and the values that it takes; its named types are numbered by the caller."""
    kind = draw(st.sampled_from(["scalar", "union", "array", "map", "record"] if depth < 3 else ["scalar"]))
    if kind == "scalar":
        return draw(st.sampled_from(SCALARS))
    if kind == "record":
        fields = draw(st.lists(written(depth + 1), max_size=4))
        schema = {
            "type": "record",
            "name": "R",
            "fields": [{"name": f"f{place}", "type": each} for place, (each, _) in enumerate(fields)],
        }
        return schema, st.fixed_dictionaries({f"f{place}": each for place, (_, each) in enumerate(fields)})
    inner, values = draw(written(depth + 1).filter(lambda found: not isinstance(found[0], list)))
    if kind == "union":
        return (["null", inner], st.none() | values) if inner != "null" else (inner, values)
    if kind == "map":
        return {"type": "map", "values": inner}, st.dictionaries(st.text(max_size=5), values, max_size=3)
    # Arrays of what takes no bytes are refused.
    if parse_schema(json.dumps(numbered(inner))).least == 0:
        inner, values = "long", st.integers(-INT64, INT64 - 1)
    return {"type": "array", "items": inner}, st.lists(values, max_size=3)


def numbered(schema: Any, known: list[int] | None = None) -> Any:
    """Give each named type a name of its own."""
    known = [0] if known is None else known
    if isinstance(schema, list):
        return [numbered(each, known) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: numbered(value, known) if key != "symbols" else value for key, value in schema.items()}
    if found.get("type") in ("enum", "fixed", "record"):
        known[0] += 1
        found["name"] = f"{found['name']}{known[0]}"
    return found


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_it_reads_what_the_library_writes(data: st.DataObject) -> None:
    """Any schema, any value: the compiled code and a general reader find the same."""
    schema, values = data.draw(written())
    schema = numbered(schema)
    value = data.draw(values)
    body = encoded(schema, value)
    general = schemaless_reader(io.BytesIO(body), parsed(schema), None)
    assert read(schema, body) == general == value


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_is_passed_over_is_measured(data: st.DataObject) -> None:
    """A field behind fields that nobody wants is found, whatever those are."""
    (first, firsts), (second, seconds) = data.draw(written()), data.draw(written())
    first, second = numbered([first, second])
    # Each writer names its types anew.
    fields = [{"name": "a", "type": first}, {"name": "b", "type": second}, {"name": "c", "type": "long"}]
    schema = {"type": "record", "name": "Top", "fields": fields}
    value = {"a": data.draw(firsts), "b": data.draw(seconds), "c": 42}
    body = encoded(schema, value)
    code = CodeWriter()
    nodes = dict(parse_schema(json.dumps(schema)).fields)
    code.skip([nodes["a"], nodes["b"]])
    assert code.function(code.read(nodes["c"]))(body, 0) == 42


NASTY = {
    "type": "record",
    "name": "N",
    "fields": [
        {"name": "long", "type": ["null", "long"]},
        {"name": "text", "type": "string"},
        {"name": "items", "type": {"type": "array", "items": ["null", "string"]}},
        {"name": "map", "type": {"type": "map", "values": "bytes"}},
        {"name": "double", "type": "double"},
        {"name": "enum", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}},
        {"name": "flag", "type": "boolean"},
    ],
}
WHOLE = {
    "long": -INT64,
    "text": "Zoë",
    "items": ["a", None],
    "map": {"k": b"\0"},
    "double": 0.5,
    "enum": "B",
    "flag": True,
}


CODE = CodeWriter()
READ_NASTY = CODE.function(CODE.read(parse_schema(json.dumps(NASTY))))


def test_a_body_that_is_cut_or_longer_is_refused() -> None:
    """No prefix of a body is taken for a body, nor one with bytes behind it."""
    body = encoded(NASTY, WHOLE)
    assert READ_NASTY(body, 0) == WHOLE
    for end in range(len(body)):
        with pytest.raises(REFUSED):
            READ_NASTY(body[:end], 0)
    with pytest.raises(REFUSED):
        READ_NASTY(body + b"\0", 0)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_no_bytes_do_more_than_be_refused(data: st.DataObject) -> None:
    """Changed and random bytes become a value or a refusal, never another error."""
    body = bytearray(encoded(NASTY, WHOLE))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    for each in (bytes(body), data.draw(st.binary(max_size=60))):
        with suppress(*REFUSED):
            READ_NASTY(each, 0)


ARRAY = {"type": "array", "items": "long"}


@pytest.mark.parametrize(
    ("schema", "body"),
    [
        # 2^62 items, and 2^62 in a block that tells its size.
        (ARRAY, encoded("long", 1 << 62)),
        (ARRAY, encoded("long", -(1 << 62)) + b"\x02\x02\0"),
        (ARRAY, encoded("long", -(1 << 63)) + b"\x02\x02\0"),
        ({"type": "map", "values": "null"}, encoded("long", 1 << 40)),
        # A text of 2^62 bytes, one of less than none, and a number without end.
        ("string", encoded("long", 1 << 62) + b"a"),
        ("bytes", b"\x01"),
        ("string", encoded("long", -5)),
        ("long", b"\xff" * 1000),
        ("int", encoded("long", 1 << 31)),
        ("boolean", b"\x02"),
        (["null", "long"], b"\x04\0"),
        (["null", "long"], b"\x01"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x02"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x01"),
        ("string", b"\x04\xed\xa0"),
        ("string", b"\x06\xed\xa0\x80"),
    ],
)
def test_sizes_are_not_believed(schema: Any, body: bytes) -> None:
    """Counts and lengths that a body cannot have are refused, without time or memory."""
    tracemalloc.start()
    begun_s = time.monotonic()
    with pytest.raises(REFUSED):
        read(schema, body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
    assert time.monotonic() - begun_s < 5


def test_a_count_is_held_against_the_bytes_that_are_left() -> None:
    """It is refused before the first item is read."""
    with pytest.raises(ValueError, match="a block of 4 items in 3 bytes"):
        read(ARRAY, encoded("long", 4) + b"\2\2\2")


def test_blocks_that_tell_their_size_are_read() -> None:
    """A negative count is followed by the block's bytes; several blocks are one array."""
    body = encoded("long", -2) + b"\x04\x02\x04" + b"\x02\x06" + b"\0"
    assert read(ARRAY, body) == [1, 2, 3]


@pytest.mark.parametrize("value", [0.1, 1.5, 3.4028234663852886e38, 16777216.0, -0.3, math.inf])
def test_floats_have_the_fewest_digits(value: float) -> None:
    """A float of 32 bits is spelt as JSON spells it, not as the double that it is."""
    body = encoded("float", value)
    found = read("float", body)
    assert encoded("float", found) == body
    assert len(repr(found)) <= len(repr(value)) or math.isinf(value)
    assert repr(read("float", encoded("float", 0.1))) == "0.1"


def test_texts_that_repeat_are_compared_by_their_bytes() -> None:
    """A text that was seen before is found again, and another one, though longer, is not taken for it."""
    code = CodeWriter()
    text = parse_schema('"string"')
    code.repeated([(text, False), (text, True)])
    read_two = code.function("v1")
    for first, second in (("a", "b"), ("a", "b"), ("a", "bc"), ("ab", "c"), ("a", "b")):
        assert read_two(encoded("string", first) + encoded("string", second), 0) == second
    with pytest.raises(REFUSED):
        read_two(encoded("string", "a") + b"\x04b", 0)
    assert read_two(encoded("string", "a") + encoded("string", "b"), 0) == "b"


def bomb(depth: int) -> Any:
    """Return a schema whose types double at each level, by their names."""
    inner: Any = {"type": "fixed", "name": "R0", "size": 1}
    for level in range(1, depth + 1):
        fields = [{"name": "a", "type": inner}, {"name": "b", "type": f"R{level - 1}"}]
        inner = {"type": "record", "name": f"R{level}", "fields": fields}
    return inner


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "array", "items": "null"}, "no bytes"),
        ({"type": "array", "items": {"type": "record", "name": "R", "fields": []}}, "no bytes"),
        ({"type": "record", "name": "R", "fields": [{"name": "next", "type": ["null", "R"]}]}, "itself"),
        ({"type": "fixed", "name": "F", "size": 1 << 40}, "bytes"),
        ({"type": "fixed", "name": "F", "size": True}, "bytes"),
        ({"type": "nothing"}, "defines"),
        ({"type": "record", "name": "R", "fields": [{"name": "a", "type": "long"}] * 2}, "once"),
        ({"type": "record", "name": "R"}, "list"),
        ({"type": "enum", "name": "E", "symbols": "AB"}, "texts"),
        ([], "union"),
        (7, "type"),
        (bomb(15), "more than 20000 types"),
    ],
)
def test_schemas_that_cannot_be_read_are_refused(schema: Any, said: str) -> None:
    """What would recurse, or make much of little, or is no schema, is said."""
    with pytest.raises(SchemaError, match=said):
        read(schema, b"")


@pytest.mark.parametrize("text", ["", "{", "nonsense", b"\xff", "[" * 100_000])
def test_what_is_no_json_is_no_schema(text: str | bytes) -> None:
    """A registry, or a file, may hold anything."""
    with pytest.raises(SchemaError):
        parse_schema(text)


def test_names_are_resolved_within_their_namespaces() -> None:
    """A name means the type of its namespace, across references."""
    reference = {"type": "record", "name": "A", "namespace": "x", "fields": [{"name": "n", "type": "int"}]}
    own = {
        "type": "record",
        "name": "x.B",
        "fields": [{"name": "a", "type": "A"}, {"name": "again", "type": ["null", "x.A"]}],
    }
    node = parse_schema(json.dumps(own), [json.dumps(reference)])
    code = CodeWriter()
    assert code.function(code.read(node))(b"\x02\x02\x04", 0) == {"a": {"n": 1}, "again": {"n": 2}}
