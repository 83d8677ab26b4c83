"""Read what the processes of one client's job have logged, and why it failed, through Flink's REST interface.

Processes of jobs put their client's name before each line (`runners/naming.py`), since all clients of a
TaskManager share its log.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.naming import mark_of

__all__ = ["Line", "LogReader", "since_of"]

# As Flink's own log configuration and the local stack's begin a line; in the time zone of the machine.
_BEGIN = re.compile(r"^(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)[,.](\d{3})")
_AGE = re.compile(r"^(\d+)(s|m|h|d)$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SHOWN_MAX = 20_000


@dataclass(frozen=True, order=True)
class Line:
    """Hold one thing that was logged.

    Attributes:
        at_ms: when, milliseconds since 1970 UTC.
        source: id of the TaskManager, or `failure`.
        text: in one or more lines.
    """

    at_ms: int
    source: str
    text: str = field(compare=False)


class LogReader:
    """Read one client's log again and again, each line once.

    Args:
        rest: of the cluster.
        client: whose lines.
        job_ids: Flink's own lines that name one of these count too.
        since_ms: of that time or later, milliseconds since 1970 UTC.
    """

    def __init__(self, rest: FlinkRest, client: str, job_ids: Iterable[str], since_ms: int = 0) -> None:
        self._rest = rest
        self._marks = (mark_of(client), *job_ids)
        self._jobs = tuple(job_ids)
        self._since_ms = since_ms
        self._seen: dict[str, tuple[str, int]] = {}
        self._failed_ms = since_ms - 1

    def read(self) -> list[Line]:
        """Return what is new, oldest first.

        Raises:
            UnavailableError: if the cluster does not answer.
        """
        found = list(self._failures())
        for manager, lines in self._rest.logs():
            found.extend(self._new(manager, [line.decode("utf-8", "replace") for line in lines]))
        return sorted(found)

    def _failures(self) -> Iterator[Line]:
        newest = self._failed_ms
        for job_id in self._jobs:
            for each in self._rest.exceptions(job_id):
                at_ms = int(each["timestamp"])
                if at_ms > self._failed_ms:
                    newest = max(newest, at_ms)
                    task = f" in {each['taskName']}" if each.get("taskName") else ""
                    trace = str(each["stacktrace"])[:_SHOWN_MAX].rstrip()
                    yield Line(at_ms, "failure", f"{_clock(at_ms)} FAILURE of job {job_id}{task}: {trace}")
        self._failed_ms = newest

    def _new(self, manager: str, lines: list[str]) -> Iterator[Line]:
        first, count = self._seen.get(manager, ("", 0))
        if not lines or lines[0] != first:
            # The log was turned over: all of it is new.
            count = 0
        # A line that is being written has no end yet, and its record may go on.
        self._seen[manager] = (lines[0] if lines else "", len(lines))
        for at_ms, text in _records(lines[count:]):
            if at_ms >= self._since_ms and any(mark in text for mark in self._marks):
                yield Line(at_ms, manager, text[:_SHOWN_MAX])


def since_of(text: str) -> int:
    """Return a time as milliseconds since 1970 UTC: an age such as 90s, 10m, 2h, 1d, or ISO 8601.

    Raises:
        ValueError: if it is neither.
    """
    age = _AGE.match(text)
    if age is not None:
        return int((time.time() - int(age[1]) * _SECONDS[age[2]]) * 1000)
    moment = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return int((moment if moment.tzinfo else moment.replace(tzinfo=dt.timezone.utc)).timestamp() * 1000)


def _records(lines: list[str]) -> Iterator[tuple[int, str]]:
    at_ms, held = 0, list[str]()
    for line in lines:
        begin = _BEGIN.match(line)
        if begin is not None:
            if held:
                yield at_ms, "\n".join(held)
            moment = dt.datetime.fromisoformat(begin[1]).astimezone()
            at_ms, held = int(moment.timestamp()) * 1000 + int(begin[2]), []
        held.append(line)
    if held:
        yield at_ms, "\n".join(held)


def _clock(time_ms: int) -> str:
    return f"{dt.datetime.fromtimestamp(time_ms / 1000).astimezone():%Y-%m-%d %H:%M:%S},{time_ms % 1000:03d}"
