"""Rows become the CSV that COPY reads."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillstream.io.sinks.postgres_copy import encode_rows


def read(stream: bytes) -> list[list[Any]]:
    """Read a stream by COPY's rules: FORMAT csv, NULL 'null', ESCAPE backslash (its own state machine)."""
    rows: list[list[Any]] = [[]]
    field, quoted, in_quotes = "", False, False
    characters = iter(stream.decode())
    for character in characters:
        if in_quotes and character == "\\":
            # Only a quote or another escape is escaped; any other pair stands for itself.
            following = next(characters)
            field += following if following in '"\\' else character + following
        elif character == '"':
            in_quotes, quoted = not in_quotes, True
        elif not in_quotes and character in ",\n":
            rows[-1].append(field if quoted or field != "null" else None)
            field, quoted = "", False
            if character == "\n":
                rows.append([])
        else:
            field += character
    assert rows.pop() == []
    return rows


@given(st.lists(st.lists(st.none() | st.text(), min_size=2, max_size=2), min_size=1))
def test_any_text_comes_back(rows: list[list[str | None]]) -> None:
    """What COPY reads is the text that was written; null, '' and 'null' stay apart."""
    assert read(encode_rows([tuple(row) for row in rows])) == rows


@pytest.mark.parametrize(
    ("value", "stream"),
    [
        (None, b"null"),
        ("null", b'"null"'),
        ("", b'""'),
        (True, b"true"),
        (-7, b"-7"),
        (2**64, b"18446744073709551616"),
        (1e300, b"1e300"),
        ("a\nb\x01", b'"a\nb\x01"'),
        ("a\\nb", b'"a\\\\nb"'),
        ('say "hi"', b'"say \\"hi\\""'),
        ("]\n[", b'"]\n["'),
        (b"\x00\xff", b'"AP8="'),
        (dt.datetime(2024, 2, 29, 1, 2, 3, 4, dt.timezone.utc), b'"2024-02-29T01:02:03.000004Z"'),
    ],
)
def test_a_value_has_its_form(value: Any, stream: bytes) -> None:
    """Each wire form has one form in the stream."""
    assert encode_rows([(value, 1), (2, value)]) == stream + b",1\n2," + stream + b"\n"


def test_floats_that_json_lacks_are_spelt() -> None:
    """NaN and the infinities become words, in the columns that hold floats."""
    rows = [(1.5, float("nan")), (None, float("-inf")), (float("inf"), None), (1e308, 1e308), (1e308, 1e308)]
    assert encode_rows(rows, [0, 1]).splitlines() == [
        b'1.5,"NaN"',
        b'null,"-Infinity"',
        b'"Infinity",null',
        b"1e308,1e308",
        b"1e308,1e308",
    ]


@pytest.mark.parametrize("value", ["\ud800", object()])
def test_what_is_no_wire_form_is_refused(value: Any) -> None:
    """A value that cannot be encoded raises what the sink takes for a bad row."""
    with pytest.raises((ValueError, TypeError)):
        encode_rows([(value,)])
