"""Describe how surely, how soon and in what units rows arrive."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from tillstream.configs import forms
from tillstream.configs.base import ConfigModel, Number

__all__ = ["Delivery", "transaction_topic"]

_Topic = Annotated[str, StringConstraints(pattern=forms.TOPIC)]


class Delivery(ConfigModel):
    """Say how surely and how soon rows arrive."""

    guarantee: Literal["exactly-once", "at-least-once"] = Field(
        default="exactly-once",
        description=(
            "exactly-once: rows wait for the checkpoint that holds them, and are applied once whatever is "
            "replayed. at-least-once: no such wait; after a failure rows may be written again. Bounded runs "
            "are repeated whole, by key or by content, under either."
        ),
    )
    checkpoint_interval_ms: Number = Field(
        default=1000, ge=100, le=3_600_000, description="Time between checkpoints, milliseconds."
    )
    atomicity: Literal["row", "transaction"] = Field(
        default="row",
        description=(
            "row: rows become visible as they arrive. transaction: all rows of a transaction of the source "
            "become visible at once, in the order of commits; needs Debezium's transaction metadata "
            "(provide.transaction.metadata) and guarantee exactly-once."
        ),
    )
    transaction_topics: list[_Topic] | None = Field(
        default=None,
        description=(
            "Topics in which Debezium tells of transactions. Default: <prefix>.transaction of each topic "
            "<prefix>.<schema>.<table>."
        ),
    )
    transaction_events_max: Number = Field(
        default=100_000,
        ge=1,
        le=10_000_000,
        description=(
            "Most rows and transactions that are held back in all; beyond it the largest, or the oldest, is "
            "delivered as far as it has come. Counted in the metric transactions_incomplete."
        ),
    )
    transaction_wait_s_max: Number = Field(
        default=60,
        ge=1,
        le=86_400,
        description=(
            "How long a transaction is waited for, seconds of the job's time; then it is delivered as far as "
            "it has come. Counted in the metric transactions_incomplete."
        ),
    )


def transaction_topic(topic: str, named: list[str] | None) -> str:
    """Return the topic that tells of the transactions of a table's topic.

    Args:
        topic: of the table.
        named: `transaction_topics`; the one with the longest prefix of the table's topic is its own.
    """
    if named is None:
        # That of logical messages has no schema: <prefix>.message.
        parts = 1 if topic.endswith(".message") and topic.count(".") == 1 else 2
        return topic.rsplit(".", parts)[0] + ".transaction"
    own = [name for name in named if topic.startswith(name.rpartition(".")[0] + ".")]
    return max(own or named, key=len)
