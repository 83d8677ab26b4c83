"""Values in state come back as they were."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillstream.transforms.aggregates import exact_values

KEYS = st.text() | st.integers() | st.decimals(allow_nan=False) | st.dates() | st.uuids()
VALUES = (
    KEYS
    | st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.binary()
    | st.times().map(lambda time: time.replace(fold=0))
    | st.datetimes().map(lambda time: time.replace(fold=0))
    | st.datetimes(timezones=st.just(dt.timezone.utc)).map(lambda time: time.replace(fold=0))
)


@given(
    st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
)
def test_values_come_back(value: Any) -> None:
    """Whatever is kept comes back equal and of its type, in dicts and lists too."""
    found = exact_values.decode(exact_values.encode(value))
    assert repr(found) == repr(value)


def test_other_values_are_refused() -> None:
    """What could not come back as it was is not kept."""
    with pytest.raises(TypeError, match="found a set, expected None, bool"):
        exact_values.encode({"a": {1}})


def test_bytes_of_the_first_release_are_read() -> None:
    """The numbers of the extension types are part of savepoints, and stay."""
    kept = bytes.fromhex(
        "98d601312e3530d80200000000000000000000000000000007c70a03323032362d30332d3031d70431323a33303a3030"
        "c71305323032362d30332d30315431323a33303a3030c709069192c70301312e3501c7150731303030303030303030"
        "3030303030303030303030d6ff69a38180"
    )
    assert exact_values.decode(kept) == [
        Decimal("1.50"),
        uuid.UUID(int=7),
        dt.date(2026, 3, 1),
        dt.time(12, 30),
        dt.datetime(2026, 3, 1, 12, 30),  # noqa: DTZ001  (a time without zone is what is kept)
        {Decimal("1.5"): 1},
        10**20,
        dt.datetime(2026, 3, 1, tzinfo=dt.timezone.utc),
    ]


def test_damage_is_told() -> None:
    """Bytes that are none of ours are refused."""
    with pytest.raises(ValueError, match="damaged"):
        exact_values.decode(b"\xc1")
