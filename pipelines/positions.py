"""Place changes in their source's own order.

A position is a tuple that Python compares: of two changes of one row, the later one has the greater position.
All begin with an epoch, which a person raises when the source's log starts over (a restore, a fail-over to a
server with a log of its own): every later change is then newer than every earlier one, whatever its log says.

| connector | position | after the epoch |
| --- | --- | --- |
| postgresql | max(last commit, LSN), kind, LSN | `source.sequence`, `source.lsn` |
| mysql, mariadb | 0, file number, offset, kind, row | without GTIDs |
| | 1, transaction number, file number, offset, kind, row | with GTIDs |
| sqlserver | commit LSN, kind, change LSN, event serial number | each LSN as its three numbers |
| oracle | commit SCN, kind, SCN, sequence in the transaction, rs_id, ssn, LCR position | |
| mongodb | seconds, ordinal, kind, transaction number | the oplog's timestamp |

Kind is 0 for snapshot reads and 1 for the stream. It stands behind the log's own place, so a snapshot read
loses to every event at or after the place at which the snapshot was taken, and wins over those before it: a
snapshot never overwrites a newer event, and a snapshot taken after events were lost repairs the rows.

Postgres: one row's LSNs rise, because a transaction changes a row only after the one before has committed. A
transaction's number of the last commit is above all LSNs before that commit, so the greater of both follows
the order of commits. A fresh slot's first transaction has no last commit yet and may have begun before the
snapshot was taken that does not contain it. Its kind is 2, which `reconcile` looks at.

MySQL: a GTID's transaction number orders the transactions of one server, whichever replica they are read
from. Numbers of different servers do not compare; raise the epoch when another server becomes the source.
A snapshot read has no GTID; `reconcile` compares it by file and offset.

MongoDB: two changes of one document within one transaction share a position.

Sources: Debezium 3 documentation, section "Data change events" of each connector (its `source` field), and
Debezium's BinlogHistoryRecordComparator for binlogs; PostgreSQL, "Logical Decoding Concepts"; MySQL Reference
Manual, "GTID Format and Storage"; Oracle, "V$LOGMNR_CONTENTS".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import Position

__all__ = ["CONNECTORS", "position_of", "postgres_position", "reconcile", "sortable"]

_SNAPSHOT, _STREAM, _FIRST_STREAM = 0, 1, 2
_INT_MAX = (1 << 63) - 1
# A tuple, because a damaged block may hold what cannot be hashed.
_NO_SNAPSHOT = ("false", None, False)
_BINLOG, _GTID = 0, 1
_POSTGRES_LENGTH, _BINLOG_LENGTH, _GTID_LENGTH = 4, 6, 7

_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{1,8}")

Source = Mapping[str, Any]

_decode_sequence = msgspec.json.Decoder(tuple[str | None, str | None]).decode


def position_of(source: Source, connector: str | None = None, epoch: int = 0) -> Position:
    """Return where a change stands in its source's order; empty where the connector has none known here.

    Args:
        source: the event's `source` block.
        connector: overrides the block's own `connector`.
        epoch: rises whenever the source's log starts over.

    Raises:
        RecordError: `malformed`, naming the field, where the block lacks what its connector always sends.
    """
    place = CONNECTORS.get(str(source.get("connector")) if connector is None else connector)
    return () if place is None else (epoch, *place(source))


def postgres_position(
    sequence: str | None, lsn: int | None, snapshot: str | None, epoch: int = 0
) -> Position:
    """Return a Postgres position out of the block's fields, for a codec that has them at hand.

    Args:
        sequence: JSON of two texts, the last commit's LSN and the change's own; either may be null.
        lsn: the change's own, where there is no sequence.
        snapshot: the block's field of that name; false or absent for the stream.
        epoch: rises whenever the source's log starts over.

    Raises:
        RecordError: `malformed` where the sequence is not two LSNs.
    """
    commit_lsn = change_lsn = 0
    try:
        if sequence is not None:
            # The usual form, '["123","456"]', without the cost of a decoder.
            commit, _, change = sequence[2:-2].partition('","')
            if commit.isdecimal() and change.isdecimal():
                commit_lsn, change_lsn = int(commit), int(change)
                if 0 < commit_lsn <= change_lsn <= _INT_MAX and snapshot in _NO_SNAPSHOT:
                    return (epoch, change_lsn, _STREAM, change_lsn)
            else:
                found = _decode_sequence(sequence)
                commit_lsn, change_lsn = int(found[0] or 0), int(found[1] or 0)
    except (msgspec.MsgspecError, ValueError, TypeError, LookupError, AttributeError) as error:
        # A damaged block may hold anything, not only text.
        raise _malformed("sequence", sequence, "two LSNs") from error
    change_lsn = change_lsn or lsn or 0
    if not (0 <= commit_lsn <= _INT_MAX and 0 <= change_lsn <= _INT_MAX):
        raise _malformed("sequence", sequence, "two LSNs")
    place = max(commit_lsn, change_lsn)
    if snapshot not in _NO_SNAPSHOT:
        # An incremental snapshot's chunk holds what was committed up to its high watermark.
        return (epoch, place, _SNAPSHOT, change_lsn)
    return (epoch, place, _STREAM if commit_lsn else _FIRST_STREAM, change_lsn)


def reconcile(position: Position, known: Position) -> Position | None:
    """Return the position that makes a change newer than a greater known one, or None where it is older.

    Two cases cannot be told by the blocks alone, as the module says: the first transaction of a Postgres
    slot behind the snapshot read of its row, and a MySQL snapshot read behind an event with a GTID.

    Args:
        position: of a change that follows in the topic.
        known: of the same row's newest change so far; not below `position`.
    """
    if position[:1] != known[:1]:
        return None
    if len(position) == len(known) == _POSTGRES_LENGTH:
        return _reconcile_postgres(position, known)
    if len(position) == _BINLOG_LENGTH and len(known) == _GTID_LENGTH:
        _, _, file, offset, kind, row = position
        if kind == _SNAPSHOT and (file, offset) > known[3:5]:
            return (*known[:3], file, offset, kind, row)
    return None


def _reconcile_postgres(position: Position, known: Position) -> Position | None:
    kind, known_kind = position[2], known[2]
    lifted = (*known[:2], _FIRST_STREAM, position[3])
    if known_kind == _SNAPSHOT:
        return lifted if kind == _FIRST_STREAM else None
    # What has been lifted above its snapshot compares by the row's own LSNs, which always rise.
    if _FIRST_STREAM in (kind, known_kind) and kind != _SNAPSHOT and position[3:] > known[3:]:
        return lifted
    return None


def _postgres(source: Source) -> Position:
    lsn = source.get("lsn")
    number = None if lsn is None else _natural("lsn", lsn)
    return postgres_position(source.get("sequence"), number, source.get("snapshot"))[1:]


def _mysql(source: Source) -> Position:
    file = str(source.get("file") or "")
    number = _natural("file", file.rpartition(".")[2])
    kind = _kind(source)
    offset, row = _natural("pos", source.get("pos")), _natural("row", source.get("row") or 0)
    gtid = source.get("gtid")
    if not gtid:
        return (_BINLOG, number, offset, kind, row)
    # MySQL: uuid:number or uuid:tag:number; MariaDB: domain-server-number.
    transaction = re.split(r"[:-]", str(gtid))[-1]
    return (_GTID, _natural("gtid", transaction), number, offset, kind, row)


def _sqlserver(source: Source) -> Position:
    commit = _lsn_of("commit_lsn", source.get("commit_lsn"))
    # Snapshot reads have no change of their own.
    found = source.get("change_lsn")
    change = (0, 0, 0) if found in (None, "NULL") else _lsn_of("change_lsn", found)
    return (*commit, _kind(source), *change, _natural("event_serial_no", source.get("event_serial_no") or 0))


def _oracle(source: Source) -> Position:
    kind = _kind(source)
    scn = _natural("scn", source.get("scn") or source.get("commit_scn"))
    # A snapshot holds what was committed up to its SCN; its block may carry a later commit's.
    commit = scn if kind == _SNAPSHOT else _natural("commit_scn", source.get("commit_scn") or scn)
    return (
        commit,
        kind,
        scn,
        _natural("txSeq", source.get("txSeq") or 0),
        *_rs_id(source.get("rs_id")),
        _natural("ssn", source.get("ssn") or 0),
        str(source.get("lcr_position") or ""),
    )


def _mongodb(source: Source) -> Position:
    seconds = _natural("ts_ms", source.get("ts_ms")) // 1000
    transaction = _natural("txnNumber", source.get("txnNumber") or 0)
    return (seconds, _natural("ord", source.get("ord") or 0), _kind(source), transaction)


CONNECTORS: Mapping[str, Callable[[Source], Position]] = {
    "mariadb": _mysql,
    "mongodb": _mongodb,
    "mysql": _mysql,
    "oracle": _oracle,
    "postgresql": _postgres,
    "sqlserver": _sqlserver,
}


def _kind(source: Source) -> int:
    return _STREAM if source.get("snapshot") in _NO_SNAPSHOT else _SNAPSHOT


def _natural(field: str, value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if not 0 <= number <= _INT_MAX:
        raise _malformed(field, value, "a whole number of at most 63 bits")
    return number


def _lsn_of(field: str, text: Any) -> tuple[int, ...]:
    """Return the three numbers of an LSN such as 00000027:00000758:0005, hexadecimal."""
    numbers = _hexadecimal(text, ":")
    if len(numbers) != 3:  # noqa: PLR2004  (log file, block, slot)
        raise _malformed(field, text, "three hexadecimal numbers with colons between")
    return numbers


def _rs_id(text: Any) -> tuple[int, ...]:
    """Return the three numbers of a redo record's place such as 0x001234.00012345.0124, or zeros."""
    numbers = _hexadecimal(str(text or "").strip().removeprefix("0x"), ".")
    return numbers if len(numbers) == 3 else (0, 0, 0)  # noqa: PLR2004  (log sequence, block, byte)


def _hexadecimal(text: Any, separator: str) -> tuple[int, ...]:
    parts = str(text).split(separator)
    return tuple([int(part, 16) for part in parts]) if all(map(_HEXADECIMAL.fullmatch, parts)) else ()


def _malformed(field: str, found: Any, expected: str) -> RecordError:
    return RecordError("malformed", f"found source.{field} {found!r:.100}, expected {expected}")


# Tags of the sortable form: text, and integers around zero by how many bytes they take.
_TEXT_TAG = b"\x02"
_ZERO_TAG = 0x14
_INT_BYTES_MAX = 16
_INT_TAGS = {size: bytes((_ZERO_TAG + size,)) for size in range(-_INT_BYTES_MAX, _INT_BYTES_MAX + 1)}


def _layout(kind: int, place_bytes: int, lsn_bytes: int) -> tuple[int, int, int]:
    """Return a Postgres position's form with zeros for its LSNs, where the first one goes, and its length."""
    parts = [_INT_TAGS[0], _INT_TAGS[place_bytes], bytes(place_bytes), _INT_TAGS[(kind + 1) // 2]]
    parts += [bytes((kind,)) if kind else b"", _INT_TAGS[lsn_bytes], bytes(lsn_bytes)]
    form = b"".join(parts)
    behind = len(b"".join(parts[3:]))
    return int.from_bytes(form, "big"), 8 * behind, len(form)


# Kind, bytes of the place, bytes of the LSN: of the positions of epoch 0.
_LAYOUTS = {
    (kind, place_bytes, lsn_bytes): _layout(kind, place_bytes, lsn_bytes)
    for kind in (_SNAPSHOT, _STREAM, _FIRST_STREAM)
    for place_bytes in range(9)
    for lsn_bytes in range(9)
}


def sortable(position: Position) -> bytes:
    """Return bytes that compare, byte by byte, as positions do; for a `bytea` column.

    The form is that of FoundationDB's tuple layer: a tag that holds sign and length, then the number's
    bytes; text ends in a zero byte, zero bytes inside are escaped.

    Raises:
        ValueError: if a number takes more than 16 bytes.
    """
    if len(position) == _POSTGRES_LENGTH:
        # One is written with every row: a third of the time.
        try:
            numbers: tuple[Any, ...] = position
            epoch, place, kind, lsn = numbers
            base, shift, size = _LAYOUTS[kind, (place.bit_length() + 7) >> 3, (lsn.bit_length() + 7) >> 3]
            if epoch == 0:
                form: bytes = (base | place << shift | lsn).to_bytes(size, "big")
                return form
        except (AttributeError, KeyError, OverflowError):
            pass
    parts = []
    for each in position:
        if isinstance(each, str):
            parts.append(_TEXT_TAG + each.encode("utf-8", "surrogatepass").replace(b"\0", b"\0\xff") + b"\0")
            continue
        size = (each.bit_length() + 7) >> 3
        if size > _INT_BYTES_MAX:
            raise ValueError(f"position: found a number of {size} bytes, expected at most {_INT_BYTES_MAX}")
        if each >= 0:
            parts.append(_INT_TAGS[size] + each.to_bytes(size, "big"))
        else:
            # Below zero a longer number is smaller, and so is a greater one of the same length.
            parts.append(_INT_TAGS[-size] + (each + (1 << 8 * size) - 1).to_bytes(size, "big"))
    return b"".join(parts)
