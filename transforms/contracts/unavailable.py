"""Find columns whose values the source did not send, because the change did not touch them.

Postgres keeps large values apart from their row (TOAST) and leaves those that an update did not change out of
its log. Debezium sends a placeholder in their place (PostgreSQL connector, "Toasted values", and its
UnchangedToastedPlaceholder): the text `__debezium_unavailable_value`; for bytes that text's bytes; for arrays
one element of it, or its bytes as the elements of integers and dates, or a UUID made of it; for hstore a map
of it. A value is a placeholder only where it is one as a whole. A text that merely contains it is data, and
so is whatever a snapshot read: those always have all values.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import ChangeRecord, Operation

__all__ = ["ANYTHING", "UNAVAILABLE_VALUE", "Unavailable", "refuse_unknown"]

UNAVAILABLE_VALUE = "__debezium_unavailable_value"
_BYTES = UNAVAILABLE_VALUE.encode()
_BASE64 = base64.b64encode(_BYTES).decode()
_UUID = str(uuid.UUID(bytes=hashlib.md5(_BYTES, usedforsecurity=False).digest(), version=3))
_DAYS = [(dt.date(1970, 1, 1) + dt.timedelta(days=number)).isoformat() for number in _BYTES]
_TEXTS = (UNAVAILABLE_VALUE, f'{{"{UNAVAILABLE_VALUE}":"{UNAVAILABLE_VALUE}"}}')
_LISTS = (
    [UNAVAILABLE_VALUE],
    [_BASE64],
    list(_BYTES),
    [_UUID],
    _DAYS,
    [f"{day}Z" for day in _DAYS],
)
_MAP = {UNAVAILABLE_VALUE: UNAVAILABLE_VALUE}
# What an encoded row must contain to hold one of them.
_TEXT_NEEDLES: tuple[bytes, ...] = (_BYTES,)
_BASE64_NEEDLE = _BASE64.rstrip("=").encode()
_LIST_NEEDLES = (",".join(map(str, _BYTES[:8])).encode(), _UUID.encode(), f'"{_DAYS[0]}'.encode())
# Only values above 24 bytes are kept apart from their row (PostgreSQL, "TOAST"); none has fewer characters.
_STORED_CHARACTERS_MIN = 6

# Numbers keep all their digits on the way through Python.
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Unavailable:
    """Settle the placeholders of one entity's rows.

    Args:
        kinds: the columns that matter, with their kinds; None for all, of any kind.
        wants: tells which columns beside those matter; none by default.
    """

    def __init__(self, kinds: Mapping[str, str] | None, wants: Callable[[str], bool] | None = None) -> None:
        self._kinds = {} if kinds is None else dict(kinds)
        self._wants = (lambda _: True) if kinds is None else wants
        found = {kind.partition("(")[0] for kind in self._kinds.values()}
        self._needles = _TEXT_NEEDLES
        if self._wants is not None or not found.isdisjoint(("json", "any_json", "array")):
            self._needles = (*_TEXT_NEEDLES, _BASE64_NEEDLE, *_LIST_NEEDLES)
        elif "bytes" in found:
            self._needles = (*_TEXT_NEEDLES, _BASE64_NEEDLE)

    def may_be_in(self, encoded: bytes) -> bool:
        """Tell whether some row in a text may hold a placeholder; where not, none does."""
        return any(needle in encoded for needle in self._needles)

    def settle(self, record: ChangeRecord) -> tuple[bytes, tuple[str, ...]]:
        """Return the row after a change that has one, and names of columns whose values nobody sent, sorted.

        Where the row before holds such a value, it is taken from there; else it is null. Columns that do not
        matter are null too.

        Raises:
            RecordError: `malformed`, for numbers that no row may hold.
        """
        row = record.after
        assert row is not None  # as the caller knows
        if record.operation is Operation.SNAPSHOT or not self.may_be_in(row):
            return row, ()
        found = _object(row)
        names = [name for name, value in found.items() if self._is_placeholder(name, value)]
        if not names:
            return row, ()
        before = {} if record.before is None else _object(record.before)
        unknown = []
        for name in names:
            old = before.get(name)
            if _is_stored(old) and not self._is_placeholder(name, old):
                found[name] = old
                continue
            found[name] = None
            if name in self._kinds or (self._wants is not None and self._wants(name)):
                unknown.append(name)
        try:
            return _encode(found), tuple(sorted(unknown))
        except (OverflowError, msgspec.MsgspecError) as error:
            raise RecordError("malformed", f"found {error}, expected a row") from error

    def known(self, record: ChangeRecord) -> bytes | None:
        """Return the row after a change, whole.

        Raises:
            RecordError: `unavailable_value` where a column that matters was not sent.
        """
        if record.after is None:
            return None
        row, unknown = self.settle(record)
        if unknown:
            refuse_unknown(unknown)
        return row

    def whole(self, record: ChangeRecord) -> ChangeRecord:
        """Return a change with the row that `known` returns; raises as that does."""
        row = self.known(record)
        return record if row is record.after else msgspec.structs.replace(record, after=row)

    def _is_placeholder(self, name: str, value: Any) -> bool:
        if isinstance(value, str):
            # In base64 it is one for bytes alone: a text may hold that word.
            return value in _TEXTS or (value == _BASE64 and self._kinds.get(name) in {None, "bytes"})
        if isinstance(value, list):
            return value in _LISTS
        return isinstance(value, dict) and value == _MAP


ANYTHING = Unavailable(None)


def refuse_unknown(unknown: tuple[str, ...]) -> None:
    """Raise RecordError `unavailable_value` for columns that were not sent."""
    raise RecordError(
        "unavailable_value",
        f"found no value of {', '.join(unknown)}: Debezium sends none of a large column that a change did "
        "not touch, expected it: set REPLICA IDENTITY FULL on the table",
    )


def _object(row: bytes) -> dict[str, Any]:
    try:
        found = _decode(row)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}  # for the contract to refuse
    return found if isinstance(found, dict) else {}


def _is_stored(value: Any) -> bool:
    """Tell a value that a row held from what Debezium makes up beside the columns of a replica identity.

    Where that identity is not FULL, the row before has nulls and empty values in all other columns.
    """
    if isinstance(value, str):
        return len(value) >= _STORED_CHARACTERS_MIN
    return isinstance(value, (list, dict)) and bool(value)
