"""Check rows against an entity's contract, in one pass of compiled code.

A contract becomes a msgspec Struct: decoding a row from JSON and checking its columns is then a single
C call. What comes out is the row's wire form (see MutationBatch), a tuple in the contract's order. Equal
decimals of a column with a scale have one wire form: 1.5 and 1.50 are both `1.50` in a `decimal(10,2)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from operator import itemgetter
from typing import Any

import msgspec

from tillstream.configs import Column
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import RowSchema
from tillstream.transforms.contracts.digits import (
    exact_numbers,
    has_nanoseconds,
    refuse_nanoseconds,
    time_columns,
)
from tillstream.transforms.contracts.rules import check_of, explained, ruled
from tillstream.transforms.contracts.unavailable import Unavailable, refuse_unknown
from tillstream.transforms.contracts.wire import ANY_JSON, RARE, plain_type, python_converter, wire_converter

__all__ = ["ANY_JSON", "CompiledContract", "Values"]

Values = tuple[Any, ...]


class CompiledContract:
    """Decode and check rows of one entity.

    Args:
        entity: the entity's name, for error messages.
        columns: the contract's columns, in order.
        key: names of the key's columns, in order.
        strict: whether rows may have no other columns; by default those are left out.
        ignored: names of columns that are left out nevertheless, and their types: Any or None.

    Attributes:
        columns: names of the columns, in order.
        shape: names of the columns of rows that were decoded, in order; more where a contract evolves.
        evolved: names and types of those of them that the contract lacks, or that are wider than in it.
        key_columns: names of the key's columns, in order.
        unavailable: settles columns whose values the source did not send.
        key_of: returns the key's part of a row's wire form.
    """

    def __init__(
        self,
        entity: str,
        columns: Sequence[Column],
        key: Sequence[str],
        *,
        strict: bool = False,
        ignored: Mapping[str, Any] | None = None,
    ) -> None:
        self.entity = entity
        self.columns = self.shape = tuple(column.name for column in columns)
        self.evolved: tuple[tuple[str, str], ...] = ()
        self.key_columns = tuple(key)
        by_name = {column.name: column for column in columns}
        self._all = tuple(columns)
        self._row = _compile(columns, strict=strict, ignored=ignored)
        self.unavailable = Unavailable({column.name: column.kind for column in columns})
        self._options: dict[str, Any] = {"strict": strict, "ignored": ignored}
        self._lacking: dict[tuple[str, ...], CompiledContract] = {}
        self._loose: tuple[_Compiled, Callable[[bytes], Any]] | None = None
        self._key = _compile([by_name[name] for name in key])
        self._times = time_columns(columns)
        self._key_times = tuple([name for name in self._times if name in self.key_columns])
        self._rare = _with_rare(columns)
        self._arguments = (strict, ignored)
        self._numbers = exact_numbers(columns)
        decoder, rows = msgspec.json.Decoder, list[self._row.struct]  # type: ignore[name-defined]
        self._decode_json = decoder(self._row.struct, float_hook=self._numbers).decode
        self._decode_many = decoder(rows, float_hook=self._numbers).decode
        # Transforms see floats inside of JSON.
        self._decode_typed = decoder(self._row.struct).decode
        self.key_of = _picker([self.columns.index(name) for name in key])

    def declare(self, schema: RowSchema) -> None:
        """Take note of the types that the messages of the next rows declare; one that evolves uses them."""

    def decode(self, row: bytes) -> Values:
        """Return the wire form of a JSON row.

        Raises:
            RecordError: `contract` with the column and the rule it breaks, `malformed` where it is no row.
        """
        if self._times and has_nanoseconds(row):
            refuse_nanoseconds(row, self._times)
        try:
            return self._row.wire(self._decode_json(row))
        except msgspec.ValidationError as error:
            if self._rare is not None:
                return self._decode_rarely(row)
            raise RecordError("contract", explained(error, self._all)) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RecordError("malformed", f"found a row that is not JSON: {error}") from error

    def _decode_rarely(self, row: bytes) -> Values:
        """Return the wire form of a row with a value that has a word in place of a number or a time."""
        strict, ignored = self._arguments
        compiled = _compile(self._rare or (), strict=strict, ignored=ignored)
        try:
            return compiled.wire(msgspec.json.Decoder(compiled.struct, float_hook=self._numbers).decode(row))
        except msgspec.ValidationError as error:
            raise RecordError("contract", explained(error, self._all)) from error

    def decode_without(self, row: bytes, unknown: tuple[str, ...]) -> Values:
        """Return what `decode` does, of a row in which some columns were not sent: null fits those.

        Raises:
            RecordError: as `decode` does; `unavailable_value` where a column of the key was not sent.
        """
        contract = self._lacking.get(unknown)
        if contract is None:
            if not set(unknown).isdisjoint(self.key_columns):
                refuse_unknown(unknown)
            columns = [
                replace(each, nullable=True, rules=None, default=None) if each.name in unknown else each
                for each in self._all
            ]
            contract = CompiledContract(self.entity, columns, self.key_columns, **self._options)
            self._lacking[unknown] = contract
        return contract.decode(row)

    def typed(self, row: bytes) -> dict[str, Any]:
        """Return the columns of a JSON row with their Python types; raises RecordError as `decode` does.

        Decimals come as Decimal, instants as aware datetimes, dates, times and UUIDs as such, JSON decoded.
        """
        return self._typed(row, self._row, self._decode_typed)

    def typed_loosely(self, row: bytes) -> dict[str, Any]:
        """Return what `typed` does, of a row that may lack columns, as rows before a change do: None."""
        if self._loose is None:
            loose = _compile([replace(each, nullable=True, rules=None, default=None) for each in self._all])
            self._loose = (loose, msgspec.json.Decoder(loose.struct).decode)
        return self._typed(row, *self._loose)

    def _typed(self, row: bytes, compiled: _Compiled, decode: Callable[[bytes], Any]) -> dict[str, Any]:
        if self._times and has_nanoseconds(row):
            refuse_nanoseconds(row, self._times)
        try:
            values = list(compiled.values(decode(row)))
        except msgspec.ValidationError as error:
            raise RecordError("contract", explained(error, self._all)) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RecordError("malformed", f"found a row that is not JSON: {error}") from error
        for place, convert in compiled.to_python:
            if values[place] is not None:
                try:
                    values[place] = convert(values[place])
                except ValueError as error:
                    raise RecordError("contract", f"{error} - at `$.{self.columns[place]}`") from error
        return dict(zip(self.columns, values, strict=True))

    def decode_many(self, rows: Sequence[bytes]) -> list[Values] | None:
        """Return the wire forms of JSON rows in one go; None where `decode` refuses one of them."""
        joined = b"[%b]" % b",".join(rows)
        if self._times and has_nanoseconds(joined):
            return None
        try:
            found = self._decode_many(joined)
            return [self._row.wire(row) for row in found] if len(found) == len(rows) else None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, RecordError):
            return None

    def convert(self, row: Mapping[str, Any]) -> Values:
        """Return the wire form of a row of Python values; raises RecordError as `decode` does."""
        refuse_nanoseconds(row, self._times)
        try:
            return self._row.convert(row)
        except msgspec.ValidationError as error:
            raise RecordError("contract", explained(error, self._all)) from error

    def convert_key(self, key: Mapping[str, Any]) -> Values:
        """Return the wire form of a key of Python or JSON values; raises RecordError."""
        refuse_nanoseconds(key, self._key_times)
        try:
            return self._key.convert(key)
        except msgspec.ValidationError as error:
            raise RecordError("contract", explained(error, self._all)) from error


def _picker(places: Sequence[int]) -> Callable[[Values], Values]:
    """Return what picks a row's key; `itemgetter` gives a bare value where there is but one."""
    if len(places) != 1:
        return itemgetter(*places) if places else lambda _: ()
    (place,) = places
    return lambda values: (values[place],)


class _Compiled:
    """Pair a Struct with the conversions that its columns need on the way to the wire."""

    def __init__(
        self,
        struct: type[msgspec.Struct],
        names: Sequence[str],
        to_wire: Sequence[tuple[int, Callable[[Any], Any]]],
        to_python: Sequence[tuple[int, Callable[[Any], Any]]],
    ) -> None:
        self.struct = struct
        self.to_python = tuple(to_python)
        self._names = tuple(names)
        self._to_wire = tuple(to_wire)
        self._ignores = len(struct.__struct_fields__) > len(self._names)

    def values(self, row: msgspec.Struct) -> Values:
        found = msgspec.structs.astuple(row)
        return found[: len(self._names)] if self._ignores else found

    def wire(self, row: msgspec.Struct) -> Values:
        values = self.values(row)
        if not self._to_wire:
            return values
        changed = list(values)
        for place, convert in self._to_wire:
            value = changed[place]
            if value is not None:
                try:
                    changed[place] = convert(value)
                except (ValueError, OverflowError, RecursionError) as error:
                    raise RecordError("contract", f"{error} - at `$.{self._names[place]}`") from error
        return tuple(changed)

    def convert(self, row: Mapping[str, Any]) -> Values:
        return self.wire(msgspec.convert(row, self.struct))


def _to_wire(column: Column) -> Callable[[Any], Any] | None:
    return check_of(column, wire_converter(column))


def _to_python(column: Column) -> Callable[[Any], Any] | None:
    return check_of(column, python_converter(column))


def _field(name: str, column: Column) -> tuple[Any, ...]:
    kind = ruled(column, plain_type(column))
    if column.nullable:
        kind = Any if kind is Any else kind | None
    if column.default is not None:
        return name, kind, msgspec.convert(column.default, kind)
    return (name, kind, None) if column.nullable else (name, kind)


_WITH_RARE = ("decimal", "timestamp", "timestamptz")


def _with_rare(columns: Sequence[Column]) -> list[Column] | None:
    """Return columns that take infinity where compiled code does not; None where none can be infinite."""
    wider = [
        replace(column, kind=RARE + column.kind) if column.kind in _WITH_RARE and not column.rules else column
        for column in columns
    ]
    return None if wider == list(columns) else wider


def _compile(
    columns: Sequence[Column], *, strict: bool = False, ignored: Mapping[str, Any] | None = None
) -> _Compiled:
    return _compiled(tuple(columns), strict, tuple((ignored or {}).items()))


# Compiling takes a millisecond; tests set up the same stages thousands of times.
@lru_cache(maxsize=256)
def _compiled(
    columns: tuple[Column, ...],
    strict: bool,  # noqa: FBT001  (part of the cache's key)
    ignored: tuple[tuple[str, Any], ...],
) -> _Compiled:
    # Databases name columns as they like, Python's fields must be identifiers.
    names = {f"f{place}": column.name for place, column in enumerate(columns)}
    fields: list[Any] = [_field(*each) for each in zip(names, columns, strict=True)]
    others = {f"g{place}": name for place, (name, _) in enumerate(ignored)}
    fields += [(field, kind, None) for field, (_, kind) in zip(others, ignored, strict=True)]
    # Required fields may follow optional ones only by keyword, which keeps the contract's order.
    struct = msgspec.defstruct(
        "Row", fields, rename={**names, **others}, kw_only=True, gc=False, forbid_unknown_fields=strict
    )
    return _Compiled(
        struct,
        list(names.values()),
        [(i, convert) for i, column in enumerate(columns) if (convert := _to_wire(column)) is not None],
        [(i, convert) for i, column in enumerate(columns) if (convert := _to_python(column)) is not None],
    )
