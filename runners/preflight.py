"""Ask the far sides whether they answer, before a job is launched that would only wait for them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from tillstream.configs import ClientConfig, KafkaSource, PostgresSink
from tillstream.pipelines.errors import UnavailableError

__all__ = ["check_far_sides"]

_Model = TypeVar("_Model")

_ATTEMPTS = 4
_FIRST_PAUSE_S = 0.2
_TIMEOUT_S = 5.0


def check_far_sides(config: ClientConfig) -> None:
    """Connect to the brokers and databases that a client's job will need; no secret is used.

    Raises:
        ConfigError: if a path of a files source matches no file.
        UnavailableError: after a few tries, one line for each address that does not answer.
    """
    problems = []
    if config.source.files is not None:
        config.source.files.expand()
    if config.source.kafka is not None:
        problems += _check(_reach_broker, config.source.kafka)
    for sink in config.sinks.values():
        if isinstance(sink, PostgresSink):
            problems += _check(_reach_database, sink)
    if problems:
        raise UnavailableError("\n".join(problems))


def _check(reach: Callable[[_Model], None], model: _Model) -> list[str]:
    retrying = Retrying(
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_exponential(_FIRST_PAUSE_S, max=2),
        retry=retry_if_exception_type(UnavailableError),
        reraise=True,
    )
    try:
        retrying(reach, model)
    except UnavailableError as error:
        return [str(error)]
    return []


def _reach_broker(source: KafkaSource) -> None:
    failures = []
    for address in source.bootstrap_servers.split(","):
        host, _, port = address.strip().rpartition(":")
        failure = _connect(host, int(port))
        if failure is None:
            return
        failures.append(failure)
    raise UnavailableError(
        f"Kafka at {source.bootstrap_servers} does not answer ({'; '.join(failures)}): check "
        "source.kafka.bootstrap_servers and that the broker runs ('tillstream ps' for the local stack)"
    )


def _reach_database(sink: PostgresSink) -> None:
    failure = _connect(sink.host, sink.port)
    if failure is not None:
        raise UnavailableError(
            f"Postgres at {sink.host}:{sink.port} does not answer ({failure}): check the sink's host and "
            "port and that the database runs ('tillstream ps' for the local stack)"
        )


def _connect(host: str, port: int) -> str | None:
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT_S):
            return None
    except OSError as error:
        return error.strerror or type(error).__name__
