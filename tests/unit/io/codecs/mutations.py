"""Spoil messages: valid ones of every format, changed in ways that their grammar allows, and in others."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

__all__ = ["spoilt"]

# What JSON libraries do not write, or not so; they stand for a text of two marks and a number.
_LITERALS = [
    *(b"1e999999999", b"-1e-999999999", b"1" * 5000, b"0." + b"3" * 5000, b"NaN", b"-Infinity", b"-", b"00"),
    *(b'"\\ud800"', b'"\\udc00x"', b'"\\u0000"', b'"\xff\xfe"', b'"\\x"', b'"\x00"', b""),
    *(b"[" * 3000 + b"]" * 3000, b'{"a":' * 3000 + b"1" + b"}" * 3000, b"[" * 100_000),
]
_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30, 1e308),
    *("", "x", "1", "NaN", "\0", "ä" * 50, "AAA=", "2026-02-30", "9" * 400, "__debezium_unavailable_value"),
    *([], {}, [None], [[1]], {"a": None}, {"schema": {}, "payload": {}}, {"scale": 10**9, "value": "AQ=="}),
    *({"type": "struct", "fields": [{}]}, {"type": []}, {"type": "array", "items": 1}, ["[", "]"]),
]
_MARK, _TWICE = "\ue000", "\ue001"
_TREE_CHANGES = 3
_BYTE_CHANGES = 4

Node = tuple[Any, Any]


def spoilt(chance: random.Random, text: bytes) -> bytes:
    """Return a message that is much like another one.

    Args:
        chance: where all choices come from.
        text: a valid message.
    """
    way = chance.random()
    if way < 0.6:
        return _spoilt_tree(chance, text)
    if way < 0.9:
        return _spoilt_bytes(chance, text)
    return chance.choice(
        [b"", b"null", b"{}", b"[]", b'"x"', b"1", chance.randbytes(40), text + text, text[1:]]
    )


def _spoilt_bytes(chance: random.Random, text: bytes) -> bytes:
    found = bytearray(text)
    for _ in range(chance.randint(1, _BYTE_CHANGES)):
        place = chance.randrange(len(found) + 1)
        way = chance.randrange(4)
        if way == 0:
            del found[place:]
        elif way == 1:
            found[place:place] = chance.choice(
                [b"\xff", b'"', b"{", b"}", b",", b"\\u", b"\x00", b"[[", b"1e9"]
            )
        elif way == 2:
            found[place : place + chance.randint(1, 9)] = chance.randbytes(chance.randint(0, 3))
        else:
            found[place:place] = found[place : place + chance.randint(1, 60)]
    return bytes(found)


def _spoilt_tree(chance: random.Random, text: bytes) -> bytes:
    tree = [json.loads(text)]
    for _ in range(chance.randint(1, _TREE_CHANGES)):
        holder, name = chance.choice(list(_nodes(tree)))
        way = chance.randrange(5)
        if way == 0:
            holder[name] = f"{_MARK}{chance.randrange(len(_LITERALS))}{_MARK}"
        elif way == 1 and isinstance(holder, dict):
            del holder[name]
        elif way == 2 and isinstance(holder, dict):
            # The same name a second time, with another value.
            holder[f"{name}{_TWICE}"] = _value(chance)
        elif way == 3:
            other, its = chance.choice(list(_nodes(tree)))
            holder[name] = copy.deepcopy(other[its])
        else:
            holder[name] = _value(chance)
    found = json.dumps(tree[0], ensure_ascii=False).encode("utf-8", "surrogatepass")
    for place, literal in enumerate(_LITERALS):
        found = found.replace(f'"{_MARK}{place}{_MARK}"'.encode(), literal)
    return found.replace(_TWICE.encode(), b"")


def _value(chance: random.Random) -> Any:
    # A new one each time, because it is changed in its turn.
    return copy.deepcopy(chance.choice(_VALUES))


def _nodes(tree: Any) -> list[Node]:
    """Return where each value of a tree stands: what holds it, and its name or place there."""
    found: list[Node] = []
    left = [tree]
    while left:
        holder = left.pop()
        names = list(holder) if isinstance(holder, dict) else range(len(holder))
        found += [(holder, name) for name in names]
        left += [holder[name] for name in names if isinstance(holder[name], (dict, list))]
    return found
