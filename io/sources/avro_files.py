"""Read Debezium's envelopes from Avro container files, as lines of JSON.

Source: Avro 1.12 specification, "Object Container Files".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from tillstream.io.codecs.avro_envelope import record_reader
from tillstream.io.codecs.avro_schema import parse_schema
from tillstream.pipelines.errors import MissingToolError

__all__ = ["avro_lines"]

_encode = msgspec.json.Encoder().encode


def avro_lines(path: Path) -> Iterator[bytes]:
    """Yield a file's records as JSON, the rows in them spelt as rows are.

    Raises:
        ValueError: for what is damaged or cut off, after the records that could still be read.
        MissingToolError: without fastavro.
    """
    try:
        from fastavro import block_reader
    except ImportError as error:
        raise MissingToolError("found no fastavro: pip install 'tillstream[files]'") from error
    with path.open("rb") as file:
        try:
            blocks = block_reader(file)
            read = record_reader(parse_schema(blocks.metadata["avro.schema"]))
            for block in blocks:
                body, place = block.bytes_.getvalue(), 0
                for _ in range(block.num_records):
                    record, place = read(body, place)
                    yield _encode(record)
        # Each way to compress has errors of its own, and lengths that no file has make others.
        except Exception as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
