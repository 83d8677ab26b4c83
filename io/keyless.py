"""Give the rows of tables without a key something that tells them apart.

A row that is only ever added is told by its event: the place of the change in the source's order, what it
did, and its number in its transaction where the source tells that, or else a digest of the row, because rows
that one COPY adds share a place. Snapshot reads share one too; like changes without a place they are told by
where they were read.

A row that may change or go is told by its own values, and by which of the equal rows it is: of those, any may
go. An update is then two changes, of two rows: the one before goes, the one after comes. Which copy each is,
its shard knows (`tillstream.transforms.copies`); until then its second part names the event, so that
repeats are told.

Sources: PostgreSQL documentation, "Replica identity" of ALTER TABLE; Debezium documentation, PostgreSQL
connector, "Replica identity".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from hashlib import blake2b
from typing import Any

import msgspec

from tillstream.configs import ClientConfig
from tillstream.io.codecs.messages import is_own_message
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import ChangeRecord, Operation

__all__ = ["KeylessReader", "keyless_readers"]

_ROW_ID_BYTES, _EVENT_BYTES = 16, 8
_KEY_BYTES_MAX = 64
_FULL = "set REPLICA IDENTITY FULL on the table"
_ADDED = (Operation.SNAPSHOT, Operation.CREATE, Operation.MESSAGE)
_encode = msgspec.msgpack.Encoder(decimal_format="string").encode
_decode = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
_replace = msgspec.structs.replace
# Longer than any number of a database, whose digits all count.
_EXACT = Context(prec=200_000, Emax=MAX_EMAX, Emin=MIN_EMIN)


class KeylessReader:
    """Give the changes of one entity their keys.

    Args:
        config: the client's.
        entity: one without a key.
        shard_of: returns the shard of a key.
    """

    def __init__(self, config: ClientConfig, entity: str, shard_of: Callable[[tuple[Any, ...]], int]) -> None:
        self._is_append = config.entities[entity].keyless == "append"
        self._shard_of = shard_of
        self._names = {b'"%b"' % name.encode(): name for name in config.entities[entity].key}
        self._secret = _secret(config, entity)
        self._rows = _Canonical(config, entity)

    def split(self, topic: str, partition: int, record: ChangeRecord) -> Sequence[tuple[int, ChangeRecord]]:
        """Return what a change is, in order: one change, or two for an update of a whole row.

        Args:
            topic: where it was read.
            partition: of that topic.
            record: the change, without a key.

        Raises:
            RecordError: `unsupported_operation` for an update or delete where rows are only added,
                `missing_row` where the row before was not sent, `schema` where a column has the name of one
                that rows get here.
        """
        if is_own_message(record):
            return ()
        if self._is_append:
            return [self._appended(topic, partition, record)]
        operation, found = record.operation, []
        is_update = operation is Operation.UPDATE
        if operation not in _ADDED:
            if record.before is None:
                raise RecordError(
                    "missing_row",
                    f"found a {operation.name.lower()} without the row before it, expected that, because the "
                    f"table has no key: {_FULL}",
                )
            delete = _replace(record, operation=Operation.DELETE, index=int(is_update))
            found.append(self._half(topic, partition, delete, record.before))
        if record.after is not None:
            kind = Operation.SNAPSHOT if operation is Operation.SNAPSHOT else Operation.CREATE
            create = _replace(record, operation=kind, index=2 * int(is_update))
            found.append(self._half(topic, partition, create, record.after))
        return found

    def again(self, topic: str, partition: int, record: ChangeRecord) -> tuple[int, ChangeRecord]:
        """Return a change that a person gives back to the job.

        Raises:
            RecordError: `unsupported_operation` where it can not be told which row it was.
        """
        if not self._is_append:
            raise RecordError(
                "unsupported_operation",
                "found a change of a table without a key, keyless: full_row, expected none to be given back: "
                "which of several equal rows it was is not known any more; write the table anew in the "
                "source: in one transaction copy its rows, TRUNCATE it, and insert them again",
            )
        return self._appended(topic, partition, record)

    def _appended(self, topic: str, partition: int, record: ChangeRecord) -> tuple[int, ChangeRecord]:
        operation = record.operation
        if operation not in _ADDED or record.after is None:
            raise RecordError(
                "unsupported_operation",
                f"found a {operation.name.lower()} event, expected rows to be added alone, because keyless "
                f"is append: set keyless to full_row, and {_FULL}",
            )
        self._check_names(record.after)
        key = (self._event(topic, partition, record, record.after),)
        if operation is Operation.MESSAGE:
            operation = Operation.CREATE
        return self._shard_of(key), _replace(record, key=key, operation=operation)

    def _half(self, topic: str, partition: int, half: ChangeRecord, row: bytes) -> tuple[int, ChangeRecord]:
        self._check_names(row)
        is_delete = half.operation is Operation.DELETE
        row_id = self._digest(self._rows.encoded(row), _ROW_ID_BYTES)
        key = (row_id, self._event(topic, partition, half, b""))
        rows = (row, None) if is_delete else (None, row)
        return self._shard_of((row_id,)), _replace(half, key=key, before=rows[0], after=rows[1])

    def _check_names(self, row: bytes) -> None:
        """Refuse a row whose own column would take the place of its key: the last one of a name counts."""
        # Without an escape a name stands there as it is, and nearly always does not.
        if not (b"\\u" in row or any(name in row for name in self._names)):
            return
        with suppress(msgspec.MsgspecError, ArithmeticError, UnicodeDecodeError, RecursionError):
            found = [name for name in self._names.values() if name in _decode(row)]
            if found:
                raise RecordError(
                    "schema",
                    f"found column {found[0]!r}, whose name no column of a table without a key may have, "
                    "because it is that of the key which its rows get: rename it in the source",
                )

    def _event(self, topic: str, partition: int, record: ChangeRecord, row: bytes) -> str:
        operation = record.operation
        if not record.position or operation is Operation.SNAPSHOT:
            return f"{topic}/{partition}/{record.offset}"
        parts = [".".join(map(str, record.position)), operation.value]
        if record.transaction is not None:
            parts.append(str(record.transaction[1]))
        elif row:
            parts.append(self._digest(row, _EVENT_BYTES))
        return "/".join(parts)

    def _digest(self, row: bytes, size: int) -> str:
        return blake2b(row, digest_size=size, key=self._secret).hexdigest()


class _Canonical:
    """Spell equal rows alike: by the contract where it says what is delivered, and without nulls.

    A column that is added later is null in the rows of before, and so changes none of them.
    """

    def __init__(self, config: ClientConfig, entity: str) -> None:
        # The transforms take long to import; a client without such tables needs none of them here.
        from tillstream.transforms.contracts.compiled import CompiledContract

        described = config.entities[entity]
        columns = [each for each in described.columns() if each.name not in described.key]
        policy = config.evolution_of(entity)
        # A transform's input is the source's row, of which the contract of its output says nothing.
        is_read = described.transform is not None or any(
            each.from_entity == entity for each in config.entities.values()
        )
        self._evolves = None if is_read or not columns else policy
        if described.transform is not None:
            columns = []
        self._names = {column.name for column in columns}
        self._decimals = {column.name for column in columns if column.kind == "decimal"}
        loose = [replace(each, nullable=True, rules=None, default=None) for each in columns]
        self._contract = CompiledContract(entity, loose, ()) if loose else None

    def encoded(self, row: bytes) -> bytes:
        """Return a row's canonical bytes; what is no row is for its contract to refuse."""
        try:
            found = _decode(row)
        except (msgspec.MsgspecError, ArithmeticError, UnicodeDecodeError, RecursionError):
            return row
        values = {name: value for name, value in found.items() if self._matters(name)}
        if self._contract is not None:
            # One that does not fit is refused later; equal ones are equal all the same.
            with suppress(RecordError):
                values |= zip(self._contract.columns, self._contract.decode(row), strict=True)
        for name in self._decimals:
            if values.get(name) is not None:
                values[name] = _number(values[name])
        try:
            return _encode(sorted([item for item in values.items() if item[1] is not None], key=_name))
        except (OverflowError, TypeError, ValueError):
            return row

    def _matters(self, name: str) -> bool:
        policy = self._evolves
        return name in self._names or policy is None or policy.by_column.get(name, policy.columns) == "evolve"


def keyless_readers(
    config: ClientConfig, shard_of: Callable[[str], Callable[[tuple[Any, ...]], int]]
) -> dict[str, KeylessReader]:
    """Return the readers of a client's entities without a key.

    Args:
        config: the client's.
        shard_of: returns, of an entity, what returns the shard of a key.
    """
    return {
        name: KeylessReader(config, name, shard_of(name))
        for name, entity in config.entities.items()
        if entity.keyless is not None
    }


def _secret(config: ClientConfig, entity: str) -> bytes:
    """Return the client's salt where the entity's rows are masked: a bare digest would tell who guesses."""
    from tillstream.transforms.trust.masks import mask_names, salt_of

    return salt_of(config)[:_KEY_BYTES_MAX] if mask_names(config, entity) else b""


def _number(value: Any) -> Any:
    """Return a number's one spelling; what is no number stays as it is, for its contract to refuse."""
    # 1.5 and 1.50 are one number; a widened column spells it with more digits.
    try:
        number = Decimal(str(value))
        return str(number.normalize(_EXACT)) if number.is_finite() else str(number)
    except (ArithmeticError, TypeError, ValueError):
        return value


def _name(item: tuple[str, Any]) -> str:
    return item[0]
