"""What the parts are configured with: loopback only, and no secret on a command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillstream.runners.local.connect import Connect
from tillstream.runners.local.flink import JobManager, SpareTaskManager, TaskManager, flink_settings
from tillstream.runners.local.kafka import Kafka
from tillstream.runners.local.layout import Layout
from tillstream.runners.local.ports import PREFERRED_PORTS
from tillstream.runners.local.postgres import Source, Warehouse
from tillstream.runners.local.secret_files import ensure_password
from tillstream.runners.local.service import Context, Service, write_properties
from tillstream.runners.local.stack import SERVICES
from tillstream.runners.local.toolchain import Jars
from tillstream.runners.local.zookeeper import ZooKeeper

_ALL = (Source, Warehouse, Kafka, Connect, ZooKeeper, JobManager, TaskManager, SpareTaskManager)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Return a stack that is never started."""
    layout = Layout.of(tmp_path / "stack")
    layout.create()
    return Context(layout, PREFERRED_PORTS, Path("/usr/bin/java"), Jars(tmp_path / "jars"))


def _prepared(part: type[Service], context: Context) -> Service:
    service = part(context)
    if issubclass(part, TaskManager):
        service.prepare()  # its command names it as the preparation does
    return service


@pytest.mark.parametrize("part", _ALL)
def test_no_command_line_holds_a_password(part: type[Service], context: Context) -> None:
    """Everyone on the machine can read command lines, so passwords are in files."""
    passwords = [
        ensure_password(context.layout.secrets / f"{name}_password") for name in ("source", "warehouse")
    ]
    command = _prepared(part, context).command()
    for password in passwords:
        assert all(password not in str(argument) for argument in command.arguments)
        assert password not in command.environment.values()


@pytest.mark.parametrize("part", [Kafka, Connect, ZooKeeper, JobManager, TaskManager])
def test_every_jvm_has_a_bounded_heap_and_its_log_file(part: type[Service], context: Context) -> None:
    """No JVM takes a share of the machine that nobody chose."""
    service = _prepared(part, context)
    arguments = [str(argument) for argument in service.command().arguments]
    assert any(argument.startswith("-Xmx") for argument in arguments)
    assert f"-Dlog.file={context.layout.log(service.name)}" in arguments


def test_every_listener_has_exactly_one_part(context: Context) -> None:
    """Each port is watched over by the part that takes it."""
    assert sorted(name for part in _ALL for name in part(context).listens) == sorted(PREFERRED_PORTS)


def test_broker_listens_on_loopback_only(context: Context) -> None:
    """Both listeners, and what they tell clients, are on loopback."""
    properties = Kafka(context).properties()
    expected = "BROKER://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093"
    assert properties["listeners"] == properties["advertised.listeners"] == expected


def test_worker_reads_secrets_from_one_folder_only(context: Context) -> None:
    """A connector's configuration cannot refer to any other file of the machine."""
    properties = Connect(context).properties()
    assert properties["listeners"] == "http://127.0.0.1:8083"
    assert properties["config.providers.directory.param.allowed.paths"] == context.layout.secrets


def test_flink_binds_to_loopback_only(context: Context) -> None:
    """REST, RPC and data ports are all on loopback."""
    settings = flink_settings(context)
    hosts = {name: value for name, value in settings.items() if name.endswith(("-host", ".host", "address"))}
    assert len(hosts) == 6
    assert set(hosts.values()) == {"127.0.0.1"}


def test_zookeeper_listens_on_loopback_and_has_no_page(context: Context) -> None:
    """Its clients' port is the only one that it opens."""
    properties = ZooKeeper(context).properties()
    assert (properties["clientPortAddress"], properties["clientPort"]) == ("127.0.0.1", 2181)
    assert properties["admin.enableServer"] == "false"


def test_jobs_are_kept_outside_of_the_jobmanager(context: Context) -> None:
    """A new JobManager finds the jobs where the old one left them, and TaskManagers find it at its port."""
    settings = flink_settings(context)
    assert settings["high-availability.zookeeper.quorum"] == "127.0.0.1:2181"
    assert settings["high-availability.jobmanager.port"] == "6123"
    storage = settings["high-availability.storageDir"]
    assert storage == (context.layout.data / "flink" / "ha").as_uri()


def test_whoever_needs_zookeeper_says_so() -> None:
    """Starting Flink's parts by name starts what they cannot serve without."""
    names = {part.name for part in _ALL}
    needs = {part.name: part.needs for part in _ALL if part.needs}
    assert needs == dict.fromkeys(("jobmanager", "taskmanager", "taskmanager2"), ("zookeeper",))
    assert {need for needed in needs.values() for need in needed} <= names


def test_a_spare_part_is_started_by_name_only() -> None:
    """A stack has one TaskManager unless it is told otherwise."""
    assert [part.name for part in _ALL if part.is_spare] == ["taskmanager2"]
    assert set(SERVICES) == {part.name for part in _ALL} - {"taskmanager2"}


def test_postgres_listens_on_loopback_and_no_socket(context: Context) -> None:
    """The servers take TCP connections on loopback and nothing else."""
    arguments = Source(context).command().arguments
    assert {"listen_addresses=127.0.0.1", "unix_socket_directories=", "wal_level=logical"} <= set(arguments)


def test_properties_escape_backslashes(tmp_path: Path) -> None:
    """A properties file reads a backslash as an escape."""
    write_properties(tmp_path / "p", {"a.b": r"x\y", "n": 1})
    assert (tmp_path / "p").read_text() == "a.b=x\\\\y\nn=1\n"
