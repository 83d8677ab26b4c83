"""Compile the code that reads one schema's messages: Debezium's envelopes, and keys.

Source: Debezium documentation, "Data change events" and "Transaction metadata".
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from tillstream.io.codecs.avro_columns import column_spelling, unescaped
from tillstream.io.codecs.avro_reader import CodeWriter
from tillstream.io.codecs.avro_schema import Node, SchemaError, only_branch
from tillstream.pipelines.records import RowSchema

__all__ = ["EnvelopePlan", "KeyPlan", "envelope_plan", "key_plan", "record_reader"]

_ROWS = ("before", "after")
# What a logical message's envelope has in place of a row.
_MESSAGE = "message"
# Of a Postgres connector's `source` all that is needed; of others it is read whole.
_POSTGRES = ("connector", "snapshot", "sequence", "lsn")
# Texts that a connector writes into most of its messages alike.
_REPEATED = ("version", "connector", "name", "snapshot", "db", "schema", "table")
_MILLISECONDS_MAX = ((1 << 63) - 1) // 1000
_SCALAR_KEYS = ("string", "int", "long", "enum")
_TEXTS, _NUMBERS = ("string", "enum"), ("int", "long")
# Of which types the fields are that say what a change is. Early releases tell snapshots by a boolean.
_OF_SOURCE = {
    "connector": _TEXTS,
    "snapshot": (*_TEXTS, "boolean"),
    "sequence": _TEXTS,
    "lsn": _NUMBERS,
    "ts_ms": _NUMBERS,
    "ts_us": _NUMBERS,
}
_OF_TRANSACTION = {"id": _TEXTS, "total_order": _NUMBERS}


class EnvelopePlan(NamedTuple):
    """Hold what reads envelopes of one schema.

    Attributes:
        read: returns of (body, place): op, row before, row after, connector, time in microseconds since 1970,
            snapshot, sequence, LSN, all of `source` where it is not a Postgres connector's, and
            `transaction`. Rows are spelt columns by name.
        schema: columns and types of the rows, as a config spells them.
        columns: which column each line of the code spells.
    """

    read: Callable[[bytes, int], tuple[Any, ...]]
    schema: RowSchema
    columns: Mapping[int, str]


class KeyPlan(NamedTuple):
    """Hold what reads keys of one schema.

    Attributes:
        read: returns of (body, place) the values of the key's columns in order, None for those that it lacks.
        names: of the columns that keys have.
        is_scalar: whether all of them are there, and texts or whole numbers, whatever the message.
        columns: which column each line of the code spells.
    """

    read: Callable[[bytes, int], tuple[Any, ...]]
    names: tuple[str, ...]
    is_scalar: bool
    columns: Mapping[int, str]


def envelope_plan(node: Node, *, escaped: bool, tells: bool) -> EnvelopePlan:
    """Return what reads envelopes.

    Args:
        node: schema of the message.
        escaped: whether names of columns are, as `avro_unicode` does it.
        tells: whether `transaction` is wanted.

    Raises:
        SchemaError: where it is not that of an envelope.
    """
    fields = dict(node.fields)
    if (
        node.kind != "record"
        or not {"op", "source"} <= fields.keys()
        or not fields.keys() & {*_ROWS, _MESSAGE}
    ):
        raise SchemaError(f"found {', '.join(fields) or node.kind:.200}, expected Debezium's envelope")
    _check_kinds(fields, tells=tells)
    code = CodeWriter()
    schema: RowSchema = ()
    found = dict.fromkeys((*_ROWS, "op", "transaction"), "None")
    skipped: list[Node] = []
    for name, each in node.fields:
        if name not in (*found, "source", _MESSAGE) or (name == "transaction" and not tells):
            skipped.append(each)
            continue
        code.skip(skipped)
        skipped = []
        if name in _ROWS:
            found[name], schema = _row(code, each, escaped=escaped)
        elif name == _MESSAGE:
            found["after"], _ = _row(code, each, escaped=False)
        elif name == "source":
            source = _source(code, each)
        else:
            found[name] = code.read(each)
    code.skip(skipped, are_last=True)
    values = [found["op"], found["before"], found["after"], *source, found["transaction"]]
    return EnvelopePlan(code.function(", ".join(values)), schema, code.columns)


def _check_kinds(fields: Mapping[str, Node], *, tells: bool) -> None:
    """Check the types of what is read beside the rows, so that no value can be of another one."""
    source = only_branch(fields["source"])
    if source.kind != "record":
        raise SchemaError(f"found source of type {source.kind}, expected a record")
    _check_kind("op", fields["op"], _TEXTS)
    for name, each in source.fields:
        if name in _OF_SOURCE:
            _check_kind(f"source.{name}", each, _OF_SOURCE[name])
    transaction = only_branch(fields["transaction"]) if tells and "transaction" in fields else None
    if transaction is None or transaction.kind == "null":
        return
    found = dict(transaction.fields)
    for name, kinds in _OF_TRANSACTION.items():
        if name not in found:
            raise SchemaError(f"found no transaction.{name}, expected one of type {' or '.join(kinds)}")
        _check_kind(f"transaction.{name}", found[name], kinds, is_nullable=False)


def _check_kind(name: str, node: Node, kinds: Sequence[str], *, is_nullable: bool = True) -> None:
    for each in node.branches if node.kind == "union" else (node,):
        if each.kind not in kinds and not (is_nullable and each.kind == "null"):
            raise SchemaError(f"found {name} of type {each.kind}, expected {' or '.join(kinds)}")


def record_reader(node: Node) -> Callable[[bytes, int], tuple[Any, int]]:
    """Return what reads one of several records in a row: it returns the record and the place behind it.

    Args:
        node: schema of the records. Where they are envelopes, their rows are spelt; all else is as it is.

    Raises:
        SchemaError: where it is none of records, or of some that take no bytes.
    """
    if node.kind != "record" or node.least == 0:
        raise SchemaError(f"found a file of type {node.kind}, expected records")
    code = CodeWriter()
    is_envelope = {"op", "source"} <= {name for name, _ in node.fields}
    values = [
        (name, _row(code, each, escaped=False)[0] if is_envelope and name in _ROWS else code.read(each))
        for name, each in node.fields
    ]
    return code.function(f"{code.row(values)}, p", is_whole=False)


def key_plan(node: Node, wanted: Sequence[str], *, escaped: bool) -> KeyPlan:
    """Return what reads keys.

    Args:
        node: schema of the key.
        wanted: names of the key's columns, in order.
        escaped: as of `envelope_plan`.

    Raises:
        SchemaError: where a column says of itself what cannot be.
    """
    code, found, scalar = CodeWriter(), dict.fromkeys(wanted, "None"), 0
    fields = [(_plain(name, escaped=escaped), each) for name, each in node.fields]
    if node.kind != "record":
        # A key of one column without a name of its own.
        fields = [(wanted[0] if len(wanted) == 1 else "", node)]
    for name, each in fields:
        if name not in found:
            code.skip([each])
            continue
        spelling = column_spelling(each)
        spell = _base64 if spelling.spell is None and spelling.kind == "bytes" else spelling.spell
        found[name] = code.spelt(each, spell, name)
        scalar += each.kind in _SCALAR_KEYS and spell is None
    returned = f"({', '.join([*found.values(), ''])})"
    names = tuple([name for name, _ in fields if name])
    return KeyPlan(code.function(returned), names, scalar == len(wanted), code.columns)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _plain(name: str, *, escaped: bool) -> str:
    return unescaped(name) if escaped else name


def _row(code: CodeWriter, node: Node, *, escaped: bool) -> tuple[str, RowSchema]:
    row = only_branch(node)
    if row.kind != "record":
        raise SchemaError(f"found rows of type {row.kind}, expected records")
    columns = [(_plain(name, escaped=escaped), each, column_spelling(each)) for name, each in row.fields]
    if len({name for name, *_ in columns}) < len(columns):
        raise SchemaError("found columns of one name once their escapes are read, expected each name once")

    def read(branch: Node, into: str) -> None:
        if branch.kind == "null":
            code.line(f"{into} = None")
            return
        values = [(name, code.spelt(each, spelling.spell, name)) for name, each, spelling in columns]
        code.line(f"{into} = {code.row(values)}")

    return code.either(node, read), tuple((name, spelling.kind) for name, _, spelling in columns)


def _source(code: CodeWriter, node: Node) -> list[str]:
    """Add what reads `source`; return variables of what `EnvelopePlan.read` gives of it."""
    fields = dict(node.fields)
    if node.kind == "record" and fields.keys() >= {*_POSTGRES}:
        return [*_postgres_source(code, node), "None"]
    whole = code.read(node)
    code.line(f"if type({whole}) is not dict: fail('no source')")
    values = [f"{whole}.get({code.constant(name)})" for name in _POSTGRES]
    time_us = code.name()
    code.line(f"{time_us} = {whole}.get({code.constant('ts_us')})")
    with code.block(f"if {time_us} is None:"):
        code.line(f"{time_us} = {whole}.get({code.constant('ts_ms')}) or 0")
        _scale(code, time_us)
    return [values[0], time_us, *values[1:], whole]


def _postgres_source(code: CodeWriter, node: Node) -> list[str]:
    # Releases before 2.6 have no microseconds.
    time = "ts_us" if "ts_us" in dict(node.fields) else "ts_ms"
    found = {time: code.name(), "lsn": code.name()}
    code.line(f"{found[time]} = {found['lsn']} = None")
    # Hardly ever needed, so passed over at first: a place, what stands between, and the type.
    marks: dict[str, tuple[str, list[Node], Node]] = {}
    for is_repeated, group in groupby(node.fields, lambda field: _is_repeated(*field)):
        fields = list(group)
        if is_repeated:
            wanted = [name for name, _ in fields if name in _POSTGRES]
            read = code.repeated([(each, name in _POSTGRES) for name, each in fields])
            found.update(zip(wanted, read, strict=True))
            continue
        skipped: list[Node] = []
        mark = code.mark()
        for name, each in fields:
            if name in ("ts_ms", "lsn"):
                marks[name] = (mark, list(skipped), each)
            if name in ("connector", "snapshot", "sequence", time):
                code.skip(skipped)
                found[name], skipped = code.read(each), []
                mark = code.mark()
            else:
                skipped.append(each)
        code.skip(skipped)
    sequence = found["sequence"]
    code.later(f"{sequence} is None or 'null' in {sequence}", *marks["lsn"], found["lsn"])
    time_us = found[time]
    with code.block(f"if {time_us} is None:" if time == "ts_us" else "if True:"):
        if time == "ts_us" and "ts_ms" in marks:
            code.later("True", *marks["ts_ms"], time_us)
        code.line(f"{time_us} = {time_us} or 0")
        _scale(code, time_us)
    return [found["connector"], time_us, found["snapshot"], sequence, found["lsn"]]


def _is_repeated(name: str, node: Node) -> bool:
    return name in _REPEATED and only_branch(node).kind == "string"


def _scale(code: CodeWriter, time_ms: str) -> None:
    code.line(f"if not -{_MILLISECONDS_MAX} <= {time_ms} <= {_MILLISECONDS_MAX}: fail('a time out of range')")
    code.line(f"{time_ms} *= 1000")
