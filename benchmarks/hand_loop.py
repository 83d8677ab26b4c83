"""Move events by a hand-written loop: the ceiling, which keeps no state and restores nothing.

echo TASK | python -m benchmarks.hand_loop    (run by benchmarks.run)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Consumer, Message

from benchmarks.merge import Table
from benchmarks.task import Meter, Task, read_task

_BATCH = 10_000
Rows = list[dict[str, Any]]


def batches(task: Task) -> Iterator[list[Message]]:
    """Yield the topic's messages."""
    consumer = Consumer(
        {
            "bootstrap.servers": task.servers,
            "group.id": f"hand-loop-{os.getpid()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": 5,
            "queued.min.messages": 200_000,
        }
    )
    consumer.subscribe([task.topic])
    left = task.events
    while left:
        messages = consumer.consume(_BATCH, timeout=1.0)
        for message in messages:
            if message.error():
                raise RuntimeError(str(message.error()))
        left -= len(messages)
        if messages:
            yield messages
            consumer.commit(asynchronous=True)
    consumer.close()


def fresh(messages: list[Message], seen: dict[bytes, int]) -> Rows:
    """Return the rows of the events that are newer than what their keys have shown."""
    rows: Rows = []
    for message in messages:
        event = orjson.loads(message.value())
        key, lsn = message.key(), event["source"]["lsn"]
        if lsn > seen.get(key, -1):
            seen[key] = lsn
            rows.append(event["after"])
    return rows


def writer(task: Task) -> Callable[[Rows], None]:
    """Return what writes rows to the task's sink."""
    if task.sink == "postgres":
        return Table(task.dsn(), task.table).write
    file = Path(task.folder, "orders.jsonl").open("wb")  # noqa: SIM115  (open as long as the process)

    def write(rows: Rows) -> None:
        file.write(b"".join([orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows]))
        file.flush()

    return write


def main() -> None:
    """Run the task of standard input."""
    task, seen = read_task(), {}
    meter = Meter(task.events)
    write = writer(task)
    for messages in batches(task):
        write(fresh(messages, seen))
        meter.delivered(len(messages))


if __name__ == "__main__":
    main()
