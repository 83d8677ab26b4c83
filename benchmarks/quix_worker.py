"""Move events with Quix Streams: state per key, and a batching sink. Runs in the environment of its own.

echo TASK | python -m benchmarks.quix_worker    (run by benchmarks.quix)
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import orjson
from quixstreams import Application, State
from quixstreams.sinks import BatchingSink, SinkBatch

from benchmarks.merge import Table
from benchmarks.task import Meter, Task, read_task

_COMMIT_INTERVAL_S = 2.0


class Orders(BatchingSink):
    """Write rows to the task's sink at each commit.

    Args:
        task: what to move.
        meter: prints the figures once all is written.
    """

    def __init__(self, task: Task, meter: Meter) -> None:
        super().__init__()
        self._meter = meter
        self._table = Table(task.dsn(), task.table) if task.sink == "postgres" else None
        self._file = None if self._table else Path(task.folder, "orders.jsonl").open("wb")  # noqa: SIM115

    def write(self, batch: SinkBatch) -> None:
        """Write one partition's rows."""
        rows = [item.value["after"] for item in batch]
        if self._table:
            self._table.write(rows)
        elif self._file:
            self._file.write(b"".join([orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows]))
            self._file.flush()
        self._meter.delivered(len(rows))


def main() -> None:
    """Run the task of standard input."""
    task = read_task()

    def is_fresh(event: dict[str, Any], state: State) -> bool:
        lsn = event["source"]["lsn"]
        if lsn <= state.get("lsn", -1):
            return False
        state.set("lsn", lsn)
        return True

    with tempfile.TemporaryDirectory() as folder:
        app = Application(
            broker_address=task.servers,
            consumer_group=f"quix-{os.getpid()}",
            auto_offset_reset="earliest",
            commit_interval=_COMMIT_INTERVAL_S,
            commit_every=0,
            state_dir=folder,
            loglevel="WARNING",
        )
        topic = app.topic(task.topic, value_deserializer="json", key_deserializer="bytes")
        app.dataframe(topic).filter(is_fresh, stateful=True).sink(Orders(task, Meter(task.events)))
        app.run(count=task.events)


if __name__ == "__main__":
    main()
