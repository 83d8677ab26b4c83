"""Read what the processes of clients' jobs have logged, and why they failed, through Flink's REST interface.

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
        client: whose it is.
        text: in one or more lines.
    """

    at_ms: int
    source: str
    client: str
    text: str = field(compare=False)

    @property
    def shown(self) -> str:
        """Return it so that it names its client, which Flink's own lines do not."""
        mark = mark_of(self.client)
        return self.text if mark in self.text else f"{mark} {self.text}"


class LogReader:
    """Read the log of some clients again and again, each line once.

    Flink's own lines that name a job of theirs count too, also of one that is launched meanwhile.

    Args:
        rest: of the cluster.
        clients: whose lines.
        since_ms: of that time or later, milliseconds since 1970 UTC.
    """

    def __init__(self, rest: FlinkRest, clients: Iterable[str], since_ms: int = 0) -> None:
        self._rest = rest
        self._of_mark = {mark_of(client): client for client in clients}
        self._clients = frozenset(self._of_mark.values())
        self._since_ms = since_ms
        self._seen: dict[str, tuple[str, int]] = {}
        self._told: set[tuple[str, int, str]] = set()

    def read(self) -> list[Line]:
        """Return what is new, oldest first.

        Raises:
            UnavailableError: if the cluster does not answer.
        """
        jobs = {str(each["jid"]): str(each["name"]) for each in self._rest.jobs()}
        self._of_mark |= {job_id: client for job_id, client in jobs.items() if client in self._clients}
        found = [line for job_id, client in jobs.items() for line in self._failures(job_id, client)]
        names = re.compile("|".join(map(re.escape, self._of_mark)))
        for manager, lines in self._rest.logs():
            found.extend(self._new(manager, [line.decode("utf-8", "replace") for line in lines], names))
        return sorted(found)

    def _failures(self, job_id: str, client: str) -> Iterator[Line]:
        if client not in self._clients:
            return
        for each in self._rest.exceptions(job_id):
            at_ms, task = int(each["timestamp"]), str(each.get("taskName") or "")
            known = (job_id, at_ms, task)
            if at_ms >= self._since_ms and known not in self._told:
                self._told.add(known)
                where = f" in {task}" if task else ""
                trace = str(each["stacktrace"])[:_SHOWN_MAX].rstrip()
                text = f"{_clock(at_ms)} FAILURE of job {job_id}{where}: {trace}"
                yield Line(at_ms, "failure", client, text)

    def _new(self, manager: str, lines: list[str], names: re.Pattern[str]) -> Iterator[Line]:
        first, count = self._seen.get(manager, ("", 0))
        if not lines or lines[0] != first:
            # The log was turned over: all of it is new.
            count = 0
        # A line that is being written has no end yet, and its record may go on.
        self._seen[manager] = (lines[0] if lines else "", len(lines))
        for at_ms, text in _records(lines[count:]):
            named = names.search(text) if at_ms >= self._since_ms else None
            if named is not None:
                yield Line(at_ms, manager, self._of_mark[named[0]], text[:_SHOWN_MAX])


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
