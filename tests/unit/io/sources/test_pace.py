"""Partitions that are ahead let the others catch up, and never for ever."""

from __future__ import annotations

from tillstream.io.sources.pace import Pace

FAST, SLOW = ("fast", 0), ("slow", 0)


class Clock:
    """Be a clock that a test sets."""

    now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def behind(clock: Clock) -> Pace:
    """Return the pace of two partitions that are ten seconds apart."""
    pace = Pace(clock)
    pace.note(FAST, 20_000)
    pace.note(SLOW, 10_000)
    return pace


def test_who_is_ahead_waits_and_who_is_behind_goes_on() -> None:
    """Until they are less than a second apart."""
    pace = behind(Clock())
    assert (pace.is_ahead(FAST), pace.is_ahead(SLOW)) == (True, False)
    pace.note(SLOW, 19_500)
    assert not pace.is_ahead(FAST)


def test_a_partition_without_more_messages_holds_nobody_up() -> None:
    """Its last message may be of yesterday."""
    pace = behind(Clock())
    pace.note(SLOW, None)
    assert not pace.is_ahead(FAST)
    pace.note(SLOW, 11_000)
    assert pace.is_ahead(FAST)


def test_a_partition_that_nobody_reads_here_holds_nobody_up() -> None:
    """It may have gone to another process."""
    clock = Clock()
    pace = behind(clock)
    clock.now_s = 5.0
    assert not pace.is_ahead(FAST)


def test_a_partition_that_was_never_read_goes_on() -> None:
    """Nothing is known of it."""
    assert not behind(Clock()).is_ahead(("new", 0))
