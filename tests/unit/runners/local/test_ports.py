"""Ports are the configured ones, else the kept ones, else free ones."""

from __future__ import annotations

import socket

import pytest

from tillstream.pipelines.errors import UserError
from tillstream.runners.local import ports
from tillstream.runners.local.ports import (
    LOOPBACK,
    PREFERRED_PORTS,
    choose_ports,
    is_free,
    parse_ports,
    unusual_ports,
)


@pytest.fixture
def listener() -> socket.socket:
    """Return a socket that listens on loopback."""
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server


def test_listening_port_is_taken(listener: socket.socket) -> None:
    """A port is free exactly while nobody listens."""
    port = listener.getsockname()[1]
    assert not is_free(port)
    listener.close()
    assert is_free(port)


def test_each_name_gets_a_port_of_its_own() -> None:
    """All parts get different ports."""
    chosen = choose_ports({}, {})
    assert chosen.keys() == PREFERRED_PORTS.keys()
    assert len(set(chosen.values())) == len(chosen)


def test_taken_preferred_port_is_avoided(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program on the preferred port does not prevent a start."""
    taken = listener.getsockname()[1]
    monkeypatch.setitem(PREFERRED_PORTS, "kafka", taken)
    assert choose_ports({}, {})["kafka"] in ports._FALLBACK


def test_kept_ports_stay_and_configured_ones_win() -> None:
    """A restart uses the same ports, but for those that a person asks for."""
    first = choose_ports({}, {})
    again = choose_ports({"kafka": 19_092}, first)
    assert again == {**first, "kafka": 19_092}


def test_settings_are_parsed() -> None:
    """Each setting is a name and a port."""
    assert parse_ports(["kafka=19092", "flink=18081"]) == {"kafka": 19092, "flink": 18081}


@pytest.mark.parametrize("text", ["kafka", "kafka=", "broker=9092", "kafka=0", "kafka=70000", "kafka=9o92"])
def test_wrong_settings_are_refused(text: str) -> None:
    """A wrong setting is repeated, with the form that was expected."""
    with pytest.raises(UserError, match=rf"--port: found '{text}', expected NAME=PORT"):
        parse_ports([text])


def test_unusual_ports_are_in_nobody_s_way() -> None:
    """Each is free, and none is one that a stack asks for first."""
    found = unusual_ports()
    assert found.keys() == PREFERRED_PORTS.keys()
    assert len(set(found.values())) == len(found)
    assert set(found.values()).isdisjoint(PREFERRED_PORTS.values())
