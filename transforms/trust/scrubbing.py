"""Take masked values out of what exceptions and rules say."""

from __future__ import annotations

import datetime as dt
import json
import re
import unicodedata
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any, Literal

import msgspec

__all__ = ["has_one_spelling", "leaves_of", "replaced", "withheld_message", "withheld_rule", "withheld_trace"]

_MASKED = "[masked]"
_MESSAGE = "message withheld: it may hold values that are masked"
# Messages may cut a value short, so its beginning is looked for.
_BEGINNING_CHARACTERS = 6
# A shorter value stands in any text by chance.
_CHARACTERS_MIN = 4
_FRAME = re.compile(r'  File "[^"]*", line \d+, in \S+$')
_TYPE = re.compile(r"[A-Za-z_][\w.]*(?=:|$)")
_COLUMN = re.compile(r" - at `\$[^`]*`$")
_HAS_FILE, _HAS_CODE = 1, 2
_FORMS: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")
_PASSED = (
    "Traceback (most recent call last):",
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)


def leaves_of(value: Any) -> Iterator[str]:
    """Yield the texts that a masked value may be found as, numbers in their digits."""
    if isinstance(value, dict):
        for each in value.values():
            yield from leaves_of(each)
    elif isinstance(value, list):
        for each in value:
            yield from leaves_of(each)
    elif value is not None and value != "":
        yield str(value)


def has_one_spelling(value: Any) -> bool:
    """Tell whether a JSON value is spelt in one way by code that takes it as it is, quotes and case aside."""
    if isinstance(value, str):
        # JSON in a text is taken apart by whoever reads it.
        return value.isascii() and value.lstrip()[:1] not in ("{", "[")
    return value is None or isinstance(value, int)


def replaced(text: str, values: Iterable[str]) -> str:
    """Return a text without the values, in any case and however they are quoted."""
    for value in sorted(_spellings(values), key=len, reverse=True):
        text = _without(text, value)
    return text


def withheld_message(text: str, values: set[str], *, always: bool) -> str:
    """Return what an exception says, `Type: message`, without the values.

    Args:
        text: type and message.
        values: that are masked.
        always: leave the message out whatever it is.
    """
    if always or _is_short(values):
        match = _TYPE.match(text)
        return f"{match[0] if match else 'error'}: {_MESSAGE}"
    return replaced(text, values)


def withheld_rule(text: str) -> str:
    """Return what a rule says of what a client's code made, without anything but the column."""
    match = _COLUMN.search(text)
    return f"{_MESSAGE}{match[0] if match else ''}"


def withheld_trace(text: str | None, values: set[str], *, always: bool) -> str | None:
    """Return a traceback without the values; without all messages where that cannot be done by value."""
    if text is None:
        return None
    if always or _is_short(values):
        text = "\n".join(_frames(text.splitlines()))
    return replaced(text, values)


def _frames(lines: list[str]) -> Iterator[str]:
    """Yield what a traceback says of code: files, lines, and the types of exceptions."""
    # Of the frame at hand; what comes behind marks is as behind code.
    seen = 0
    for line in lines:
        is_frame = _FRAME.match(line) is not None
        is_code = seen == _HAS_FILE and line.startswith("    ")
        if is_frame or is_code or line in _PASSED:
            yield line
            seen = _HAS_FILE if is_frame else _HAS_CODE if is_code else 0
        elif seen == _HAS_CODE and set(line) <= set(" ^~"):
            yield line
        else:
            match = _TYPE.match(line)
            if seen and match:
                yield f"{match[0]}: {_MESSAGE}"
            seen = 0


def _is_short(values: set[str]) -> bool:
    return any(len(value) < _CHARACTERS_MIN for value in values)


def _spellings(values: Iterable[str]) -> set[str]:
    every = {each for value in values for each in (value, *_typed(value))}
    every |= {unicodedata.normalize(form, each) for each in every if not each.isascii() for form in _FORMS}
    every |= {each for value in every if not value.isascii() for each in (value.casefold(), value.upper())}
    found = set()
    for value in every:
        quoted = json.dumps(value)[1:-1]
        found |= {
            value,
            repr(value)[1:-1],
            ascii(value)[1:-1],
            quoted,
            repr(quoted)[1:-1],
            repr(value.encode("utf-8", "replace"))[2:-1],
        }
    return {each for each in found if each}


def _typed(text: str) -> Iterator[str]:
    """Yield what is written of the values of other types that a text may stand for in JSON."""
    with suppress(msgspec.MsgspecError, ValueError):
        yield from _spelt(msgspec.convert(text.removesuffix("Z"), dt.date))
    with suppress(msgspec.MsgspecError, ValueError, OverflowError):
        moment = msgspec.convert(text, dt.datetime)
        yield from _spelt(moment.replace(tzinfo=None))
        yield from _spelt(moment)
        if moment.tzinfo is not None:
            yield from _spelt(moment.astimezone(dt.timezone.utc))
    with suppress(msgspec.MsgspecError, ValueError):
        yield from _spelt(msgspec.convert(text, dt.time).replace(tzinfo=None))
    with suppress(msgspec.MsgspecError, ValueError):
        found = msgspec.convert(text, uuid.UUID)
        yield from (str(found), found.hex)
    with suppress(msgspec.MsgspecError, ValueError, ArithmeticError):
        number = msgspec.convert(text, Decimal)
        yield from (str(number), str(number.normalize()), str(float(number)))
    with suppress(msgspec.MsgspecError, ValueError):
        data = msgspec.convert(text, bytes)
        yield from (repr(data)[2:-1], data.hex())
        yield data.decode()


def _spelt(moment: dt.date | dt.time) -> Iterator[str]:
    yield str(moment)
    yield moment.isoformat()
    # Without the type's name, by whose beginning other texts would be taken for it.
    inner = repr(moment).split("(", 1)[1]
    yield inner.split(", tzinfo", 1)[0].rstrip(")")


def _without(text: str, value: str) -> str:
    beginning = re.escape(value[:_BEGINNING_CHARACTERS])
    if len(value) < _CHARACTERS_MIN:
        return re.sub(rf"(?<!\w){beginning}(?!\w)", _MASKED, text, flags=re.IGNORECASE)
    parts, done = [], 0
    for match in re.finditer(beginning, text, re.IGNORECASE):
        if match.start() < done:
            continue
        end, place = match.end(), len(value[:_BEGINNING_CHARACTERS])
        while end < len(text) and place < len(value) and text[end].lower() == value[place].lower():
            end, place = end + 1, place + 1
        parts += [text[done : match.start()], _MASKED]
        done = end
    return "".join([*parts, text[done:]])
