"""Write mutations as Parquet, typed by the entity's contract."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tillstream.configs import Column, Entity
from tillstream.io.sinks.files_jsonl import METADATA, OPERATIONS
from tillstream.pipelines.records import MutationBatch, MutationRecord

__all__ = ["Parquet"]

_TYPES = {
    "bool": pa.bool_(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "bytes": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "timetz": pa.string(),
    "interval": pa.string(),
    "uuid": pa.string(),
    "json": pa.string(),
}
_METADATA_TYPES = (pa.string(), pa.int64(), pa.string(), pa.int32(), pa.int64(), pa.int32())
# Their wire form is text, which Arrow parses itself.
_PARSED = frozenset({"decimal", "date", "timestamp"})
_DECIMAL128_DIGITS = 38
_DECIMAL256_DIGITS = 76


class Parquet:
    """Encode the mutations of one entity as one Parquet file: METADATA, then columns.

    Deletes carry the key's columns, truncates none; the others are null. UUIDs, JSON, intervals and times
    with zone are text, and so are decimals without a precision or beyond 76 digits.

    Args:
        entity: the entity's config, with a contract.
    """

    def __init__(self, entity: Entity) -> None:
        columns = entity.columns()
        self._parsed = [column.kind in _PARSED for column in columns]
        self._types = [_type_of(column) for column in columns]
        names = [column.name for column in columns]
        self._key_places = {key: names.index(key) for key in entity.key}
        # Nothing is required: deletes have only keys.
        self._schema = pa.schema(
            list(zip((*METADATA, *names), (*_METADATA_TYPES, *self._types), strict=True))
        )

    def encode(self, batches: Sequence[MutationBatch]) -> bytes:
        """Return the file of all mutations, in order.

        Raises:
            ValueError, TypeError: if a value does not fit its type (Arrow's own errors are such).
        """
        return self._encode([(batch, record) for batch in batches for record in batch.records])

    def encode_one(self, batch: MutationBatch, record: MutationRecord) -> bytes:
        """Return the file of one mutation; raises as `encode` does."""
        return self._encode([(batch, record)])

    def _encode(self, records: Sequence[tuple[MutationBatch, MutationRecord]]) -> bytes:
        arrays = [
            pa.array(column, kind) for column, kind in zip(_metadata(records), _METADATA_TYPES, strict=True)
        ]
        rows = [self._delete_row(b, r) if r.values is None else r.values for b, r in records]
        for column, kind, parsed in zip(zip(*rows, strict=True), self._types, self._parsed, strict=True):
            if parsed:
                arrays.append(pa.array(column, pa.string()).cast(kind))
            else:
                arrays.append(pa.array(_parsed(column, kind), kind))
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_arrays(arrays, schema=self._schema), sink)
        content: bytes = sink.getvalue().to_pybytes()
        return content

    def _delete_row(self, batch: MutationBatch, record: MutationRecord) -> tuple[Any, ...]:
        row: list[Any] = [None] * len(self._types)
        key_columns = () if batch.truncates else batch.key_columns
        for column, value in zip(key_columns, record.key, strict=True):
            row[self._key_places[column]] = value
        return tuple(row)


def _parsed(column: Sequence[Any], kind: Any) -> Sequence[Any]:
    """Return values that Arrow takes, of those whose wire form is text that it does not parse itself."""
    if pa.types.is_list(kind):
        parse = _element_parser(kind.value_type)
        if parse is not None:
            return [each and [None if value is None else parse(value) for value in each] for each in column]
    elif kind == _TYPES["time"]:
        return [None if value is None else dt.time.fromisoformat(value) for value in column]
    return column


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"found {text:.100}, expected a number") from error


def _element_parser(kind: Any) -> Callable[[Any], Any] | None:
    if pa.types.is_decimal(kind):
        return _decimal
    if pa.types.is_floating(kind):
        return float
    if kind == _TYPES["timestamp"]:
        return dt.datetime.fromisoformat
    return {_TYPES["date"]: dt.date.fromisoformat, _TYPES["time"]: dt.time.fromisoformat}.get(kind)


def _metadata(records: Sequence[tuple[MutationBatch, MutationRecord]]) -> tuple[list[Any], ...]:
    return (
        [OPERATIONS[record.kind] for _, record in records],
        [record.source_time_us for _, record in records],
        [batch.topic for batch, _ in records],
        [batch.partition for batch, _ in records],
        [record.offset for _, record in records],
        [record.index for _, record in records],
    )


def _type_of(column: Column) -> Any:
    if column.element is not None:
        return pa.list_(_type_of(column.element))
    if column.kind != "decimal":
        return _TYPES[column.kind]
    precision = column.precision
    if precision is None:
        return pa.string()
    if precision <= _DECIMAL128_DIGITS:
        return pa.decimal128(precision, column.scale or 0)
    if precision <= _DECIMAL256_DIGITS:
        return pa.decimal256(precision, column.scale or 0)
    return pa.string()
