"""Only what transforms see is changed, and only while they are simulated."""

from __future__ import annotations

import builtins
import datetime as dt
import functools
import time
from typing import Any

import apache_beam as beam
import pytest

from tillstream.transforms.testing.perturbing import World

COLOURS = {"red", "green", "blue"}


def noted(function: Any) -> Any:
    """Return a function that calls another."""

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return function(*arguments)

    return call


@noted
def decorated() -> list[str]:
    """Walk a set."""
    return list({"a", "b", "c"})


def imported() -> Any:
    """Read clocks that are imported here alone."""
    import datetime  # noqa: ICN001  (as an author may)
    from time import time as now

    return datetime.datetime.now(datetime.timezone.utc).date(), now() // 86_400


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
            "strftime": time.strftime("%Y"),
            "localtime": time.localtime(),
            "gmtime": time.gmtime(),
            "ctime": time.ctime(),
            "asctime": time.asctime(),
            "clock_gettime": time.clock_gettime(time.CLOCK_REALTIME),
            "monotonic": time.monotonic() // 1000,
            "imported": imported(),
            "generated": [each for each in (tag for tag in {"x", "y", "z"})],  # noqa: C416, PLC0208, RUF100
            "walked": [each for each in {"x", "y", "z"}],  # noqa: C416, PLC0208, RUF100
            "decorated": decorated(),
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
    importing = builtins.__import__
    before = (dict(globals()), Looks.process.__code__, Looks.shades)
    with pytest.raises(ZeroDivisionError), World([Looks]):
        _ = 1 / (globals()["dt"] is before[0]["dt"])
    assert (dict(globals()), Looks.process.__code__, Looks.shades) == before
    assert builtins.__import__ is importing
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
