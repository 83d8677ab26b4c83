"""A far side that does not answer is told before a job waits for it."""

from __future__ import annotations

import socket

import pytest

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import UnavailableError
from tillstream.runners import preflight


def _closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _config(kafka: int, postgres: int) -> ClientConfig:
    return ClientConfig.model_validate(
        {
            "client": "a",
            "source": {"kafka": {"bootstrap_servers": f"127.0.0.1:{kafka}"}},
            "entities": {"o": {"topic": "t", "key": ["id"], "contract": {"id": "int64"}, "sinks": ["w"]}},
            "sinks": {
                "w": {"type": "postgres", "host": "127.0.0.1", "port": postgres, "database": "d", "user": "u"}
            },
        }
    )


def test_all_that_is_down_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Broker and database are named with their addresses and what to check, after a few tries."""
    monkeypatch.setattr(preflight, "_FIRST_PAUSE_S", 0.001)
    kafka, postgres = _closed_port(), _closed_port()
    with pytest.raises(UnavailableError) as caught:
        preflight.check_far_sides(_config(kafka, postgres))
    told = str(caught.value).splitlines()
    assert len(told) == 2
    assert f"Kafka at 127.0.0.1:{kafka} does not answer" in told[0]
    assert f"Postgres at 127.0.0.1:{postgres} does not answer" in told[1]
    assert all("check" in line for line in told)


def test_one_broker_of_several_is_enough() -> None:
    """A list of brokers answers as soon as one of them does."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        config = _config(port, port)
        brokers = f"127.0.0.1:{_closed_port()},127.0.0.1:{port}"
        kafka = config.kafka.model_copy(update={"bootstrap_servers": brokers})
        source = config.source.model_copy(update={"kafka": kafka})
        preflight.check_far_sides(config.model_copy(update={"source": source}))
