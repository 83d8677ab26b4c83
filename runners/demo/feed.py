"""Fill a retailer's database, capture it, and commit changes, for a client's own job to read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tillstream.pipelines.errors import UserError
from tillstream.runners.demo import reset, schema
from tillstream.runners.demo.pacing import Pace
from tillstream.runners.demo.simulator import Simulator
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.local.capture import Capture, register_debezium
from tillstream.runners.local.stack import LocalStack

__all__ = ["Feed", "feed"]


@dataclass(frozen=True)
class Feed:
    """Say what to feed.

    Attributes:
        client: whose topics are filled, `<client>.public.<table>`.
        duration_s: how long changes are committed, seconds.
        rate_per_s: events a second, outside the burst of five times as many.
        seed: of the traffic.
        folder: of the local stack; None for that of `tillstream up`.
    """

    client: str = "acme"
    duration_s: float = 30.0
    rate_per_s: float = 50.0
    seed: int = 1
    folder: Path | None = None


def feed(wanted: Feed, progress: Callable[[str], None]) -> tuple[str, ...]:
    """Feed a client's topics from a database that is made anew; returns the topics.

    What an earlier feed or demo of the client left goes first: connector, tables, topics, its schema in the
    warehouse.

    Raises:
        StackError: if the stack is not up, or a part of it does not comply.
        UserError: if a job of the client runs: its topics would vanish below it.
    """
    stack = LocalStack.open(wanted.folder)
    addresses = stack.addresses
    running = FlinkRest(addresses.flink).running(wanted.client)
    if running:
        raise UserError(
            f"client {wanted.client} runs as job {running[0]}, expected none, because its topics are made "
            f"anew: end it with 'tillstream pause {wanted.client}'"
        )
    tables = tuple(f"{schema.SCHEMA}.{table.name}" for table in schema.TABLES)
    capture = Capture(wanted.client, wanted.client, tables)
    _forget(stack, capture)
    with psycopg.connect(addresses.source.dsn(), autocommit=True) as shop:
        schema.create(shop)
        simulator = Simulator(shop, wanted.seed)
        progress(f"source database: {simulator.fill():,} rows in {len(tables)} tables")
        schema.restart_identities(shop)
        register_debezium(stack, wanted.client, wanted.client, tables)
        progress(f"connector {capture.connector} captures them into {', '.join(capture.topics)}")
        try:
            committed = simulator.run(Pace(rate_per_s=wanted.rate_per_s, duration_s=wanted.duration_s))
        finally:
            # So that whoever inserts by hand finds a free key.
            schema.restart_identities(shop)
        progress(f"{committed.total():,} changes committed in {wanted.duration_s:.0f} s")
    return capture.topics


def _forget(stack: LocalStack, capture: Capture) -> None:
    addresses = stack.addresses
    reset.forget_connector(addresses.connect, capture.connector)
    with psycopg.connect(addresses.source.dsn(), autocommit=True) as source:
        reset.forget_source(source, slot=capture.slot, publication=capture.publication)
    group = f"tillstream-{capture.client}"
    prefixes = (f"{capture.topic_prefix}.", f"tillstream.{capture.client}.")
    reset.forget_topics(addresses.kafka, prefixes=prefixes, group=group)
    with psycopg.connect(addresses.warehouse.dsn(), autocommit=True) as warehouse:
        reset.forget_warehouse(warehouse, capture.client)
