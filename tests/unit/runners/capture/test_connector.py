"""The connector's configuration comes from the client's, and never holds a secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import UserError
from tillstream.runners.capture.connector import connector_config
from tillstream.runners.capture.spec import Capture, Login, Place, capture_of, place_of


def config(tmp_path: Path, **capture: Any) -> ClientConfig:
    """Return a client of two tables."""
    (tmp_path / "admin").write_text("hunter2\n")
    entity = {"key": ["id"], "sinks": ["out"]}
    section = {
        "host": "db",
        "database": "shop",
        "admin_user": "dba",
        "admin_password": f"file:{tmp_path / 'admin'}",
        "role_password_file": str(tmp_path / "role_password"),
        **capture,
    }
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "k:1"}},
            "entities": {
                "orders": {"topic": "shop.retail.orders", **entity},
                "lines": {"topic": "shop.retail.order_items", **entity},
            },
            "sinks": {"out": {"type": "files", "path": "/out"}},
            "capture": section,
        }
    )


def test_the_connector_follows_the_config(tmp_path: Path) -> None:
    """Names and tables come from the client and its topics; the password stays a reference."""
    client = config(tmp_path, partitions=3, connector={"snapshot.fetch.size": "10", "poll.interval.ms": "9"})
    capture = capture_of(client)
    found = connector_config(capture, place_of(client))
    expected = {
        "database.hostname": "db",
        "database.user": "tillstream_acme",
        "database.password": f"${{directory:{tmp_path}:role_password}}",
        "slot.name": "tillstream_acme",
        "publication.name": "tillstream_acme",
        "topic.prefix": "shop",
        "table.include.list": r"retail\.order_items,retail\.orders",
        "topic.creation.default.partitions": "3",
        "signal.kafka.topic": "tillstream.acme.signals",
        "heartbeat.interval.ms": "10000",
        "snapshot.fetch.size": "10",
        "poll.interval.ms": "9",
    }
    assert expected.items() <= found.items()
    assert capture.topics == ("shop.retail.orders", "shop.retail.order_items")
    assert "hunter2" not in str(found)


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    """What is printed of a place holds no password."""
    assert "hunter2" not in repr(place_of(config(tmp_path)))


def test_connect_may_see_the_file_elsewhere(tmp_path: Path) -> None:
    """The worker's folder and provider are its own."""
    client = config(tmp_path, connect_secrets_dir="/mnt/s", connect_secrets_provider="vault")
    assert place_of(client).password_reference == "${vault:/mnt/s:role_password}"


@pytest.mark.parametrize("tables", [(), ("orders",), ('retail."Orders"',), ("retail.orders; drop",)])
def test_capture_refuses_names_that_need_quotes(tables: tuple[str, ...]) -> None:
    """Names go into a regular expression and into topic names, so they are plain."""
    with pytest.raises(UserError, match=r"expected one or more of the form schema\.table"):
        Capture("acme", "acme", tables)


def test_a_client_without_the_section_is_told_so(tmp_path: Path) -> None:
    """What is missing is named."""
    client = config(tmp_path).model_copy(update={"capture": None})
    with pytest.raises(UserError, match="found no 'capture' in its config"):
        capture_of(client)


def test_a_login_for_another_role_is_of_the_same_server() -> None:
    """Only user and password change."""
    found = Login("h", 1, "d", "dba", "x", "require").as_role("r", "y").arguments()
    assert (found["host"], found["user"], found["password"], found["sslmode"]) == ("h", "r", "y", "require")
    assert Place.__dataclass_fields__["kafka"].repr is False
