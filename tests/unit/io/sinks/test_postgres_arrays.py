"""Arrays are spelt as Postgres reads them."""

from __future__ import annotations

import datetime as dt

import pytest

from tillstream.io.sinks.postgres_arrays import array_literal, with_literals


def test_elements_are_quoted() -> None:
    """Nulls stay nulls, the text NULL stays a text, and no character ends an element."""
    found = array_literal(['a"b', None, "c,d{}\\", "", "NULL", " x "])
    assert found == r'{"a\"b",NULL,"c,d{}\\","","NULL"," x "}'
    moment = dt.datetime(2026, 2, 28, tzinfo=dt.timezone.utc)
    assert array_literal([1, -1.5, True, b"\0\xff", moment]) == (
        r'{1,-1.5,t,"\\x00ff","2026-02-28 00:00:00+00:00"}'
    )
    assert array_literal([]) == "{}"


def test_rows_are_changed_in_their_places() -> None:
    """Other columns and nulls are left as they are."""
    assert with_literals([(1, [2], 3), (4, None, 6)], [1]) == [(1, "{2}", 3), (4, None, 6)]
    rows = [(1, [2])]
    assert with_literals(rows, []) is rows


def test_arrays_of_arrays_are_refused() -> None:
    """No column has such a type: its rows would be read as another array."""
    with pytest.raises(TypeError, match="inside of an array"):
        array_literal([[1, 2]])
