"""TS003: what is made of an event does not depend on the clock."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tillstream.transforms.lint.classes import hot
from tillstream.transforms.lint.rule import Found, Rule
from tillstream.transforms.lint.source import Source, body_of

__all__ = ["RULE"]

_CLOCKS = frozenset(
    [
        "time.time",
        "time.time_ns",
        "datetime.datetime.now",
        "datetime.datetime.utcnow",
        "datetime.datetime.today",
        "datetime.date.today",
        "pandas.Timestamp.now",
        "pendulum.now",
        "arrow.now",
        "arrow.utcnow",
    ]
)
# These read the clock unless they are given a time.
_WITHOUT_ARGUMENTS = frozenset({"time.localtime", "time.gmtime", "time.ctime"})


def _check(source: Source) -> Iterator[Found]:
    for each in hot(source):
        for node in body_of(each.function):
            if isinstance(node, ast.Call):
                name = source.name(node.func)
                if name in _CLOCKS or (name in _WITHOUT_ARGUMENTS and not node.args):
                    yield node, f"found the wall clock, {name}()"


RULE = Rule(
    code="TS003",
    about="the wall clock in what runs for each element",
    why="a replay after a failure, and a rerun of old data, make other rows of the same event",
    instead="use the event's own time, event.source_time_us",
    check=_check,
)
