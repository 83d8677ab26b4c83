"""Print a failing case as a test to paste."""

from __future__ import annotations

import pprint
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from tillstream.pipelines.records import ChangeEvent, Operation
from tillstream.transforms.testing.events import EPOCH_US, place
from tillstream.transforms.testing.result import plain
from tillstream.transforms.testing.schedules import Schedule
from tillstream.transforms.testing.subjects import Subject

__all__ = ["printed_test", "spelt"]

_BUILDERS = {
    Operation.CREATE: "created",
    Operation.UPDATE: "updated",
    Operation.DELETE: "deleted",
    Operation.SNAPSHOT: "snapshot",
    Operation.TRUNCATE: "truncated",
}
_WIDTH = 100


def printed_test(
    subject: Subject,
    events: Sequence[ChangeEvent],
    schedule: Schedule,
    options: Mapping[str, Any],
    title: tuple[str, str],
) -> str:
    """Return a pytest test that fails as a simulation did.

    Args:
        subject: what was simulated.
        events: placed, in order.
        schedule: that they were delivered by.
        options: further keyword arguments of `simulate`.
        title: end of the test's name, and its docstring.
    """
    imports, tested = _tested(subject)
    names = {"simulate", *[_BUILDERS[event.operation] for event in events]}
    text = spelt(schedule)
    names |= {name for name in ("Crash", "Schedule") if f"{name}(" in text}
    arguments = [
        f"{name}={_argument(value, imports)}" for name, value in {**subject.options, **options}.items()
    ]
    called = ", ".join([tested, "events", *arguments, f"schedule={text}"])
    lines = [
        *dict.fromkeys([*imports, f"from tillstream.testing import {', '.join(sorted(names, key=_sorted))}"]),
        "",
        "",
        f"def test_{_identifier(subject.name)}_{title[0]}() -> None:",
        f'    """{title[1]}"""',
        "    events = [",
        *[f"        {line}" for event in _untimed(events) for line in event.splitlines()],
        "    ]",
        f"    simulate({called})",
    ]
    return "\n".join(lines) + "\n"


def spelt(schedule: Schedule) -> str:
    """Return a schedule as Python, without what it has by default."""
    said = [
        f"{field.name}={getattr(schedule, field.name)!r}".replace(", bundle=1)", ")")
        for field in fields(schedule)
        if getattr(schedule, field.name) != field.default
    ]
    return f"Schedule({', '.join(said)})"


def _sorted(name: str) -> tuple[bool, str]:
    return name[0].islower(), name


def _identifier(name: str) -> str:
    return re.sub(r"\W+", "_", name.split("@", 1)[0].split(".", 1)[-1])


def _tested(subject: Subject) -> tuple[list[str], str]:
    tested = subject.tested
    if isinstance(tested, type):
        return _imported(tested)
    if isinstance(tested, str | Path):
        return [], repr(str(tested))
    return [f"# config: the ClientConfig of {subject.name}"], "config"


def _imported(value: Any) -> tuple[list[str], str]:
    module, name = value.__module__, value.__qualname__
    if "<" in name:
        short = name.rsplit(".", 1)[-1]
        return [f"# {short}: it is {name} of {module}, which cannot be imported"], short
    return [f"from {module} import {name.split('.', 1)[0]}"], name


def _argument(value: Any, imports: list[str]) -> str:
    if not callable(value):
        return repr(value)
    lines, name = _imported(value)
    imports += lines
    return "tolerance" if name == "<lambda>" else name


def _untimed(events: Sequence[ChangeEvent]) -> list[str]:
    """Return the events as Python; what `place` would give them anyway is left out."""
    bare = place([_bare(event) for event in events])
    said = []
    for event, other in zip(events, bare, strict=True):
        extra: dict[str, Any] = {}
        if event.source_time_us != other.source_time_us:
            extra["at"] = event.source_time_us
        if (event.offset, event.position) != (other.offset, other.position):
            extra |= {"offset": event.offset, "position": event.position}
        if event.partition:
            extra["partition"] = event.partition
        said.append(_event(event, extra))
    return said


def _bare(event: ChangeEvent) -> ChangeEvent:
    from msgspec.structs import replace

    return replace(event, offset=-1, position=(), source_time_us=EPOCH_US)


def _event(event: ChangeEvent, extra: Mapping[str, Any]) -> str:
    if event.operation is Operation.TRUNCATE:
        return f"truncated({', '.join([repr(event.entity), *(f'{n}={v!r}' for n, v in extra.items())])}),"
    row = event.after if event.after is not None else event.before
    row = {**event.key, **(row or {})}
    key = tuple(event.key)
    arguments: dict[str, Any] = {"key": key[0] if len(key) == 1 else key}
    if event.operation is Operation.UPDATE and event.before is not None:
        arguments["before"] = _plain(event.before)
    called = ", ".join([f"{name}={value!r}" for name, value in {**arguments, **extra}.items()])
    builder = _BUILDERS[event.operation]
    line = f"{builder}({event.entity!r}, {_plain(row)!r}, {called}),"
    if len(line) <= _WIDTH:
        return line
    body = pprint.pformat(_plain(row), width=_WIDTH, sort_dicts=False).replace("\n", "\n    ")
    return f"{builder}(\n    {event.entity!r},\n    {body},\n    {called},\n),"


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: plain(value) for name, value in row.items()}
