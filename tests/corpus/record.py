"""Record the corpus: run the nasty schema through the real connector, and keep what it writes.

Run as `python -m tests.corpus.record`, with a stack of its own. Half of the rows of the table of types are
there before the capture begins, so that each is read by a snapshot (r), and written once more (c), since the
connector reads values of a snapshot and of the log in different ways.
"""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import Consumer, TopicPartition

from tests.corpus.schema import COLUMNS, CREATE, OPERATIONS, rows
from tillstream.runners.capture.manage import create
from tillstream.runners.capture.spec import Capture
from tillstream.runners.local.capture import place_in
from tillstream.runners.local.ports import unusual_ports
from tillstream.runners.local.stack import LocalStack

FOLDER = Path(__file__).parent
_TABLES = ("types", "things", "logs")
_DEADLINE_S = 60.0

# Name of the recording: whether messages carry schemas, and what the connector is told beside that.
RECORDINGS: dict[str, tuple[bool, Mapping[str, str]]] = {
    "plain": (False, {}),
    "schemas": (True, {}),
    # The connector's own defaults, which only a schema explains.
    "defaults": (
        True,
        {
            "decimal.handling.mode": "precise",
            "time.precision.mode": "adaptive",
            "binary.handling.mode": "bytes",
            "interval.handling.mode": "numeric",
        },
    ),
}


def main() -> None:
    """Write one file a recording."""
    folder = Path(tempfile.mkdtemp(prefix="tillstream-corpus-"))
    stack = LocalStack.open(folder)
    try:
        stack.up(["source", "kafka", "connect"], ports=unusual_ports())
        for name, (schemas, settings) in RECORDINGS.items():
            found = list(_record(stack, name, schemas=schemas, settings=settings))
            path = FOLDER / f"{name}.jsonl.gz"
            lines = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in found)
            # Without a time, so that the same events are the same file.
            path.write_bytes(gzip.compress(lines.encode(), mtime=0))
            print(f"{path.name}: {len(found)} messages, {path.stat().st_size} bytes")  # noqa: T201
    finally:
        stack.down(wipe=True)
        shutil.rmtree(folder)


def _record(
    stack: LocalStack, name: str, *, schemas: bool, settings: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    with psycopg.connect(stack.addresses.source.dsn(), autocommit=True) as connection:
        connection.execute(f"create schema {name}".encode())
        for statement in CREATE:
            connection.execute(statement.replace("{schema}", name).encode())
        for number in range(len(rows())):
            connection.execute(_insert(name, number, number + 1).encode())
        tables = tuple(f"{name}.{table}" for table in _TABLES)
        capture = Capture(
            name, name, tables, schemas=schemas, transactions=True, heartbeat_interval_s=1, settings=settings
        )
        create(capture, place_in(stack, name), lambda _: None)
        reader = _Reader(stack.addresses.kafka, name)
        # The snapshot ends before the log begins.
        found = list(reader.until(lambda seen: _of_types(seen) >= len(rows())))
        for number in range(len(rows())):
            connection.execute(_insert(name, number, 100 + number).encode())
        for statements in OPERATIONS:
            with connection.transaction():
                for statement in statements:
                    connection.execute(statement.replace("{schema}", name).encode())
        found += reader.until(lambda seen: any('"last"' in (each["value"] or "") for each in seen))
        yield from sorted(found, key=lambda each: (each["topic"], each["offset"]))


def _of_types(messages: Sequence[Mapping[str, Any]]) -> int:
    return sum(each["topic"].endswith(".types") for each in messages)


def _insert(schema: str, number: int, key: int) -> str:
    values = [value[0] for value in rows()[number]]
    casts = [
        f"{literal}::{schema + '.' if typed.sql in ('mood', 'cents') else ''}{typed.sql}"
        for literal, typed in zip(values, COLUMNS.values(), strict=True)
    ]
    return f"insert into {schema}.types values ({key}, {', '.join(casts)}, row(1, 'x'))"


class _Reader:
    """Read all of a capture's topics from the start on."""

    def __init__(self, servers: str, prefix: str) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": servers, "group.id": "corpus", "enable.auto.commit": False}
        )
        self._prefix = prefix
        self._read: dict[str, int] = {}

    def until(self, is_enough: Callable[[list[dict[str, Any]]], bool]) -> Iterator[dict[str, Any]]:
        """Yield messages until there are enough of them, and a while longer for what follows."""
        end_s = time.monotonic() + _DEADLINE_S
        found: list[dict[str, Any]] = []
        while not is_enough(found):
            if time.monotonic() > end_s:
                raise TimeoutError(f"{self._prefix}: found {len(found)} messages")
            found += self._poll()
        threading.Event().wait(2.5)
        yield from [*found, *self._poll()]

    def _poll(self) -> list[dict[str, Any]]:
        topics = self._consumer.list_topics(timeout=10).topics
        own = (f"{self._prefix}.", f"__debezium-heartbeat.{self._prefix}")
        names = sorted(name for name in topics if name.startswith(own))
        self._consumer.assign([TopicPartition(name, 0, self._read.get(name, 0)) for name in names])
        found = []
        while (message := self._consumer.poll(0.3)) is not None:
            if message.error():
                continue
            self._read[message.topic()] = message.offset() + 1
            key, value = message.key(), message.value()
            found.append(
                {
                    "topic": message.topic(),
                    "offset": message.offset(),
                    "key": None if key is None else key.decode(),
                    "value": None if value is None else value.decode(),
                }
            )
        return found


if __name__ == "__main__":
    main()
