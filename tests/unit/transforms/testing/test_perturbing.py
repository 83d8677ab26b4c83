"""Only what transforms see is changed, and only while they are simulated."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import apache_beam as beam
import pytest

from tillstream.transforms.testing.perturbing import World

COLOURS = {"red", "green", "blue"}


class Looks(beam.DoFn):
    """Look at all that the world holds."""

    shades = frozenset({"dark", "light"})

    def process(self, element: Any) -> dict[str, Any]:
        """Return what it saw."""
        letters = {"a", "b", element}
        return {
            "time": time.time(),
            "now": dt.datetime.now(dt.timezone.utc),
            "today": dt.date.today(),  # noqa: DTZ011
            "colours": list(COLOURS),
            "shades": list(self.shades),
            "letters": list(letters),
            "comprehended": list({each.upper() for each in letters}),
            "called": list(set("xyz") | frozenset("uvw")),
            "hash": hash("text"),
        }

    def closure(self, *more: str) -> Any:
        """Return a function that has free names."""
        prefix = "_"

        def inner() -> list[str]:
            return list({prefix + each for each in more})

        return inner


def test_each_differs_in_the_other_world() -> None:
    """Clock, hashes and the order of every kind of set; sets are the same ones otherwise."""
    with World([Looks]) as world:
        here = Looks().process("c")
        world.other = True
        there = Looks().process("c")
    for name, found in here.items():
        assert there[name] != found, name
        if isinstance(found, list):
            assert there[name] == found[::-1]
    assert (there["now"] - here["now"]).days == 366
    assert type(there["now"]) is dt.datetime


def test_closures_keep_their_free_names() -> None:
    """What an inner function sees of the outer one is there still."""
    with World([Looks]) as world:
        here = Looks().closure("a", "b", "c")()
        world.other = True
        assert Looks().closure("a", "b", "c")() == here[::-1]
    assert sorted(here) == ["_a", "_b", "_c"]


def test_everything_is_put_back() -> None:
    """Also where a transform raises."""
    before = (dict(globals()), Looks.process.__code__, Looks.shades)
    with pytest.raises(ZeroDivisionError), World([Looks]):
        _ = 1 / (globals()["dt"] is before[0]["dt"])
    assert (dict(globals()), Looks.process.__code__, Looks.shades) == before
    assert type(COLOURS) is set
    assert type(Looks.shades) is frozenset


def test_types_are_still_what_they_are() -> None:
    """Instances of the real classes pass for the stand-ins, which make real instances."""
    with World([Looks]):
        stand_in = globals()["dt"].datetime
        made = stand_in(2026, 1, 1, tzinfo=dt.timezone.utc)
        assert isinstance(made, stand_in)
        assert isinstance(stand_in.fromisoformat("2026-01-01T00:00:00+00:00"), stand_in)
        assert issubclass(type(made), stand_in)
        assert isinstance(set(), set)
        assert {1, 2} == {2, 1}
        found = set("ab")
        assert found.pop() in "ab"
        assert len(found) == 1
