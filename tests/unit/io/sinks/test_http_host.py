"""A host is spared when it asks for it, and when it fails."""

from __future__ import annotations

import pytest

from tillstream.io.sinks.http_client import retry_after_s
from tillstream.io.sinks.http_host import Host


class Clock:
    """Be a clock that the test sets."""

    now_s = 100.0

    def __call__(self) -> float:
        """Return its time."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """Return a clock at 100 s."""
    return Clock()


def test_requests_are_spaced(clock: Clock) -> None:
    """At four a second the second request waits a quarter of a second; nothing is saved up."""
    host = Host(4, 5, 10, clock)
    assert host.wait_s() == 0
    assert host.wait_s() == 0.25
    clock.now_s += 10
    assert [host.wait_s(), host.wait_s()] == [0, 0.25]


def test_without_a_rate_nothing_waits(clock: Clock) -> None:
    """No rate, no wait."""
    host = Host(None, 5, 10, clock)
    assert [host.wait_s() for _ in range(3)] == [0, 0, 0]


def test_failures_in_a_row_open_the_breaker(clock: Clock) -> None:
    """After the last failure allowed, nothing passes until the pause is over; then one probe does."""
    host = Host(None, 2, 10, clock)
    host.failed()
    assert host.wait_s() == 0
    host.failed()
    assert host.wait_s() == 10
    clock.now_s += 10
    assert host.wait_s() == 0
    assert host.wait_s() > 0
    host.succeeded()
    assert [host.wait_s(), host.wait_s()] == [0, 0]


def test_a_probe_that_fails_opens_it_again(clock: Clock) -> None:
    """The pause starts anew with each probe that fails."""
    host = Host(None, 1, 10, clock)
    host.failed()
    clock.now_s += 10
    assert host.wait_s() == 0
    host.failed()
    assert host.wait_s() == 10


def test_a_success_forgets_failures(clock: Clock) -> None:
    """Only failures in a row count."""
    host = Host(None, 2, 10, clock)
    for _ in range(3):
        host.failed()
        host.succeeded()
    assert host.wait_s() == 0


def test_a_probe_that_is_put_off_lets_another_follow(clock: Clock) -> None:
    """A host that answers the probe by asking for time is probed again after it."""
    host = Host(None, 1, 10, clock)
    host.failed()
    clock.now_s += 10
    assert host.wait_s() == 0
    host.hold(3)
    assert host.wait_s() == 3
    clock.now_s += 3
    assert host.wait_s() == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, 0),
        ("7", 7),
        (" 7 ", 7),
        ("soon", 0),
        ("-1", 0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, expected: float) -> None:
    """Both forms of the header are read; what is neither asks for nothing."""
    assert retry_after_s(value, now_s=60.0) == expected
