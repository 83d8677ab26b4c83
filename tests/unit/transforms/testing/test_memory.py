"""What a module and its classes remember belongs to one process, and is put back."""

from __future__ import annotations

import functools
import itertools
from typing import Any

from tillstream.transforms.testing.memory import Memory

KNOWN: dict[str, list[int]] = {"first": [1]}
NUMBERS = itertools.count(5)
LAST = "nothing"


class Store:
    """Hold what an object of the module's remembers."""

    def __init__(self) -> None:
        self.seen: list[int] = []


STORE = Store()


class Remembers:
    """Remember in each place that there is."""

    count = 0
    seen: set[int] = set()

    def note(self, value: int) -> None:
        """Remember a number everywhere."""
        KNOWN["first"].append(value)
        KNOWN[str(value)] = [value]
        globals()["LAST"] = value
        globals()["NEW"] = value
        type(self).count += 1
        self.seen.add(value)
        type(self).added = value  # type: ignore[attr-defined]
        STORE.seen.append(value)
        default(value)
        cached(value)


def default(value: int, known: list[int] = []) -> list[int]:  # noqa: B006  (what is shown)
    """Return all values of before."""
    known.append(value)
    return list(known)


@functools.lru_cache
def cached(value: int) -> int:
    """Return a number of its own for each value."""
    return value * 0 + next(NUMBERS)


def remembered() -> Any:
    """Return what is remembered."""
    return (
        {name: list(values) for name, values in KNOWN.items()},
        globals()["LAST"],
        "NEW" in globals(),
        Remembers.count,
        set(Remembers.seen),
        hasattr(Remembers, "added"),
        list(STORE.seen),
    )


def test_each_process_has_a_memory_of_its_own() -> None:
    """Another process begins with what was there at first; in the end all is as before."""
    before = remembered()
    with Memory([Remembers]) as memory:
        Remembers().note(7)
        first = remembered()
        assert first == (
            {"first": [1, 7], "7": [7]},
            7,
            True,
            1,
            {7},
            True,
            [7],
        )
        memory.switch(1)
        assert remembered() == before
        assert (default(8), cached(7)) == ([8], 5)
        memory.switch(0)
        assert remembered() == first
        memory.forget()
        assert remembered() == before
        Remembers().note(9)
    assert remembered() == before
    assert (default(1), cached(9)) == ([1], 5)
    Memory([Remembers]).forget()
