"""Windows are Beam's, in whole microseconds, and close for good."""

from __future__ import annotations

import datetime as dt

from apache_beam.transforms.window import (
    FixedWindows,
    GlobalWindows,
    IntervalWindow,
    SlidingWindows,
    WindowFn,
)
from apache_beam.utils.timestamp import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from tillstream.transforms.aggregates.windowing import ALL_TIME, Span, Windows, instant, micros

SECOND = 1_000_000


@given(st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 1, 1), timezones=st.just(dt.timezone.utc)))  # noqa: DTZ001
def test_times_keep_their_microseconds(time: dt.datetime) -> None:
    """An instant comes back from microseconds as it was, before 1970 too."""
    assert instant(micros(time)) == time


def test_windows_are_beams() -> None:
    """A time belongs to one fixed window, or to each sliding one that holds it."""
    assert Windows(FixedWindows(60), None).of(61 * SECOND + 1) == (Span(60 * SECOND, 120 * SECOND),)
    assert sorted(Windows(SlidingWindows(60, 30), None).of(61 * SECOND)) == [
        Span(30 * SECOND, 90 * SECOND),
        Span(60 * SECOND, 120 * SECOND),
    ]
    assert Windows(FixedWindows(60), None).of(-1) == (Span(-60 * SECOND, 0),)


@given(
    st.integers(-(10**15), 10**16),
    st.sampled_from(
        [
            FixedWindows(3600),
            FixedWindows(86_400, 7200),
            FixedWindows(0.25),
            SlidingWindows(3600, 300),
            SlidingWindows(60, 7, 3),
            SlidingWindows(60, 90),
        ]
    ),
)
def test_the_short_way_is_beams_way(time_us: int, fn: WindowFn) -> None:
    """What is computed without Beam's objects is what Beam assigns."""
    found = fn.assign(WindowFn.AssignContext(Timestamp(micros=time_us)))
    assert list(Windows(fn, None).of(time_us)) == [(each.start.micros, each.end.micros) for each in found]


def test_other_windows_are_asked() -> None:
    """A subclass may assign as it likes."""

    class Shifted(FixedWindows):
        def assign(self, context: WindowFn.AssignContext) -> list[IntervalWindow]:
            (window,) = super().assign(context)
            return [IntervalWindow(window.start + 5, window.end + 5)]

    assert Windows(Shifted(60), None).of(1) == (Span(5 * SECOND, 65 * SECOND),)


def test_without_windows_all_time_is_one() -> None:
    """It never closes, and is no window to people."""
    for fn in (None, GlobalWindows()):
        windows = Windows(fn, 0)
        assert windows.of(5) == (ALL_TIME,)
        assert not windows.is_closed(ALL_TIME, 1 << 61)
        assert not windows.are_closed(5, 1 << 61)
    assert ALL_TIME.window() is None


def test_a_window_closes_when_its_lateness_is_over() -> None:
    """At the last instant it is open; a time is past when its last window is."""
    windows = Windows(SlidingWindows(60, 30), 10 * SECOND)
    span = Span(0, 60 * SECOND)
    assert not windows.is_closed(span, None)
    assert not windows.is_closed(span, 70 * SECOND)
    assert windows.is_closed(span, 70 * SECOND + 1)
    assert not windows.are_closed(31 * SECOND, 100 * SECOND)
    assert windows.are_closed(31 * SECOND, 100 * SECOND + 1)
    assert not Windows(FixedWindows(60), None).is_closed(span, 1 << 61)
