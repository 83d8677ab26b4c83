"""Give rows of JSON their one spelling, column by column; columns that need none are not decoded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from tillstream.io.codecs.connect_types import Spell
from tillstream.pipelines.errors import RecordError

__all__ = ["RowSpelling"]

_decode_row = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
# Numbers keep all their digits on the way through Python.
_decode_value = msgspec.json.Decoder(float_hook=Decimal).decode
# Of what is no part of a row: a decimal of a huge exponent would fill the memory as a whole number.
_decode_other = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


class RowSpelling:
    """Respell the values of some columns of rows, and leave others out.

    Args:
        columns: names of the columns to respell, and for each what an error calls its values, and what
            respells a value as `Spelling.respell` does.
        left_out: names of columns that are no part of rows.
    """

    def __init__(self, columns: Mapping[str, tuple[str, Spell]], left_out: Collection[str] = ()) -> None:
        self._columns = [(name, *each) for name, each in columns.items()]
        self._left_out = frozenset(left_out)

    def respell(self, row: bytes) -> bytes:
        """Return a row in its one spelling; null stays null, and a column that is missing stays missing.

        Raises:
            RecordError: `malformed`, naming the column.
        """
        return self.split(row)[0]

    def split(self, row: bytes) -> tuple[bytes, dict[str, Any]]:
        """Return what `respell` does, and the values of the columns that are left out."""
        found: dict[str, Any]
        try:
            found = _decode_row(row)
            others = {name: _decode_other(found.pop(name)) for name in self._left_out.intersection(found)}
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RecordError("malformed", f"found a row that is no JSON object: {error}") from error
        if not others and not self._columns:
            return row, others
        for name, kind, spell in self._columns:
            raw = found.get(name)
            if raw is not None:
                found[name] = _respelt(raw, name, kind, spell)
        try:
            return _encode(found), others
        except (ValueError, RecursionError) as error:
            raise RecordError("malformed", f"found a row that cannot be spelt: {error}") from error


def _respelt(raw: msgspec.Raw, name: str, kind: str, spell: Spell) -> Any:
    try:
        value = _decode_value(raw)
        return None if value is None else spell(value)
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RecursionError,
        msgspec.MsgspecError,
    ) as error:
        text = bytes(raw)[:100].decode(errors="replace")
        raise RecordError("malformed", f"found {text} in column {name}, expected {kind}") from error
