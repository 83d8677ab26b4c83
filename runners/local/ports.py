"""Choose the ports of a local stack."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping

from tillstream.pipelines.errors import StackError, UserError

__all__ = ["LOOPBACK", "PREFERRED_PORTS", "choose_ports", "is_free", "parse_ports", "unusual_ports"]

LOOPBACK = "127.0.0.1"
# The ports that people expect, but for Postgres, whose usual one is often taken by the machine's own.
PREFERRED_PORTS = {
    "source": 15432,
    "warehouse": 15433,
    "kafka": 9092,
    "controller": 9093,
    "connect": 8083,
    "flink": 8081,
    "jobmanager": 6123,
    "zookeeper": 2181,
}
# Below the range from which the kernel takes ports of outgoing connections, so that a port is still free
# at the next start.
_FALLBACK = range(20_000, 30_000)
_PORT_MAX = 65_535
_TRIES = 200


def is_free(port: int) -> bool:
    """Tell whether a listener could be bound to a port on loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections are no hindrance
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def parse_ports(texts: list[str]) -> dict[str, int]:
    """Parse settings of the form `kafka=19092`.

    Raises:
        UserError: for another form, an unknown name or an impossible port.
    """
    ports = {}
    for text in texts:
        name, _, port = text.partition("=")
        if name not in PREFERRED_PORTS or not port.isdecimal() or not 0 < int(port) <= _PORT_MAX:
            names = ", ".join(sorted(PREFERRED_PORTS))
            raise UserError(
                f"--port: found {text!r}, expected NAME=PORT such as kafka=19092, with a NAME of {names}"
            )
        ports[name] = int(port)
    return ports


def choose_ports(configured: Mapping[str, int], kept: Mapping[str, int]) -> dict[str, int]:
    """Return a port for each name: the configured one, else the kept one, else a free one.

    Args:
        configured: ports that a person asked for.
        kept: ports of an earlier start, whether or not a part of the stack listens there now.

    Raises:
        StackError: if no port is free.
    """
    chosen: dict[str, int] = {**kept, **configured}
    for name, preferred in PREFERRED_PORTS.items():
        if name not in chosen:
            chosen[name] = _find_free(name, [preferred], set(chosen.values()))
    return chosen


def unusual_ports() -> dict[str, int]:
    """Return a free port for each name, none of those that another stack would ask for first.

    Raises:
        StackError: if no port is free.
    """
    chosen: dict[str, int] = {}
    for name in PREFERRED_PORTS:
        chosen[name] = _find_free(name, [], {*chosen.values(), *PREFERRED_PORTS.values()})
    return chosen


def _find_free(name: str, first: list[int], taken: set[int]) -> int:
    candidates = [*first, *random.sample(_FALLBACK, _TRIES)]
    port = next((port for port in candidates if port not in taken and is_free(port)), None)
    if port is None:
        raise StackError(f"found no free port for {name}: give one with --port {name}=PORT")
    return port
