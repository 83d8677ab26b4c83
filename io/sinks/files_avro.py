"""Write mutations as Avro object container files, typed by the entity's contract."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from decimal import Context, Decimal, InvalidOperation
from hashlib import blake2b
from typing import Any

import fastavro

from tillstream.configs import Column, Entity
from tillstream.io.sinks.files_jsonl import METADATA, OPERATIONS
from tillstream.pipelines.records import MutationBatch, MutationRecord

__all__ = ["Avro"]

_TYPES: dict[str, Any] = {
    "bool": "boolean",
    "int16": "int",
    "int32": "int",
    "int64": "long",
    "float32": "float",
    "float64": "double",
    "string": "string",
    "bytes": "bytes",
    "date": {"type": "int", "logicalType": "date"},
    "time": {"type": "long", "logicalType": "time-micros"},
    "timestamp": {"type": "long", "logicalType": "local-timestamp-micros"},
    "timestamptz": {"type": "long", "logicalType": "timestamp-micros"},
    # Avro's duration holds milliseconds only, and none below zero.
    "timetz": "string",
    "interval": "string",
    "uuid": {"type": "string", "logicalType": "uuid"},
    "json": "string",
}
_METADATA_TYPES = ("string", "long", "string", "int", "long", "int")
# Their wire form is text.
_PARSERS: dict[str, Callable[[Any], Any]] = {
    "date": dt.date.fromisoformat,
    "time": dt.time.fromisoformat,
    "timestamp": dt.datetime.fromisoformat,
}
_CODECS = {"none": "null", "gzip": "deflate", "zstd": "zstandard"}
# Decimals have at most a thousand digits.
_EXACT = Context(prec=2000)
# Of a block before compression: larger ones compress better, and each is read whole.
_BLOCK_BYTES = 256 * 1024


class Avro:
    """Encode the mutations of one entity as one file of Avro 1.11, one record a mutation.

    The record is named as the entity, its fields METADATA and then the columns, whose names are Avro names
    as they are. Every column is a union with null, because deletes carry the key's columns only, truncates
    none. JSON, intervals, times with zone and decimals without a precision are text. The same mutations give
    the same bytes.

    Args:
        entity: the entity's config, with a contract.
        name: of the entity.
        compression: as the sink's config names it.
    """

    def __init__(self, entity: Entity, name: str, compression: str) -> None:
        columns = entity.columns()
        self._codec = _CODECS[compression]
        parsers = {column.name: _parser_of(column) for column in columns}
        self._parsers = {name: parser for name, parser in parsers.items() if parser is not None}
        self._schema = fastavro.parse_schema(
            {
                "type": "record",
                "name": name,
                "namespace": "tillstream",
                "fields": [
                    *({"name": n, "type": t} for n, t in zip(METADATA, _METADATA_TYPES, strict=True)),
                    *({"name": c.name, "type": ["null", _type_of(c)], "default": None} for c in columns),
                ],
            }
        )

    def encode(self, batches: Sequence[MutationBatch]) -> bytes:
        """Return the file of all mutations, in order.

        Raises:
            ValueError, TypeError: if a value does not fit its type.
        """
        return self._encode([(batch, batch.records) for batch in batches])

    def encode_one(self, batch: MutationBatch, record: MutationRecord) -> bytes:
        """Return the file of one mutation; raises as `encode` does."""
        return self._encode([(batch, (record,))])

    def _encode(self, parts: Sequence[tuple[MutationBatch, Sequence[MutationRecord]]]) -> bytes:
        file = _Pieces()
        try:
            fastavro.writer(
                file,
                self._schema,
                (line for batch, records in parts for line in self._lines(batch, records)),
                codec=self._codec,
                sync_interval=_BLOCK_BYTES,
                sync_marker=_marker(parts),
            )
        except (OverflowError, InvalidOperation) as error:
            raise ValueError(f"found a number that its type cannot hold: {error}") from error
        return b"".join(file.pieces)

    def _lines(self, batch: MutationBatch, records: Sequence[MutationRecord]) -> Iterator[dict[str, Any]]:
        upsert, delete = (*METADATA, *batch.columns), (*METADATA, *batch.key_columns)
        parsed = [(name, parse) for name, parse in self._parsers.items() if name in batch.columns]
        if batch.truncates:
            delete = METADATA
        for r in records:
            place = (r.source_time_us, batch.topic, batch.partition, r.offset, r.index)
            if r.values is None:
                line = dict(zip(delete, (OPERATIONS[r.kind], *place, *r.key), strict=True))
            else:
                line = dict(zip(upsert, ("upsert", *place, *r.values), strict=True))
            for name, parse in parsed:
                value = line.get(name)
                if value is not None:
                    line[name] = parse(value)
            yield line


class _Pieces:
    """Be what fastavro needs of a file."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self.pieces.append(bytes(piece))
        return len(piece)

    def flush(self) -> None:
        """Have nothing to do."""

    def seekable(self) -> bool:
        """Say that the file is new."""
        return False


def _type_of(column: Column) -> Any:
    if column.element is not None:
        return {"type": "array", "items": ["null", _type_of(column.element)]}
    if column.kind != "decimal":
        return _TYPES[column.kind]
    if column.precision is None:
        return "string"
    return {
        "type": "bytes",
        "logicalType": "decimal",
        "precision": column.precision,
        "scale": column.scale or 0,
    }


def _parser_of(column: Column) -> Callable[[Any], Any] | None:
    if column.element is not None:
        parse = float if column.element.kind.startswith("float") else _parser_of(column.element)
        return None if parse is None else lambda values: [None if v is None else parse(v) for v in values]
    if column.kind != "decimal" or column.precision is None:
        return _PARSERS.get(column.kind)
    precision, scale = column.precision or 0, column.scale or 0

    def unscaled(text: str) -> bytes:
        # fastavro counts the digits as they are written, and so lets 1E+9 pass as one.
        value = Decimal(text)
        if value.is_finite() and (not value or value.adjusted() + scale < precision):
            shifted = _EXACT.scaleb(value, scale)
            number = int(shifted)
            if number == shifted:
                return number.to_bytes((number.bit_length() + 8) // 8, "big", signed=True)
        raise ValueError(f"found {text}, expected decimal({precision},{scale})")

    return unscaled


def _marker(parts: Sequence[tuple[MutationBatch, Sequence[MutationRecord]]]) -> bytes:
    """Return what stands between blocks: must not occur in them, and be the same for the same file."""
    digest = blake2b(digest_size=16)
    for batch, records in parts:
        places = (batch.topic, batch.partition, len(records), records[0].offset, records[-1].offset)
        digest.update(repr(places).encode())
    return digest.digest()
