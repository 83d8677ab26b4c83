"""Write mutations as JSON lines, mostly in compiled code."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any

import msgspec

from tillstream.configs import Entity, FilesSink
from tillstream.io.sinks.floats import spell_non_finite
from tillstream.pipelines.records import MutationBatch, MutationKind, MutationRecord

__all__ = ["METADATA", "OPERATIONS", "JsonLines", "compress", "suffix_of"]

METADATA = ("_op", "_source_time_us", "_topic", "_partition", "_offset", "_index")

# What `_op` says.
OPERATIONS = {
    MutationKind.UPSERT: "upsert",
    MutationKind.DELETE: "delete",
    MutationKind.TRUNCATE: "truncate",
}

_SUFFIXES = {"none": "", "gzip": ".gz", "zstd": ".zst"}
_GZIP_LEVEL = 3
_encode_lines = msgspec.json.Encoder().encode_lines


class JsonLines:
    """Encode the mutations of one entity, one object a line: METADATA, then columns.

    Deletes carry the key's columns only, truncates none. Values have their wire form (see MutationBatch);
    bytes become base64, instants ISO 8601, and floats that are not finite their names.

    Args:
        entity: the entity's config.
    """

    def __init__(self, entity: Entity) -> None:
        self._floats = {column.name for column in entity.columns() if column.kind.startswith("float")}

    def encode(self, batches: Sequence[MutationBatch]) -> bytes:
        """Return the lines of all mutations, in order.

        Raises:
            ValueError, TypeError: if a value cannot be encoded.
        """
        return b"".join([_encode_lines(self._lines(batch, batch.records)) for batch in batches])

    def encode_one(self, batch: MutationBatch, record: MutationRecord) -> bytes:
        """Return the line of one mutation; raises as `encode` does."""
        return _encode_lines(self._lines(batch, [record]))

    def _lines(self, batch: MutationBatch, records: Sequence[MutationRecord]) -> list[Any]:
        upsert, delete = _line_type(batch.columns), _line_type(batch.key_columns)
        topic, partition = batch.topic, batch.partition
        if batch.truncates:
            line = _line_type(())
            return [line("truncate", r.source_time_us, topic, partition, r.offset, r.index) for r in records]
        floats = self._floats
        if batch.evolved:
            floats = floats | {name for name, kind in batch.evolved if kind.startswith("float")}
        if not floats.isdisjoint(batch.columns):
            records = self._spelt(batch, records, floats)
        return [
            upsert("upsert", r.source_time_us, topic, partition, r.offset, r.index, *r.values)
            if r.values is not None
            else delete("delete", r.source_time_us, topic, partition, r.offset, r.index, *r.key)
            for r in records
        ]

    def _spelt(
        self, batch: MutationBatch, records: Sequence[MutationRecord], floats: AbstractSet[str]
    ) -> list[MutationRecord]:
        places = [i for i, column in enumerate(batch.columns) if column in floats]
        rows = iter(spell_non_finite([r.values for r in records if r.values is not None], places))
        return [r if r.values is None else msgspec.structs.replace(r, values=next(rows)) for r in records]


@lru_cache(maxsize=1024)
def _line_type(columns: tuple[str, ...]) -> type[msgspec.Struct]:
    # A Struct is made and encoded in C, and carries its names once. Databases name columns as they like,
    # Python's fields must be identifiers.
    names = (*METADATA, *columns)
    fields = [(f"f{place}", Any) for place in range(len(names))]
    renames = {field: name for (field, _), name in zip(fields, names, strict=True)}
    return msgspec.defstruct("Line", fields, rename=renames, gc=False)


def suffix_of(model: FilesSink) -> str:
    """Return the ending of the names of a sink's files."""
    return f".jsonl{_SUFFIXES[model.compression]}" if model.format == "jsonl" else f".{model.format}"


def compress(content: bytes, compression: str) -> bytes:
    """Compress lines; the same content gives the same bytes."""
    if compression == "gzip":
        return gzip.compress(content, _GZIP_LEVEL, mtime=0)
    if compression == "zstd":
        import zstandard

        return zstandard.ZstdCompressor().compress(content)
    return content
