r"""Turn rows into the stream that COPY reads, mostly in compiled code.

A JSON array without its brackets is a line of CSV: strings are quoted, numbers, true, false and null are
not. So JSON lines are encoded in C and read with `FORMAT csv, NULL 'null', ESCAPE '\'`. What differs is
mended here: JSON's escapes of control characters become the characters themselves, floats that JSON does
not know become quoted words, and bytes arrive as base64, which the merge decodes.
Measured against other ways in docs/decisions/0002-copy-format.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from tillstream.io.sinks.floats import spell_non_finite

__all__ = ["COPY_OPTIONS", "encode_rows"]

COPY_OPTIONS = r"(FORMAT csv, NULL 'null', ESCAPE '\', ENCODING 'UTF8')"

_encode_lines = msgspec.json.Encoder().encode_lines
# Cheap to search for; may also hit the tail of an escaped backslash, which _ESCAPE then tells apart.
_MAYBE_CONTROL = re.compile(rb"\\[bfnrtu]")
_ESCAPE = re.compile(rb'\\(?:["\\]|([bfnrt])|u00([0-9a-fA-F]{2}))')
_CONTROLS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def encode_rows(rows: list[tuple[Any, ...]], float_places: Sequence[int] = ()) -> bytes:
    """Return the stream of some rows.

    Args:
        rows: values in their wire form (see MutationBatch).
        float_places: of the columns that hold floats.

    Raises:
        ValueError: if a value cannot be encoded: text with lone surrogates, integers beyond 64 bits.
        TypeError: if a value has a type that is no wire form.
    """
    rows = spell_non_finite(rows, float_places)
    # No text holds a raw line feed yet, so the sequence between two rows is unmistakable.
    stream = _encode_lines(rows)[1:-2].replace(b"]\n[", b"\n") + b"\n"
    if _MAYBE_CONTROL.search(stream):
        stream = _ESCAPE.sub(_unescape, stream)
    return stream


def _unescape(match: re.Match[bytes]) -> bytes:
    short, code = match.groups()
    if short is not None:
        return _CONTROLS[short]
    if code is not None:
        return bytes((int(code, 16),))
    return match[0]
