"""One client's lines are found in the log that all share."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.jobs.logs import LogReader, since_of
from tillstream.runners.naming import name_lines

FIRST = [
    "2026-03-01 10:00:00,250 INFO  o.a.f.Task  starting",
    "2026-03-01 10:00:01,500 WARN  /.py:3  [acme] one",
]
THEIRS = ["2026-03-01 10:00:02,000 WARN  /.py:3  [globex] other", "  of [globex]"]
LATER = ["2026-03-01 10:00:03,000 ERROR /.py:3  [acme] two", "Traceback", "ValueError: x"]


def at_ms(line: str) -> int:
    """Return when a line was logged, as the machine's clock has it."""
    return int(dt.datetime.fromisoformat(line[:19]).astimezone().timestamp()) * 1000 + int(line[20:23])


class Rest(FlinkRest):
    """Be a cluster with one TaskManager."""

    lines: list[str]
    failures: list[dict[str, Any]]
    names: dict[str, str]

    def jobs(self) -> list[dict[str, Any]]:
        """Return its jobs."""
        return [{"jid": job_id, "name": name} for job_id, name in self.names.items()]

    def logs(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Return its log."""
        yield "tm1", (line.encode() for line in self.lines)

    def exceptions(self, job_id: str, count_max: int = 20) -> list[dict[str, Any]]:
        """Return the failures of all jobs but j2."""
        return self.failures[:count_max] if job_id != "j2" else []


@pytest.fixture
def rest() -> Rest:
    """Return a cluster that has just started a job."""
    found = Rest("http://c")
    found.lines, found.failures, found.names = [*FIRST, *THEIRS], [], {"j1": "acme", "j2": "globex"}
    return found


def texts(reader: LogReader) -> list[str]:
    """Return the first line of each that is new."""
    return [line.text.splitlines()[0] for line in reader.read()]


def test_each_line_is_read_once(rest: Rest) -> None:
    """With all lines that belong to it; others' and Flink's own are left out."""
    reader = LogReader(rest, ["acme"])
    assert texts(reader) == [FIRST[1]]
    rest.lines += LATER
    (line,) = reader.read()
    assert line.text == "\n".join(LATER)
    assert texts(reader) == []


def test_a_log_that_was_turned_over_is_new(rest: Rest) -> None:
    """Though it may be as long as before."""
    reader = LogReader(rest, ["acme"])
    reader.read()
    rest.lines = [*LATER, "2026-03-01 10:00:04,000 INFO  x  y"]
    assert texts(reader) == [LATER[0]]


def test_failures_are_lines_among_others(rest: Rest) -> None:
    """In order of time; each once; Flink's own lines that name the job are the client's."""
    rest.lines += [*LATER, "2026-03-01 10:00:05,000 INFO  o.a.f.Slots  slot of j1"]
    rest.failures = [
        {"timestamp": at_ms(LATER[0]) - 1, "taskName": "WriteSinks", "stacktrace": "oh\n\tat x\n"}
    ]
    reader = LogReader(rest, ["acme"])
    found = texts(reader)
    assert [line[24:31].strip() for line in found] == ["WARN  /", "FAILURE", "ERROR /", "INFO  o"]
    assert found[1].endswith("FAILURE of job j1 in WriteSinks: oh")
    assert texts(reader) == []


def test_only_what_is_new_enough_counts(rest: Rest) -> None:
    """Lines and failures."""
    rest.lines += LATER
    rest.failures = [{"timestamp": at_ms(FIRST[1]), "taskName": None, "stacktrace": "old"}]
    assert texts(LogReader(rest, ["acme"], at_ms(LATER[0]))) == [LATER[0]]


def test_lines_of_several_clients_come_together(rest: Rest) -> None:
    """Each says whose it is, Flink's own as well."""
    rest.lines += [*LATER, "2026-03-01 10:00:05,000 INFO  o.a.f.Slots  slot of j2"]
    found = LogReader(rest, ["acme", "globex"]).read()
    assert [line.client for line in found] == ["acme", "globex", "acme", "globex"]
    assert [line.shown.startswith("[globex] ") for line in found] == [False, False, False, True]


def test_a_job_that_is_launched_later_is_the_clients_too(rest: Rest) -> None:
    """Its failures, though older than the newest of another job, and Flink's lines that name it."""
    rest.failures = [{"timestamp": at_ms(LATER[0]), "taskName": "ReadChanges", "stacktrace": "late"}]
    reader = LogReader(rest, ["acme"])
    reader.read()
    rest.names["j3"] = "acme"
    rest.failures = [{"timestamp": at_ms(LATER[0]) - 1, "taskName": "WriteSinks", "stacktrace": "soon"}]
    rest.lines += ["2026-03-01 10:00:05,000 INFO  o.a.f.Slots  slot of j3"]
    first, *found = texts(reader)
    assert first.endswith("FAILURE of job j1 in WriteSinks: soon")
    assert found[0].endswith("FAILURE of job j3 in WriteSinks: soon")
    assert found[1].endswith("slot of j3")


@pytest.mark.parametrize(("text", "age_s"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400)])
def test_a_time_may_be_an_age(text: str, age_s: int) -> None:
    """Before now."""
    assert abs(time.time() - age_s - since_of(text) / 1000) < 5


@pytest.mark.parametrize("text", ["2026-03-01T10:00:00Z", "2026-03-01T10:00:00", "2026-03-01 11:00:00+01:00"])
def test_a_time_may_be_iso_8601(text: str) -> None:
    """UTC without a zone."""
    assert since_of(text) == 1_772_359_200_000


def test_what_is_no_time_is_refused() -> None:
    """By the one error that the command tells of."""
    with pytest.raises(ValueError, match="yesterday"):
        since_of("yesterday")


def test_a_process_names_its_client(caplog: pytest.LogCaptureFixture) -> None:
    """Before whatever it logs, with arguments or without."""
    make = logging.getLogRecordFactory()
    try:
        name_lines("acme")
        logging.getLogger("elsewhere").warning("%s of %d", "one", 2)
        logging.getLogger("elsewhere").warning({"not": "text"})
    finally:
        logging.setLogRecordFactory(make)
        logging.getLogger("apache_beam.options.pipeline_options").setLevel(logging.NOTSET)
    assert caplog.messages == ["[acme] one of 2", "[acme] {'not': 'text'}"]
