"""Keep Python values in bytes such that the same values come back: decimals as decimals, dates as dates."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

__all__ = ["decode", "encode"]

_PLAIN = frozenset((type(None), bool, float, str, bytes))
_INT64 = 1 << 63
# Numbers of extension types are part of every savepoint.
_DECIMAL, _UUID, _DATE, _TIME, _LOCAL, _DICT, _INT = range(1, 8)

_encode = msgspec.msgpack.Encoder().encode


def encode(value: Any) -> bytes:
    """Return the value in MessagePack.

    Args:
        value: None, bool, int, float, str, bytes, Decimal, UUID, date, time, datetime, and lists, tuples and
            dicts of these; tuples come back as lists, and instants in UTC.

    Raises:
        TypeError: if it is or holds anything else.
    """
    return _encode(_packed(value))


def decode(data: bytes) -> Any:
    """Return what `encode` was given; raises ValueError where the bytes are none of its."""
    try:
        return _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise ValueError(f"found damaged values: {error}") from error


def _packed(value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    pack = _PACK.get(kind)
    if pack is None:
        raise TypeError(
            f"found a {kind.__name__}, expected None, bool, int, float, str, bytes, Decimal, UUID, date, "
            "time, datetime, or a list, tuple or dict of these"
        )
    return pack(value)


def _text(code: int) -> Callable[[Any], Any]:
    return lambda value: msgspec.msgpack.Ext(code, str(value).encode())


def _iso(code: int) -> Callable[[Any], Any]:
    return lambda value: msgspec.msgpack.Ext(code, value.isoformat().encode())


def _packed_int(value: int) -> Any:
    return value if -_INT64 <= value < _INT64 else msgspec.msgpack.Ext(_INT, str(value).encode())


def _packed_datetime(value: dt.datetime) -> Any:
    # MessagePack's own timestamps are instants.
    return value.astimezone(dt.timezone.utc) if value.tzinfo is not None else _iso(_LOCAL)(value)


def _packed_list(value: Any) -> Any:
    return [each if type(each) in _PLAIN else _packed(each) for each in value]


def _packed_dict(value: Mapping[Any, Any]) -> Any:
    if all(type(key) is str for key in value):
        return {key: each if type(each) in _PLAIN else _packed(each) for key, each in value.items()}
    return msgspec.msgpack.Ext(_DICT, _encode([[_packed(key), _packed(each)] for key, each in value.items()]))


_PACK: Mapping[type, Callable[[Any], Any]] = {
    int: _packed_int,
    Decimal: _text(_DECIMAL),
    uuid.UUID: lambda value: msgspec.msgpack.Ext(_UUID, value.bytes),
    dt.date: _iso(_DATE),
    dt.time: _iso(_TIME),
    dt.datetime: _packed_datetime,
    list: _packed_list,
    tuple: _packed_list,
    dict: _packed_dict,
}
_UNPACK: Mapping[int, Callable[[bytes], Any]] = {
    _DECIMAL: lambda data: Decimal(data.decode()),
    _UUID: lambda data: uuid.UUID(bytes=data),
    _DATE: lambda data: dt.date.fromisoformat(data.decode()),
    _TIME: lambda data: dt.time.fromisoformat(data.decode()),
    _LOCAL: lambda data: dt.datetime.fromisoformat(data.decode()),
    _DICT: lambda data: {key: value for key, value in decode(data)},  # noqa: C416  (pairs are lists)
    _INT: lambda data: int(data.decode()),
}


def _unpacked(code: int, data: memoryview) -> Any:
    return _UNPACK[code](bytes(data))


_decoder = msgspec.msgpack.Decoder(ext_hook=_unpacked)
