"""Read logical messages: what a transaction says by `pg_logical_emit_message`, beside the rows it changes.

Source: Debezium documentation, PostgreSQL connector, "message events": op `m`, and `message` with `prefix`
and `content`, in the topic `<prefix>.message`.
"""

from __future__ import annotations

import msgspec

from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import ChangeRecord, Operation, Position

__all__ = ["is_own_message", "message_of"]

# Of messages by which tillstream marks places in the log.
_OWN_ROW = b'{"prefix":"tillstream.'
_encode = msgspec.json.Encoder().encode


class _Row(msgspec.Struct):
    prefix: str
    content: str | None = None


class _Message(msgspec.Struct):
    message: _Row


_decode = msgspec.json.Decoder(_Message).decode


def message_of(
    text: bytes | msgspec.Raw,
    offset: int,
    position: Position,
    source_time_us: int,
    transaction: tuple[str, int] | None = None,
) -> tuple[int, ChangeRecord]:
    """Return what `Codec.decode` returns of a message: a row of `prefix`, text, and `content`, base64.

    Args:
        text: the envelope, JSON.
        offset: place in the topic-partition.
        position: place in the source's own order.
        source_time_us: commit time in the source, microseconds since 1970 UTC.
        transaction: as of `ChangeRecord`; None where the message belongs to none.

    Raises:
        RecordError: `malformed`.
    """
    try:
        row = _encode(_decode(text).message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(
            "malformed", f"found {error}, expected a message with prefix and content"
        ) from error
    return 0, ChangeRecord(offset, Operation.MESSAGE, (), position, source_time_us, None, row, transaction)


def is_own_message(record: ChangeRecord) -> bool:
    """Tell whether a change is a message by which tillstream marks a place in the log."""
    row = record.after
    return record.operation is Operation.MESSAGE and row is not None and row.startswith(_OWN_ROW)
