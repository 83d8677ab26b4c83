"""Atomicity asks for what it needs."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tillstream.configs import ClientConfig
from tillstream.configs.delivery import transaction_topic


def config(topic: str = "acme.public.orders", source: Any = None, **delivery: Any) -> ClientConfig:
    """Return a client whose transactions should arrive whole."""
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": source or {"kafka": {"bootstrap_servers": "b:9092"}},
            "entities": {"orders": {"topic": topic, "key": ["id"], "sinks": ["out"]}},
            "sinks": {"out": {"type": "files", "path": "/out"}},
            "delivery": {"atomicity": "transaction", **delivery},
        }
    )


def test_row_by_row_is_the_default() -> None:
    """Nobody waits who has not asked for it."""
    assert config(atomicity="row").delivery.atomicity == "row"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"guarantee": "at-least-once"},
            "delivery.atomicity: found 'transaction' with delivery.guarantee at-",
        ),
        ({"source": {"files": {"paths": ["x.jsonl"]}}}, "files do not tell where transactions end"),
        (
            {"topic": "orders"},
            "entities.orders.topic: found 'orders', of which the topic of its transactions",
        ),
    ],
)
def test_what_does_not_go_with_it_is_refused(arguments: dict[str, Any], said: str) -> None:
    """The sentence says what was found and what is expected."""
    with pytest.raises(ValidationError, match=said):
        config(**arguments)


@pytest.mark.parametrize(
    ("topic", "named", "found"),
    [
        ("acme.public.orders", None, "acme.transaction"),
        ("acme.eu.public.orders", None, "acme.eu.transaction"),
        ("acme.message", None, "acme.transaction"),
        ("acme.db.dbo.orders", ["acme.transaction", "acme.db.transaction"], "acme.db.transaction"),
        ("orders", ["acme.tx"], "acme.tx"),
    ],
)
def test_the_topic_of_transactions_is_found(topic: str, named: list[str] | None, found: str) -> None:
    """By Debezium's default, or the one that is named and fits best."""
    assert transaction_topic(topic, named) == found


def test_a_named_topic_needs_no_prefix() -> None:
    """Then the table's topic may have any name."""
    assert config(topic="orders", transaction_topics=["t"]).transaction_topics == {"orders": "t"}
