"""A client's job on the real parts: what arrives, what is refused, what an outage does."""

from __future__ import annotations

import os
import signal
from typing import Any

import psutil
import pytest

from tests.integration.listening import beyond_loopback, listening
from tillstream.pipelines.errors import UserError
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.nursery.forked import forked

from .conftest import Client, change, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

# Beam's DefaultJobBundleFactory: control, logging, artifacts, provisioning, data, state.
_SERVERS_OF_A_JOB = 6


def test_changes_arrive_and_bad_ones_are_kept(client: Client) -> None:
    """Good changes become rows, every bad one a dead letter with its place, reason and payload."""
    client.create_topic(1)
    client.produce(
        [
            (b'{"id":1}', change(1, "9.50", 1, "c")),
            (b'{"id":2}', b"not json"),
            (None, b'{"op":"c","before":null,"after":{"amount":"1"},"source":{"connector":"postgresql"}}'),
            (b'{"id":3}', change(3, "abc", 3)),
            # A diagnostic NaN is a decimal, but none that Postgres knows.
            (b'{"id":4}', change(4, "NaN7", 4)),
            (b'{"id":5}', change(5, "5.00", 5)),
            (b'{"id":5}', change(5, "5.00", 6, "d")),
            (b'{"id":5}', None),
            (b'{"id":6}', change(6, "6.00", 8)),
        ]
    )
    client.produce([(b'{"id":1}', change(1, "1.00", 1))], topic=f"{client.name}.public.unknown")
    client.launch(kafka={"topics": [f"^{client.name}\\.public\\."]})
    wait_until(lambda: client.rows() == 2, "rows 1 and 6")
    assert client.query("select id, amount::text from sales order by id") == [(1, "9.50"), (6, "6.00")]
    letters = 'select reason, topic, partition, "offset", step from tillstream_dead_letters order by 2, 4'
    wait_until(lambda: len(client.query(letters)) == 5, "five dead letters")
    assert client.query(letters) == [
        ("malformed", client.topic, 0, 1, "read"),
        ("missing_key", client.topic, 0, 2, "read"),
        ("contract", client.topic, 0, 3, "transform"),
        ("refused_by_sink", client.topic, 0, 4, "write"),
        ("unknown_topic", f"{client.name}.public.unknown", 0, 0, "read"),
    ]
    payload = client.query("select payload from tillstream_dead_letters where reason = 'malformed'")
    assert payload == [("not json",)]


def test_one_job_per_client(client: Client) -> None:
    """A second launch of a running client is refused with the way out."""
    client.create_topic()
    client.launch()
    with pytest.raises(UserError, match="one job per client"):
        client.launch()


def test_stages_are_named(client: Client) -> None:
    """An operator finds the steps by their names in the dashboard."""
    client.create_topic()
    job = client.rest.job(client.launch())
    names = " ".join(vertex["name"] for vertex in job["vertices"])
    assert job["name"] == client.name
    assert all(step in names for step in ("Ticks", "ReadChanges", "TransformChanges", "WriteSinks"))


def test_latest_starts_at_the_launch(client: Client) -> None:
    """What was there before is not read; partitions that come later are read whole."""
    client.create_topic(1)
    client.sales(0, 10)
    client.launch(kafka={"start": "latest"})
    client.sales(100, 10)
    wait_until(lambda: client.rows() == 10, "the ten new rows")
    assert client.query("select min(id) from sales") == [(100,)]


def test_explicit_offsets_and_new_topics(client: Client) -> None:
    """Reading starts at the offset given; a topic that appears after the launch is found."""
    job = client.launch(kafka={"start": {"offsets": {client.topic: {"0": 5}}}})
    client.create_topic(1)
    client.sales(0, 8)
    wait_until(lambda: client.rows() == 3, "rows 5 to 7")
    assert client.rest.job(job)["state"] == "RUNNING"


def test_a_rate_limit_is_kept(client: Client) -> None:
    """A job reads no more than its limit allows."""
    client.create_topic(1)
    client.sales(0, 2000)
    client.launch(kafka={"rate_limit_per_s": 200})
    wait_until(lambda: client.rows() >= 800, "the first 800 rows")
    # What was committed first had gathered before: the rate is that of what followed.
    times = "select pg_xact_commit_timestamp(xmin) as at from sales"
    followed, seconds = client.query(
        "select count(*) filter (where at > first), extract(epoch from max(at) - min(first)) "
        f"from ({times}) as t, (select min(at) as first from ({times}) as u) as f"
    )[0]
    assert client.rows() <= 2000
    assert followed / float(seconds) < 300


def test_nothing_listens_beyond_loopback(client: Client, stack: LocalStack) -> None:
    """No port that a job opens can be reached from another machine, nor any other of the stack."""
    client.create_topic(1)
    client.sales(0, 10)
    client.launch()
    wait_until(lambda: client.rows() == 10, "the rows")
    found = {process.pid: addresses for process, addresses in listening(stack).items()}
    taskmanager = next(status.pid for status in stack.ps() if status.service == "taskmanager")
    # Data, state, logging and more, for the job's Python process, which is looked at too.
    assert len(found[taskmanager or 0]) >= _SERVERS_OF_A_JOB
    assert _harness_of(stack).pid in found
    assert beyond_loopback(stack) == []


def _harness_of(stack: LocalStack) -> psutil.Process:
    pid = next(status.pid for status in stack.ps() if status.service == "taskmanager")
    # Other tests' jobs have ended: the newest harness below this TaskManager is this job's.
    found: list[psutil.Process] = wait_until(lambda: forked(psutil.Process(pid)), "a harness")
    return found[-1]


@pytest.mark.parametrize("part", ["taskmanager", "warehouse", "kafka", "harness"])
def test_an_outage_loses_nothing(client: Client, stack: LocalStack, part: str) -> None:
    """After a part is killed and back, every change has arrived, and the job is the same one."""
    client.create_topic(2)
    client.sales(0, 5000)
    job = client.launch()
    wait_until(lambda: client.rows() > 0, "the first rows")
    if part == "harness":
        os.kill(_harness_of(stack).pid, signal.SIGKILL)
        client.sales(5000, 5000)
    else:
        stack.kill(part)
        if part != "kafka":
            client.sales(5000, 5000)
        stack.up(["warehouse", "kafka", "jobmanager", "taskmanager"])
        if part == "kafka":
            client.sales(5000, 5000)
    wait_until(lambda: _rows_or_none(client) == 10_000, "all rows", 120)
    assert client.rest.job(job)["state"] == "RUNNING"
    client.produce((b'{"id":%d}' % key, change(key, "2.00", 20_000 + key)) for key in range(10))
    wait_until(lambda: client.query("select count(*) from sales where amount = 2")[0][0] == 10, "updates", 60)


def _rows_or_none(client: Client) -> Any:
    try:
        return client.rows()
    except Exception:  # noqa: BLE001  # the database is the part that is away
        return None
