"""Keep all digits of a row's values, or refuse it: what a decoder would round in silence is found here.

Times with more digits than microseconds have are refused, because neither Python nor Postgres holds them.
Numbers inside of JSON pass as the text that they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tillstream.configs import Column
from tillstream.pipelines.errors import RecordError

__all__ = ["exact_numbers", "has_nanoseconds", "refuse_nanoseconds", "time_columns"]

_TIMES = {"time", "timetz", "timestamp", "timestamptz"}
_JSON = {"json", "any_json"}
# Zeros behind microseconds lose nothing. A point goes ahead, so that a row is looked through in 0.3 µs.
_FINER = r"\.(?<=\d:\d\d\.)\d{6}\d*[1-9]"
has_nanoseconds = re.compile(_FINER.encode()).search
_text_has = re.compile(_FINER, re.ASCII).search


def time_columns(columns: Sequence[Column]) -> tuple[str, ...]:
    """Return the names of columns that hold times, or arrays of them."""
    return tuple([column.name for column in columns if _kind(column) in _TIMES])


def refuse_nanoseconds(row: bytes | Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuse a row, JSON or not, whose columns of some names have times of more than six digits.

    Raises:
        RecordError: `contract`.
    """
    found: Any = row
    if isinstance(row, bytes):
        try:
            found = msgspec.json.decode(row)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return  # whoever decodes it says so
    for name in names if isinstance(found, Mapping) else ():
        value = found.get(name)
        for each in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(each, str) and _text_has(each):
                raise RecordError(
                    "contract",
                    "found nanoseconds, expected at most microseconds: make the column a `string` to keep "
                    f"all digits - at `$.{name}`",
                )


def exact_numbers(columns: Sequence[Column]) -> Any:
    """Return what a decoder makes of numbers inside of JSON, as `float_hook`; None where there is no JSON."""
    return msgspec.Raw if any(_kind(column) in _JSON for column in columns) else None


def _kind(column: Column) -> str:
    return column.kind if column.element is None else column.element.kind
