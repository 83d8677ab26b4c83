"""What a client's code does to itself on Flink: its job lives, and nobody else's notices."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tillstream.runners.flink.rest import ENDED, JobFailedError
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.stopping import stop_of

from .conftest import Client, change, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

_FOLDER = Path(__file__).resolve().parents[1] / "nasty"
# By id of the row; the others of 9000 and more are told by their errors' text.
_REASONS = {
    9001: "transform_failed",
    9002: "transform_failed",
    9003: "timed_out",
    9004: "timed_out",
    9005: "timed_out",
    9006: "out_of_memory",
    9007: "crashed",
    9008: "crashed",
    9009: "transform_failed",
    9010: "transform_failed",
    9011: "transform_failed",
    9012: "transform_failed",
    9013: "too_many_mutations",
    9014: "transform_failed",
}
_LETTERS = "select (key::json->>'id')::int, reason, detail, traceback from tillstream_dead_letters"


class Nasty(Client):
    """Be the client whose code misbehaves."""

    def arguments(self, version: str = "1.0.0", **limits: Any) -> dict[str, Any]:
        """Return what its config says beside the usual."""
        entity = {
            "topic": self.topic,
            "key": ["id"],
            "contract": {"id": "int64", "amount": "decimal(12,2)"},
            "transform": f"nasty.sales@{version}",
            "sinks": ["warehouse"],
        }
        return {
            "entities": {"sales": entity},
            "transforms": {"modules": ["tillstream_nasty"], "path": str(_FOLDER)},
            "limits": {"record_timeout_ms": 500, **limits},
            "flink": {"rest_url": self.stack.addresses.flink, "memory_mb_max": 1024},
        }

    def letters(self) -> dict[int, tuple[str, str, str | None]]:
        """Return reason, detail and traceback of each dead letter, by the row's id."""
        return {each[0]: each[1:] for each in self.query(_LETTERS)}


@pytest.fixture
def nasty(stack: LocalStack, request: pytest.FixtureRequest) -> Iterator[Nasty]:
    """Return a client whose code misbehaves, and end its jobs afterwards."""
    found = Nasty(stack, f"n{zlib.crc32(request.node.name.encode()):08x}")
    try:
        yield found
    finally:
        found.cancel()


def _task_manager(stack: LocalStack) -> int | None:
    return next(status.pid for status in stack.ps() if status.service == "taskmanager")


def test_whatever_a_dofn_does_its_job_and_its_neighbours_go_on(
    nasty: Nasty, client: Client, stack: LocalStack
) -> None:
    """Each misdeed ends in a dead letter with its reason; good rows and another client's rows arrive."""
    others = stack.layout.secrets / "other"
    others.mkdir()
    (others / "PASSWORD").write_text("theirs")
    task_manager = _task_manager(stack)
    client.create_topic(1)
    client.sales(0, 100)
    neighbour = client.launch()
    wait_until(lambda: client.rows() == 100, "the neighbour's first rows")
    nasty.create_topic(1)
    nasty.sales(0, 100)
    job = nasty.launch(**nasty.arguments())
    wait_until(lambda: nasty.rows() == 100, "the first good rows")
    rows, theirs = 100, 100
    for number in _REASONS:
        nasty.produce([(b'{"id":%d}' % number, change(number, "1.00", number))])
    # A leak costs restarts, no record: each lump is in a checkpoint before the next one comes.
    for first in range(5000, 5060, 20):
        nasty.sales(first, 20)
        client.sales(theirs, 100)
        rows, theirs = rows + 20, theirs + 100
        wait_until(lambda: client.rows() == theirs, "the neighbour's rows", 20)  # noqa: B023
        wait_until(lambda: nasty.rows() == rows, "the good rows", 240)  # noqa: B023
    wait_until(lambda: set(nasty.letters()) == set(_REASONS), "the dead letters", 60)
    letters = nasty.letters()
    assert {number: found[0] for number, found in letters.items()} == _REASONS
    assert letters[9012][1] == "RuntimeError: seen: []"
    assert (others / "PASSWORD").read_text() == "theirs"
    assert "_hang_in_c" in str(letters[9004][2])
    assert "_hang_with_the_lock" in str(letters[9005][2])
    assert "_crash" in str(letters[9008][2])
    assert nasty.rest.job(job)["state"] == "RUNNING"
    assert client.rest.root_cause(neighbour) == ""
    assert _task_manager(stack) == task_manager


def test_a_job_that_refuses_too_much_stops_and_says_why(nasty: Nasty) -> None:
    """Past its error budget a job is cancelled with the reason; mended, it goes on from its checkpoint."""
    nasty.create_topic(1)
    nasty.sales(0, 100)
    job = nasty.launch(**nasty.arguments(errors_max=150))
    wait_until(lambda: nasty.rows() == 100, "the good rows")
    nasty.sales(7000, 100)
    wait_until(lambda: len(nasty.letters()) == 100, "dead letters within the budget")
    assert nasty.rest.job(job)["state"] == "RUNNING"
    nasty.sales(7100, 100)
    wait_until(lambda: nasty.rest.job(job)["state"] in ENDED, "the end of the job")
    assert nasty.rest.job(job)["state"] == "CANCELED"
    reason = nasty.rest.root_cause(job)
    assert f"the job has stopped itself: client {nasty.name}: " in reason
    assert "200 times transform_failed by nasty.sales@1.0.0 in sales" in reason
    assert len(nasty.letters()) == 200
    checkpoint = nasty.rest.checkpoints(job)["latest"]["completed"]["external_path"]
    assert str(stop_of(nasty.rest, nasty.name)).endswith(f"Its newest checkpoint: {checkpoint}")
    nasty.launch(savepoint=checkpoint, **nasty.arguments("1.0.1", errors_max=150))
    nasty.sales(7200, 100)
    wait_until(lambda: nasty.query("select count(*) from sales where id >= 7200") == [(100,)], "new rows")


def test_a_setup_that_raises_ends_the_job(nasty: Nasty) -> None:
    """No restart would cure it, so Flink is not left to try for ever, and a person reads why."""
    nasty.create_topic(1)
    nasty.sales(0, 1)
    # It may end before or after the launch is done.
    with suppress(JobFailedError):
        nasty.launch(**nasty.arguments("1.0.2"))
    (job,) = [each["jid"] for each in nasty.rest.jobs() if each["name"] == nasty.name]
    wait_until(lambda: nasty.rest.job(job)["state"] in ENDED, "the end of the job")
    assert nasty.rest.job(job)["state"] == "CANCELED"
    reason = "transform 'nasty.sales@1.0.2' of entity 'sales': setup raised OSError: no model file"
    assert reason in nasty.rest.root_cause(job)
    assert reason in str(stop_of(nasty.rest, nasty.name))
