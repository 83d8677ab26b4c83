"""What is rendered for Kubernetes runs, as far as it can without a cluster: in application mode, on S3."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tillstream.runners.flink.checkpoints import newest_below, read_checkpoint
from tillstream.runners.flink.jar import write_jar
from tillstream.runners.flink.stage_ids import stages_in
from tillstream.runners.k8s import chart
from tillstream.runners.k8s.launching import ClusterLaunch

from .application import Application
from .conftest import Client, wait_until
from .s3 import S3, flink_plugins

# This machine, in a form of which a network policy must be told; the job must not be run on a pod's own.
HERE = "127.1"
GENERATION = 1_700_000_000_000
# Two JVMs and a harness start, on a machine that does other things too.
DEADLINE_S = 300


class Secret:
    """Be a Secret that is mounted as a folder, as a kubelet mounts it: a change is one swap of a link."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)

    def write(self, version: int, **values: str) -> None:
        """Put values in place of what there is, all at once."""
        content = self.folder / f"..{version}"
        content.mkdir()
        for name, value in values.items():
            (content / name).write_text(value, encoding="utf-8")
            link = self.folder / name
            if not link.is_symlink():
                link.symlink_to(Path("..data", name))
        new = self.folder / "..new"
        new.symlink_to(content.name)
        os.replace(new, self.folder / "..data")  # noqa: PTH105


def _manifests(client: Client, folder: Path, jars: Path, store: S3) -> list[dict[str, Any]]:
    port = client.stack.addresses.kafka.rpartition(":")[2]
    warehouse = client.config().sinks["warehouse"].model_dump(mode="json", by_alias=True)
    config = client.config(
        kafka={"bootstrap_servers": f"{HERE}:{port}"},
        sinks={
            "warehouse": {
                **warehouse,
                "host": HERE,
                "password": f"file:{folder}/elsewhere/pass-word",
            }
        },
        flink={"memory_mb_max": 1024},
    )
    template = folder / "template.jar"
    write_jar(config, template, jars, bounded=False)
    launch = ClusterLaunch(config, template, GENERATION, "apps")
    values = {
        "image": "registry.example/tillstream@sha256:" + 64 * "a",
        "storage": {"dir": store.folder},
        "flinkConfiguration": {"s3.endpoint": store.address, "s3.path.style.access": "true"},
        "network": {
            "apiServer": {"cidrs": ["10.96.0.1/32"]},
            "peers": {HERE: {"to": [{"ipBlock": {"cidr": "127.0.0.1/32"}}]}},
            "storage": [{"to": [{"ipBlock": {"cidr": "127.0.0.1/32"}}], "ports": [443]}],
        },
    }
    return chart.render(chart.merged(values, launch.values()), name=client.name, namespace="apps")


@pytest.fixture
def session(client: Client) -> Iterator[psycopg.Connection[Any]]:
    """Return a connection that stays as passwords change, and give the role its old one back afterwards."""
    warehouse = client.stack.addresses.warehouse
    password = warehouse.password_file.read_text(encoding="utf-8").strip()
    with psycopg.connect(warehouse.dsn(), autocommit=True) as connection:
        yield connection
        _set_password(connection, password)


def _set_password(connection: psycopg.Connection[Any], password: str) -> None:
    statement = sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(sql.Literal(password))
    connection.execute(statement)


@pytest.fixture
def secret(client: Client, tmp_path: Path) -> Secret:
    """Return the mounted Secret with the warehouse's password."""
    found = Secret(tmp_path / "secrets" / client.name)
    password = client.stack.addresses.warehouse.password_file.read_text(encoding="utf-8").strip()
    found.write(1, pass_word=password)
    return found


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """Return a store for checkpoints, and for what the JobManager would lose."""
    found = S3()
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    try:
        found.make_bucket()
        yield found
    finally:
        found.close()


@pytest.fixture
def application(
    client: Client, secret: Secret, store: S3, tmp_path: Path, runner_jars: Path
) -> Iterator[Application]:
    """Return the pods of a client's job, not yet started."""
    client.create_topic()
    ports = json.loads(client.stack.layout.state_file.read_text(encoding="utf-8"))["ports"]
    zookeeper = f"127.0.0.1:{ports['zookeeper']}"
    manifests = _manifests(client, tmp_path, runner_jars, store)
    more = {"FLINK_PLUGINS_DIR": str(flink_plugins())}
    found = Application(manifests, tmp_path, zookeeper, secret.folder.parent, more)
    try:
        yield found
    finally:
        found.kill()
        print(found.log())  # noqa: T201


@pytest.mark.timeout(900)
def test_the_rendered_job_runs_and_survives_its_pods_and_a_new_password(
    application: Application,
    client: Client,
    secret: Secret,
    *,
    store: S3,
    session: psycopg.Connection[Any],
    tmp_path: Path,
) -> None:
    """It writes; all pods die, and it goes on from its newest checkpoint; a new password needs no restart.

    Checkpoints lie in S3, where a plan finds and reads them; their stages are those that it finds in the jar.
    """
    application.start()
    client.sales(0, 500)
    wait_until(lambda: client.rows() == 500, "the first rows", DEADLINE_S)
    (job,) = wait_until(lambda: application.rest.running(client.name), "the job")
    wait_until(lambda: application.rest.checkpoints(job)["counts"]["completed"] > 2, "checkpoints")
    assert application.rest.info(job).launch.generation == GENERATION

    application.kill()
    client.sales(500, 500)
    application.start()
    wait_until(lambda: client.rows() == 1000, "the rows behind the loss of all pods", DEADLINE_S)
    restored = application.rest.checkpoints(job)["latest"]["restored"]
    assert restored is not None
    assert not restored["is_savepoint"]
    assert restored["external_path"].startswith(f"{store.folder}/{client.name}/checkpoints/")
    # Another one may come, and take the place of this one, between the two.
    newest = newest_below(f"{store.folder}/{client.name}/checkpoints/{job}")
    assert newest is not None
    found = read_checkpoint(newest)
    assert set(found.held()) <= set(stages_in(tmp_path / "template.jar"))
    assert found.states is not None
    assert any("offset" in names for names in found.states.values())
    kinds = {name.removeprefix(f"flink/{client.name}/").partition("/")[0] for name in store.names()}
    assert kinds >= {"checkpoints", "ha"}

    _set_password(session, "second")
    secret.write(2, pass_word="second")
    session.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE usename = current_user AND pid <> pg_backend_pid()"
    )
    client.sales(1000, 500)
    count = f"SELECT count(*) FROM {client.name}.sales"
    wait_until(lambda: session.execute(count).fetchall() == [(1500,)], "the rows behind the new password")
    assert application.rest.job(job)["timestamps"]["RESTARTING"] == 0
