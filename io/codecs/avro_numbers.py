"""Read the numbers, lengths and counts of Avro's binary encoding, and refuse those that no body can have.

Source: Avro 1.12 specification, "Binary Encoding".
"""

from __future__ import annotations

import struct
from typing import Any

__all__ = [
    "FLOAT32",
    "FLOAT64",
    "UNREADABLE",
    "AvroError",
    "count",
    "fail",
    "int32",
    "shortest",
    "size",
    "varint",
]

_INT_BITS, _LONG_BITS = 32, 64
FLOAT32 = struct.Struct("<f")
FLOAT64 = struct.Struct("<d")
_MORE = 128
# What the bits that say that more bytes follow add up to, by how many there are.
_BITS = [sum(_MORE << 7 * place for place in range(count)) for count in range(10)]
# All that code which is compiled for a schema raises for bytes that are not as the schema says.
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, struct.error)


class AvroError(ValueError):
    """Say what about a body is not as its schema says."""


def varint(body: bytes, place: int, first: int) -> tuple[int, int]:
    """Return an unsigned number of up to 64 bits, and the place behind it.

    Args:
        body: what it is read from.
        place: of its second byte.
        first: its first byte.
    """
    second = body[place]
    if second < _MORE:
        return first + (second << 7) - _BITS[1], place + 1
    third = body[place + 1]
    if third < _MORE:
        return first + (second << 7) + (third << 14) - _BITS[2], place + 2
    number = first + (second << 7) + (third << 14)
    fourth = body[place + 2]
    if fourth < _MORE:
        return number + (fourth << 21) - _BITS[3], place + 3
    fifth = body[place + 3]
    if fifth < _MORE:
        return number + (fourth << 21) + (fifth << 28) - _BITS[4], place + 4
    number += (fourth << 21) + (fifth << 28)
    sixth = body[place + 4]
    if sixth < _MORE:
        return number + (sixth << 35) - _BITS[5], place + 5
    number += sixth << 35
    for count in (6, 7, 8, 9):
        each = body[place + count - 1]
        number += each << 7 * count
        if each < _MORE:
            number -= _BITS[count]
            if number >> _LONG_BITS:
                break
            return number, place + count
    raise AvroError("a number of more than 64 bits")


def int32(body: bytes, place: int, first: int) -> tuple[int, int]:
    """Return what `varint` does, of at most 32 bits."""
    number, place = varint(body, place, first)
    if number >> _INT_BITS:
        raise AvroError("an int of more than 32 bits")
    return number, place


def size(body: bytes, place: int, first: int) -> tuple[int, int]:
    """Return twice a length, which is not below zero, and the place behind it."""
    number, place = (first, place) if first < _MORE else varint(body, place, first)
    if number & 1:
        raise AvroError("a length below zero")
    return number, place


def count(body: bytes, place: int) -> tuple[int, int]:
    """Return how many items a block has, and where they begin."""
    number, place = body[place], place + 1
    if number >= _MORE:
        number, place = varint(body, place, number)
    count = (number >> 1) ^ -(number & 1)
    if count < 0:
        # Its size in bytes follows, for those who would pass over it.
        count = -count
        _, place = size(body, place + 1, body[place])
    if count > len(body) - place:
        raise AvroError(f"a block of {count} items in {max(0, len(body) - place)} bytes")
    return count, place


def shortest(value: float) -> float:
    """Return the double with the fewest digits that is this float."""
    if value - value != 0.0:
        return value
    for digits in (6, 7, 8):
        found = float(f"{value:.{digits}g}")
        if abs(found) < 3.5e38 and FLOAT32.unpack(FLOAT32.pack(found))[0] == value:  # noqa: PLR2004
            return found
    return float(f"{value:.9g}")


def fail(what: str) -> Any:
    """Raise AvroError, within an expression."""
    raise AvroError(what)
