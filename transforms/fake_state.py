"""Stand in for Beam's two state cells, in tests and benchmarks, with snapshots to roll back to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

__all__ = ["FakeBag", "FakeCell", "FakeState", "Snapshot"]

Snapshot: TypeAlias = tuple[bytes | None, tuple[bytes, ...]]


class FakeCell:
    """Hold one value, as Beam's ReadModifyWriteState does."""

    def __init__(self) -> None:
        self.value: bytes | None = None

    def read(self) -> bytes | None:
        """Return the value, or None where none was written."""
        return self.value

    def write(self, value: bytes) -> None:
        """Replace the value."""
        self.value = value


class FakeBag:
    """Hold values, as Beam's BagState does; they come back last first, because a bag promises no order."""

    def __init__(self) -> None:
        self.values: list[bytes] = []

    def read(self) -> Sequence[bytes]:
        """Return the values."""
        return self.values[::-1]

    def add(self, value: bytes) -> None:
        """Put one in."""
        self.values.append(value)

    def clear(self) -> None:
        """Take all out."""
        self.values = []


class FakeState:
    """Hold the cells of one shard."""

    def __init__(self) -> None:
        self.cell = FakeCell()
        self.bag = FakeBag()

    def snapshot(self) -> Snapshot:
        """Return what a checkpoint would hold."""
        return self.cell.value, tuple(self.bag.values)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to what a checkpoint held."""
        self.cell.value, self.bag.values = snapshot[0], list(snapshot[1])

    def size_bytes(self) -> int:
        """Return how many bytes the cells hold."""
        return len(self.cell.value or b"") + sum(map(len, self.bag.values))
