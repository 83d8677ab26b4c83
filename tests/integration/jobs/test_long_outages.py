"""A sink that is away for long: what waits for it is neither lost nor applied out of order."""

from __future__ import annotations

import itertools

import pytest

from .conftest import Client, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

_RESTORES = 4
_CHANGES = 200
# The sink opens, but what it writes is answered as by a server that shuts down.
_AWAY = """
create function away() returns trigger language plpgsql as
$$ begin raise exception 'away' using errcode = '57P01'; end $$;
create trigger away before insert on sales for each statement execute function away()
"""


def test_batches_keep_their_order_through_many_restarts(client: Client) -> None:
    """Each restart brings back what no sink has taken; what comes after it is not mixed with it."""
    client.create_topic()
    sinks = client.config().model_dump(mode="json", by_alias=True)["sinks"]
    sinks["warehouse"]["retry_s_max"] = 0
    client.sales(0, _CHANGES)
    # Longer than the reader takes to start, so that new changes come before what waited is taken.
    job = client.launch(sinks=sinks, delivery={"checkpoint_interval_ms": 3000})
    wait_until(lambda: client.rows() == _CHANGES, "the first rows")
    client.execute(_AWAY)
    first = itertools.count(_CHANGES, _CHANGES)

    def goes_on() -> bool:
        client.sales(next(first), _CHANGES)
        return int(client.rest.checkpoints(job)["counts"]["restored"]) >= _RESTORES

    wait_until(goes_on, f"{_RESTORES} restarts")
    client.execute("drop trigger away on sales")
    expected = next(first)
    wait_until(lambda: client.rows() == expected, "all rows")
    assert client.rest.job(job)["state"] == "RUNNING"
