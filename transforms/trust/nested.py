"""Find columns by name inside of other columns' values, JSON in texts included."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

__all__ = ["replaced_inside"]

_DEPTH_MAX = 100
_JSON_BEGINS = ("{", "[", '"')
# Numbers keep their digits.
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


def replaced_inside(value: Any, replace: Callable[[str, Any], Any], depth: int = 0) -> Any:
    """Return a value in which what bears certain names is replaced.

    Args:
        value: as JSON has it.
        replace: gets name and value of each member at any depth, and returns another value where that takes
            its place, else the same one, inside of which the search goes on.
        depth: of the value; what lies too deep is left out.
    """
    if depth > _DEPTH_MAX:
        return None
    if isinstance(value, dict):
        return {name: _member(name, found, replace, depth) for name, found in value.items()}
    if isinstance(value, list):
        return [replaced_inside(found, replace, depth + 1) for found in value]
    if isinstance(value, str) and value.lstrip()[:1] in _JSON_BEGINS:
        try:
            # Spelt anew also where nothing was replaced: of a name that comes twice, only the last was seen.
            return _encode(replaced_inside(_decode(value), replace, depth + 1)).decode()
        except (msgspec.MsgspecError, RecursionError):
            return value
    return value


def _member(name: str, value: Any, replace: Callable[[str, Any], Any], depth: int) -> Any:
    made = replace(name, value)
    return replaced_inside(value, replace, depth + 1) if made is value else made
