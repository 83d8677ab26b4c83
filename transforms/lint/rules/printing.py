"""TS011: nothing is printed for each element."""

from __future__ import annotations

from collections.abc import Iterator

from tillstream.transforms.lint.classes import hot
from tillstream.transforms.lint.rule import Found, Rule
from tillstream.transforms.lint.source import Source, body_of

__all__ = ["RULE"]


def _check(source: Source) -> Iterator[Found]:
    for each in hot(source):
        for node in body_of(each.function):
            if source.called(node) == "builtins.print":
                yield node, "found print()"


RULE = Rule(
    code="TS011",
    about="print in what runs for each element",
    why="it fills the workers' logs at the rate of the stream, with clients' data, at no level",
    instead="raise for a bad record, use Metrics.counter for a count, logging for what is rare",
    check=_check,
)
