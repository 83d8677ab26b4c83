"""A stack is as large as the number of jobs that are to run in it."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from tillstream.pipelines.errors import UserError
from tillstream.runners.local.flink import TaskManager, flink_settings
from tillstream.runners.local.layout import Layout
from tillstream.runners.local.ports import PREFERRED_PORTS
from tillstream.runners.local.postgres import Warehouse
from tillstream.runners.local.process import ProcessId
from tillstream.runners.local.service import Context
from tillstream.runners.local.sizes import SLOTS, Sizes
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.local.state import State
from tillstream.runners.local.toolchain import Jars
from tillstream.runners.local.zookeeper import ZooKeeper


def context(folder: Path, slots: int) -> Context:
    """Return the context of a stack for some jobs."""
    layout = Layout(folder)
    layout.create()
    return Context(layout, PREFERRED_PORTS, Path("java"), Jars(folder), Sizes(slots))


def test_limits_grow_with_the_slots(tmp_path: Path) -> None:
    """Heap, direct memory, classes and connections of a hundred jobs are more than those of eight."""
    few, many = Sizes(SLOTS), Sizes(100)
    names = [
        "task_heap_mb",
        "task_off_heap_mb",
        "network_mb",
        "metaspace_mb",
        "jobmanager_heap_mb",
        "connections",
    ]
    assert all(getattr(few, name) < getattr(many, name) for name in names)
    assert Sizes(1).task_heap_mb == few.task_heap_mb
    large = context(tmp_path, 100)
    settings = flink_settings(large)
    assert settings["taskmanager.numberOfTaskSlots"] == 100
    session = "high-availability.zookeeper.client.session-timeout"
    assert (settings[session], few.session_ms) == (30_000, 6_000)
    assert (settings["heartbeat.interval"], few.heartbeat_ms) == (5_000, 1_000)
    assert ZooKeeper(large).properties()["maxSessionTimeout"] == 30_000
    manager = TaskManager(large)
    manager.prepare()
    words = [str(word) for word in manager.command().arguments]
    assert f"-XX:MaxMetaspaceSize={many.metaspace_mb}m" in words
    assert f"taskmanager.memory.network.max={many.network_mb}m" in words
    assert "-XX:+UseSerialGC" in words


def test_a_few_jobs_have_what_busy_ones_gain_by(tmp_path: Path) -> None:
    """Java's own choice of collector and compilers is that of a server."""
    manager = TaskManager(context(tmp_path, SLOTS))
    manager.prepare()
    assert not [word for word in map(str, manager.command().arguments) if "SerialGC" in word]


def test_the_warehouse_takes_the_connections_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each job has some."""
    monkeypatch.setattr("tillstream.runners.local.postgres._binary", Path)
    words = [str(word) for word in Warehouse(context(tmp_path, 100)).command().arguments]
    assert f"max_connections={Sizes(100).connections}" in words


def test_slots_are_remembered_and_not_changed_under_a_running_stack(tmp_path: Path) -> None:
    """State that was saved before there were slots has as many as a stack has by itself."""
    stack = LocalStack.open(tmp_path / "stack")
    stack.layout.create()
    me = ProcessId(os.getpid(), psutil.Process().create_time())
    State({}, {"kafka": me}, {}).save(stack.layout)
    with pytest.raises(UserError, match=f"runs with {SLOTS} slots, expected 9: run 'tillstream down' first"):
        stack.up(["kafka"], slots=9)
    stack.layout.state_file.write_text('{"ports": {}, "processes": {}, "environment": {}}')
    assert State.load(stack.layout).slots == SLOTS
    State(slots=9).save(stack.layout)
    assert State.load(stack.layout).slots == 9
