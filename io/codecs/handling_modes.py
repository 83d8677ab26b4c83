"""Spell the values of messages without a schema, by the connector's handling modes and the entity's contract.

Source: Debezium 3 documentation, PostgreSQL connector, `decimal.handling.mode`, `time.precision.mode`,
`binary.handling.mode`, `interval.handling.mode`, `hstore.handling.mode` and "Temporal values".
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from typing import Any

from tillstream.configs import Column
from tillstream.configs.contract import text_of
from tillstream.configs.events import Events, SourceColumn
from tillstream.io.codecs.connect_times import (
    MICROS,
    MILLIS,
    NANOS,
    day_of,
    interval_of,
    time_of,
    timestamp_of,
)
from tillstream.io.codecs.connect_types import Spell, Spelling, decimal_text, each_of, spelling_of
from tillstream.io.codecs.row_spelling import RowSpelling

__all__ = ["spelling_by_modes"]

_MILLIS_DIGITS, _MICROS_DIGITS = 3, 6
_NO_HINT = SourceColumn()
_HSTORE = spelling_of("map").respell or str


def spelling_by_modes(
    entity: str, columns: Sequence[Column], events: Events, left_out: Collection[str] = ()
) -> RowSpelling | None:
    """Return what respells the rows of an entity; None where they need nothing, as with Debezium's texts.

    Args:
        entity: its name in the client's config.
        columns: of its contract, which tell what a number is.
        events: the modes, and what they leave open.
        left_out: names of columns that are no part of rows.
    """
    hints = events.columns.get(entity, {})
    found = {each.name: _spell_of(each, events, hints.get(each.name, _NO_HINT)) for each in columns}
    respelt = {
        each.name: (text_of(each), spell) for each in columns if (spell := found[each.name]) is not None
    }
    return RowSpelling(respelt, left_out) if respelt or left_out else None


def _spell_of(column: Column, events: Events, hint: SourceColumn) -> Spell | None:
    if column.element is not None:
        spell = _spell_of(column.element, events, hint)
        return None if spell is None else each_of(spell)
    if hint.geometry:
        return spelling_of("struct", "io.debezium.data.geometry.Geometry").respell
    spells = {
        "decimal": _decimal(events.decimal_handling_mode, hint.scale),
        "bytes": _bytes(events.binary_handling_mode),
        "json": _json if events.hstore_handling_mode == "map" else None,
        "interval": interval_of(MICROS) if events.interval_handling_mode == "numeric" else None,
    }
    if column.kind in spells:
        return spells[column.kind]
    return _time(column.kind, events.time_precision_mode, hint.fraction_digits)


def _decimal(mode: str, scale: int | None) -> Spell | None:
    if mode == "string":
        return None
    variable = spelling_of("struct", "io.debezium.data.VariableScaleDecimal")
    fixed = Spelling("decimal")
    if scale is not None:
        fixed = spelling_of("bytes", "org.apache.kafka.connect.data.Decimal", {"scale": str(scale)})

    def respell(value: Any) -> Any:
        if isinstance(value, str):
            # As a double, this is NaN or an infinity.
            return value if mode == "double" or fixed.respell is None else fixed.respell(value)
        if isinstance(value, dict) and variable.respell is not None:
            return variable.respell(value)
        return decimal_text(value)

    return respell


def _json(value: Any) -> Any:
    # JSON itself comes as text.
    return _HSTORE(value) if isinstance(value, dict) else value


def _bytes(mode: str) -> Spell | None:
    if mode in ("base64", "bytes"):
        return None

    def respell(value: str) -> str:
        found = bytes.fromhex(value) if mode == "hex" else base64.urlsafe_b64decode(value)
        return base64.b64encode(found).decode()

    return respell


def _time(kind: str, mode: str, digits: int | None) -> Spell | None:
    if mode == "isostring" or kind not in ("date", "time", "timestamp"):
        return None
    if kind == "date":
        return day_of
    units = {"connect": MILLIS, "microseconds": MICROS, "nanoseconds": NANOS}
    unit = units.get(mode)
    if unit is None and mode == "adaptive_time_microseconds" and kind == "time":
        unit = MICROS
    if unit is None:
        digits = _MICROS_DIGITS if digits is None else digits
        unit = MILLIS if digits <= _MILLIS_DIGITS else MICROS if digits <= _MICROS_DIGITS else NANOS
    return time_of(unit) if kind == "time" else timestamp_of(unit)
