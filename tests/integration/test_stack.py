"""The local stack starts, survives, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from tillstream.pipelines.errors import StackError
from tillstream.runners.local.capture import register_debezium
from tillstream.runners.local.process import marked
from tillstream.runners.local.stack import SERVICES, LocalStack

from .listening import beyond_loopback, listening

pytestmark = pytest.mark.integration

_MARKER = "TILLSTREAM_STACK"
_MEMORY_MB_MAX = 4096


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Return a stack of this file's own, which is up."""
    made = LocalStack.open(tmp_path_factory.mktemp("stack"))
    try:
        made.up()
        yield made
    finally:
        made.down(wipe=True)


def _pids(stack: LocalStack) -> dict[str, int | None]:
    return {status.service: status.pid for status in stack.ps()}


def _await(condition: Callable[[], bool], what: str, deadline_s: float = 30.0) -> None:
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, f"{what} did not happen in {deadline_s:.0f} s"


def _tillstream(stack: LocalStack, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("tillstream")), *arguments, "--dir", str(stack.layout.root)]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False
    )


def test_up_twice_starts_nothing_twice(stack: LocalStack) -> None:
    """A stack that runs is left as it is."""
    before = _pids(stack)
    said: list[str] = []
    stack.up(progress=said.append)
    assert _pids(stack) == before
    assert sorted(line.split(" runs already")[0] for line in said) == sorted(SERVICES)


def test_all_parts_serve_within_the_memory_promised(stack: LocalStack) -> None:
    """Every part is healthy, and all of them take less than 4 GiB."""
    statuses = stack.ps()
    assert [status.service for status in statuses if not status.is_healthy] == []
    assert 0 < sum(status.rss_mb for status in statuses) < _MEMORY_MB_MAX


def test_nothing_listens_beyond_loopback(stack: LocalStack) -> None:
    """No part can be reached from another machine."""
    assert sum(len(addresses) for addresses in listening(stack).values()) >= len(SERVICES)
    assert beyond_loopback(stack) == []


def test_ps_prints_json(stack: LocalStack) -> None:
    """The command prints one object for each part and ends with 0."""
    done = _tillstream(stack, "ps", "--json")
    assert done.returncode == 0, done.stderr
    assert [(part["service"], part["health"]) for part in json.loads(done.stdout)] == [
        (service, "ok") for service in SERVICES
    ]


def test_passwords_are_nowhere_but_in_their_files(stack: LocalStack) -> None:
    """No log, no state and no command line holds a password."""
    passwords = [file.read_text() for file in stack.layout.secrets.iterdir()]
    texts = [file.read_text(errors="replace") for file in stack.layout.logs.iterdir()]
    texts.append(stack.layout.state_file.read_text())
    texts += [" ".join(process.cmdline()) for process in marked(_MARKER, str(stack.layout.root))]
    assert len(passwords) >= 2
    assert not [password for password in passwords for text in texts if password in text]


def test_captured_changes_reach_their_topic(stack: LocalStack) -> None:
    """A committed change is in the table's topic, decimals as text, with all partitions there beforehand."""
    with psycopg.connect(stack.addresses.source.dsn(), autocommit=True) as shop:
        shop.execute("create table prices (sku text primary key, price numeric(10, 2) not null)")
        capture = register_debezium(stack, "initech", "initech", ["public.prices"], partitions=2)
        shop.execute("insert into prices values ('apple', 1.50)")
    consumer = Consumer(
        {"bootstrap.servers": stack.addresses.kafka, "group.id": "test", "auto.offset.reset": "earliest"}
    )
    try:
        (topic,) = capture.topics
        assert len(consumer.list_topics(topic, timeout=10).topics[topic].partitions) == 2
        consumer.subscribe([topic])
        message = consumer.poll(30)
        assert message is not None
        assert json.loads(message.value())["after"] == {"sku": "apple", "price": "1.50"}
    finally:
        consumer.close()


def test_captured_changes_survive_a_killed_broker(stack: LocalStack) -> None:
    """What is committed while the broker is dead is in its topic soon after it is back."""
    with psycopg.connect(stack.addresses.source.dsn(), autocommit=True) as shop:
        shop.execute("create table parcels (id int primary key)")
        (topic,) = register_debezium(stack, "globex", "globex", ["public.parcels"]).topics
        stack.kill("kafka")
        shop.execute("insert into parcels select generate_series(1, 100)")
    stack.up(["kafka"])
    settings = {"bootstrap.servers": stack.addresses.kafka, "group.id": "survivors"}
    consumer = Consumer(settings)
    try:
        consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        seen: set[int] = set()
        end_s = time.monotonic() + 60
        while len(seen) < 100 and time.monotonic() < end_s:
            message = consumer.poll(1)
            if message is not None and message.error() is None:
                seen.add(json.loads(message.value())["after"]["id"])
    finally:
        consumer.close()
    assert seen == set(range(1, 101))


@pytest.mark.parametrize("service", ["source", "taskmanager"])
def test_up_starts_only_the_part_that_died(stack: LocalStack, service: str) -> None:
    """After a part was killed, `up` starts that one and leaves the others alone."""
    before = _pids(stack)
    stack.kill(service)
    assert next(status for status in stack.ps() if status.service == service).health == "stopped"
    stack.up()
    after = _pids(stack)
    assert {name for name in SERVICES if before[name] != after[name]} == {service}
    assert all(status.is_healthy for status in stack.ps())


def test_down_stops_everything_and_data_survives(stack: LocalStack) -> None:
    """No process of the stack is left, its ports stay the same, and its rows are there again."""
    with psycopg.connect(stack.addresses.warehouse.dsn(), autocommit=True) as warehouse:
        warehouse.execute("create table kept as select 42 as answer")
    before = stack.addresses
    stack.down()
    assert marked(_MARKER, str(stack.layout.root)) == []
    assert {status.health for status in stack.ps()} == {"stopped"}
    stack.up(["warehouse"])
    assert stack.addresses == before
    with psycopg.connect(stack.addresses.warehouse.dsn()) as warehouse:
        assert warehouse.execute("select answer from kept").fetchall() == [(42,)]


def test_command_that_was_killed_leaves_nothing_behind(stack: LocalStack) -> None:
    """`down` finds also what a killed `up` had started and not yet written down."""
    stack.down()
    command = [str(Path(sys.executable).with_name("tillstream")), "up", "--dir", str(stack.layout.root)]
    up = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(lambda: len(marked(_MARKER, str(stack.layout.root))) >= 3, "the start of three parts")
    finally:
        up.send_signal(signal.SIGKILL)
        up.wait()
    state = json.loads(stack.layout.state_file.read_text())
    forgotten, _ = state["processes"].popitem()
    stack.layout.state_file.write_text(json.dumps(state))
    stack.down()
    assert forgotten in SERVICES
    assert marked(_MARKER, str(stack.layout.root)) == []


def test_missing_java_is_one_line_and_exit_code_2(stack: LocalStack) -> None:
    """Without Java a person reads one sentence with the command to type."""
    stack.down()
    done = _tillstream(stack, "up", PATH="", JAVA_HOME="")
    assert done.returncode == 2
    assert done.stderr.startswith("error: found no Java, expected Java 17 or newer: install")
    assert done.stderr.count("\n") == 1


def test_taken_port_that_was_asked_for_is_named(stack: LocalStack) -> None:
    """A port that a person wants and another program has is named together with the way out."""
    stack.down()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = _tillstream(stack, "up", "kafka", "--port", f"kafka={port}")
    assert done.returncode == 1
    assert f"port {port} of kafka is taken by another program" in done.stderr


def test_taken_port_is_replaced_while_nothing_runs(stack: LocalStack) -> None:
    """A stack comes up although another took its ports meanwhile, with its data, and says where."""
    stack.down()
    before = stack.addresses
    with socket.create_server((before.warehouse.host, before.warehouse.port)):
        stack.up(["warehouse"])
        assert stack.addresses.warehouse.port != before.warehouse.port
        with psycopg.connect(stack.addresses.warehouse.dsn()) as warehouse:
            assert warehouse.execute("select answer from kept").fetchall() == [(42,)]


def test_broker_keeps_its_topics_on_other_ports(stack: LocalStack) -> None:
    """A broker whose ports another program took, its controller's among them, moves with its topics."""
    stack.down()
    ports = json.loads(stack.layout.state_file.read_text())["ports"]
    with (
        socket.create_server(("127.0.0.1", ports["kafka"])),
        socket.create_server(("127.0.0.1", ports["controller"])),
    ):
        stack.up(["kafka"])
        moved = json.loads(stack.layout.state_file.read_text())["ports"]
        assert all(moved[name] != ports[name] for name in ("kafka", "controller"))
        topics = AdminClient({"bootstrap.servers": stack.addresses.kafka}).list_topics(timeout=10).topics
        assert "initech.public.prices" in topics
    stack.down()


def test_taken_port_of_a_part_that_died_is_named(stack: LocalStack) -> None:
    """What runs knows the dead part at its port, so no other is taken behind its back."""
    stack.up(["source", "warehouse"])
    stack.kill("source")
    port = stack.addresses.source.port
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(StackError, match=f"port {port} of source is taken"),
    ):
        stack.up()
