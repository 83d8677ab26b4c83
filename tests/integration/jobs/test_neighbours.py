"""What goes wrong with one client's job is not felt by another's."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import psutil
import pytest

from tillstream.runners.local.stack import LocalStack
from tillstream.runners.nursery.forked import forked

from .conftest import Client, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

_FLOOD = 5_000
_ROUNDS = 3


@pytest.fixture
def loud(stack: LocalStack, request: pytest.FixtureRequest) -> Iterator[Client]:
    """Return a second client, and end its jobs afterwards."""
    found = Client(stack, f"l{zlib.crc32(request.node.name.encode()):08x}")
    yield found
    print(found.describe())  # noqa: T201
    found.cancel()


def harness_of(client: Client) -> psutil.Process:
    """Return the process that runs a client's stages."""
    pid = next(status.pid for status in client.stack.ps() if status.service == "taskmanager")

    found: list[psutil.Process] = wait_until(lambda: forked(psutil.Process(pid), client.name), "a harness")
    return found[-1]


def test_a_crash_loop_and_a_flood_leave_the_neighbours_rows_flowing(client: Client, loud: Client) -> None:
    """Its process lives on, and its rows arrive while the other's dies again and again under load."""
    for each in (client, loud):
        each.create_topic(2)
        each.launch(flink={"rest_url": each.stack.addresses.flink, "processes": 1})
    client.sales(0, 10)
    wait_until(lambda: client.rows() == 10, "the first rows")
    process = harness_of(client)
    for number in range(1, _ROUNDS + 1):
        loud.sales((number - 1) * _FLOOD, _FLOOD)
        harness_of(loud).kill()
        client.sales(number * 10, 10)
        wait_until(lambda rows=(number + 1) * 10: client.rows() == rows, "the neighbour's rows")
    wait_until(lambda: loud.rows() == _ROUNDS * _FLOOD, "all rows of the flood", 120)
    assert harness_of(client) == process
    assert process.is_running()
