"""Bind the demo to the local stack, to capture and to the config of client acme."""

from __future__ import annotations

import os
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

import tillstream.configs
from tillstream.configs import ClientConfig, PostgresSink
from tillstream.configs.loader import load
from tillstream.pipelines.errors import StackError
from tillstream.runners.demo import reset
from tillstream.runners.demo.schema import SCHEMA, TABLES
from tillstream.runners.flink.launch import launch
from tillstream.runners.flink.rest import ENDED, FlinkRest
from tillstream.runners.jobs.history import History
from tillstream.runners.local.capture import Capture, register_debezium
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.local.toolchain import ensure_jars

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Site"]

_CLIENT = "acme"
_CONFIG = Path(tillstream.configs.__file__).with_name("clients") / f"{_CLIENT}.yaml"
_SINK = "warehouse"
_CHECK_EVERY_S = 0.5


class Site:
    """Be the place where a demo is played: one local stack and one client.

    Args:
        folder: of the stack; by default that of `tillstream up`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._stack = LocalStack.open(folder)
        self._folder = folder
        self._was_up = False
        self._is_entered = False
        self._job_id: str | None = None
        self._checked_s = 0.0
        self._capture = Capture(_CLIENT, _CLIENT, tuple(f"{SCHEMA}.{table.name}" for table in TABLES))

    @property
    def slot(self) -> str:
        """Return the name of the replication slot."""
        return self._capture.slot

    @property
    def topics(self) -> tuple[str, ...]:
        """Return the topics of the six tables."""
        return self._capture.topics

    @property
    def bootstrap(self) -> str:
        """Return the broker's address."""
        return self._stack.addresses.kafka

    @property
    def group(self) -> str:
        """Return the consumer group that shows how far the job has read."""
        return self._config.group_id

    @property
    def schema(self) -> str:
        """Return the warehouse's schema that the job writes to."""
        sink = self._config.sinks[_SINK]
        assert isinstance(sink, PostgresSink)
        return sink.schema_name or _CLIENT

    def source(self) -> psycopg.Connection:
        """Connect to the retailer's database, in autocommit mode."""
        return psycopg.connect(self._stack.addresses.source.dsn(), autocommit=True)

    def warehouse(self) -> psycopg.Connection:
        """Connect to the warehouse, in autocommit mode."""
        return psycopg.connect(self._stack.addresses.warehouse.dsn(), autocommit=True)

    def enter(self, progress: Callable[[str], None]) -> None:
        """Start what does not run of the stack.

        Raises:
            MissingToolError: if the machine lacks something.
            StackError: if a part does not come up.
        """
        self._was_up = any(status.pid is not None for status in self._stack.ps())
        self._is_entered = True
        self._stack.up(progress=progress)

    def forget(self) -> None:
        """Remove what an earlier demo left, so that this one starts from nothing.

        Raises:
            StackError: if a part does not comply in time.
        """
        for job_id in self._flink.running(_CLIENT):
            self._flink.cancel(job_id)
        reset.forget_connector(self._stack.addresses.connect, self._capture.connector)
        with self.source() as source:
            reset.forget_source(source, slot=self.slot, publication=self._capture.publication)
        prefixes = (f"{self._capture.topic_prefix}.", f"tillstream.{_CLIENT}.")
        reset.forget_topics(self.bootstrap, prefixes=prefixes, group=self.group)
        with self.warehouse() as warehouse:
            reset.forget_warehouse(warehouse, self.schema)

    def launch(self, progress: Callable[[str], None]) -> None:
        """Start the connector and the job.

        Raises:
            TillstreamError: if one of them does not run in time.
        """
        register_debezium(self._stack, _CLIENT, self._capture.topic_prefix, self._capture.tables)
        progress(f"connector {self._capture.connector} captures {len(TABLES)} tables")
        launched = launch(
            self._config,
            ensure_jars(progress).flink_runner,
            history=History(_CLIENT, self._stack.layout.history),
            progress=progress,
        )
        self._job_id = launched.job_id
        progress(f"job {_CLIENT} runs: {launched.url}")

    def check(self) -> None:
        """See, at most twice a second, that the job has not ended.

        Raises:
            StackError: if it has, with its root cause.
        """
        now_s = time.monotonic()
        if self._job_id is None or now_s - self._checked_s < _CHECK_EVERY_S:
            return
        self._checked_s = now_s
        state = self._flink.job(self._job_id)["state"]
        if state in ENDED:
            cause = self._flink.root_cause(self._job_id)[:2000]
            raise StackError(f"job {_CLIENT} is {state}: {cause or 'see the Flink dashboard'}")

    def leave(self) -> None:
        """Take down the stack, or in one that was up before, all that is the demo's."""
        if not self._is_entered:
            return
        if self._was_up:
            self.forget()
        else:
            self._stack.down()

    def next_steps(self, *, is_kept: bool) -> list[str]:
        """Return lines that tell a person how to go on."""
        folder = "" if self._folder is None else f" --dir {self._folder}"
        if not is_kept:
            end = (
                "the stack goes on, without the demo's job and data" if self._was_up else "all is down again"
            )
            return [
                f"{end}; to look around afterwards: tillstream demo --keep{folder}",
                f"config      {_shown(_CONFIG)}",
            ]
        return [
            f"dashboard   {self._stack.addresses.flink} (job {_CLIENT} goes on running)",
            f"the stack   tillstream ps{folder}; logs in {_shown(self._stack.layout.logs)}",
            f"the config  {_shown(_CONFIG)}; tillstream validate {_shown(_CONFIG)}",
            f"stop it     tillstream down{folder}",
        ]

    @property
    def _flink(self) -> FlinkRest:
        return FlinkRest(self._stack.addresses.flink)

    @cached_property
    def _config(self) -> ClientConfig:
        # The stack's own addresses win over those of the caller's shell.
        return load(_CONFIG, {**os.environ, **self._stack.environment()})


def _shown(path: Path) -> Path:
    """Return a path as short as it can be written from here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
