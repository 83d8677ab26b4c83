"""A bounded launch reads each partition up to its offset, says so, and leaves room for the others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tillstream.configs.launching import LAUNCH_VARIABLE, CanaryLaunch, LaunchParameters
from tillstream.io.sources.bounded import ReadBound, reached
from tillstream.io.sources.kafka import Partition
from tillstream.io.sources.session import KafkaSession


class Session:
    """Be a session with one partition, and itself its reader.

    Args:
        offsets: of the messages that it has; others are transactions' marks.
        end: offset behind the last.
    """

    def __init__(self, offsets: list[int], end: int) -> None:
        self.offsets = offsets
        self.end = end
        self.left: list[Partition] = []
        self.reader = self

    def take(self, partition: Partition, offset: int) -> list[Any]:  # noqa: ARG002
        """Return at most two messages."""
        found = [each for each in self.offsets if each >= offset][:2]
        self._at = found[-1] + 1 if found and found[-1] < self.offsets[-1] else self.end
        return [SimpleNamespace(offset=lambda each=each: each) for each in found]

    def read_up_to(self, partition: Partition) -> int:  # noqa: ARG002
        """Return up to where all is taken."""
        return self._at

    def leave(self, partition: Partition) -> None:
        """Note that a partition is left."""
        self.left.append(partition)


def read(bound: ReadBound, session: Session, offset: int = 0, partition: int = 0) -> list[int]:
    """Return the offsets that a reader takes in some polls."""
    found: list[int] = []
    for _ in range(6):
        taken = bound.take(cast(KafkaSession, session), ("t", partition), offset)
        found += [message.offset() for message in taken]
        offset = found[-1] + 1 if taken else offset
    return found


@pytest.mark.parametrize(
    ("offsets", "end", "until", "taken"),
    [
        ([0, 1, 2, 3, 4, 5], 6, 3, [0, 1, 2]),
        ([0, 1, 2, 3], 4, 4, [0, 1, 2, 3]),
        # A mark at the end of a transaction is no message.
        ([0, 1, 2], 4, 4, [0, 1, 2]),
        ([0, 1, 2, 5], 6, 4, [0, 1, 2]),
    ],
)
def test_a_partition_is_read_up_to_its_bound(
    offsets: list[int], end: int, until: int, taken: list[int], tmp_path: Path
) -> None:
    """Though more goes on arriving; then it is marked, once it is all taken, and left."""
    bound = ReadBound(CanaryLaunch("new", str(tmp_path), {"t": (until,)}))
    session = Session(offsets, end)
    assert read(bound, session) == taken
    assert reached(tmp_path) == {("t", 0): (0, until)}
    assert session.left == [("t", 0)]


def test_what_is_not_read_to_its_end_is_not_marked(tmp_path: Path) -> None:
    """A reader that is on its way is waited for."""
    bound = ReadBound(CanaryLaunch("new", str(tmp_path), {"t": (4,)}))
    bound.take(cast(KafkaSession, Session([0, 1, 2, 3, 4, 5], 6)), ("t", 0), 0)
    assert reached(tmp_path) == {}


def test_a_partition_that_has_nothing_more_is_done(tmp_path: Path) -> None:
    """Its state is at the bound, or nothing was ever written to it."""
    bound = ReadBound(CanaryLaunch("new", str(tmp_path), {"t": (7, 0)}))
    session = Session([8], 9)
    assert (read(bound, session, 7), read(bound, session, 0, partition=1)) == ([], [])
    assert reached(tmp_path) == {("t", 0): (7, 7), ("t", 1): (0, 0)}


def test_a_partition_without_a_bound_is_not_read(tmp_path: Path) -> None:
    """It came after the bounds were chosen, so that the other side may not have seen it."""
    assert (
        read(ReadBound(CanaryLaunch("new", str(tmp_path), {"t": (7,)})), Session([0], 1), partition=1) == []
    )


def test_only_a_canary_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's own job reads on."""
    monkeypatch.setenv(LAUNCH_VARIABLE, LaunchParameters(1, 1).encode())
    assert ReadBound.current() is None
    shadow = CanaryLaunch("new", str(tmp_path), {"t": (7,)})
    monkeypatch.setenv(LAUNCH_VARIABLE, LaunchParameters(1, 1, canary=shadow).encode())
    assert ReadBound.current() is not None
