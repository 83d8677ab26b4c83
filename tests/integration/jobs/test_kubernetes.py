"""What is rendered for Kubernetes runs, as far as it can without a cluster: in Flink's application mode."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tillstream.runners.flink.jar import write_jar
from tillstream.runners.k8s import chart
from tillstream.runners.k8s.launching import ClusterLaunch

from .application import Application
from .conftest import Client, wait_until

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


def _manifests(client: Client, folder: Path, jars: Path) -> list[dict[str, Any]]:
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
        "storage": {"dir": (folder / "state").as_uri(), "claim": "state"},
        "network": {
            "apiServer": {"cidrs": ["10.96.0.1/32"]},
            "peers": {HERE: {"to": [{"ipBlock": {"cidr": "127.0.0.1/32"}}]}},
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
def application(client: Client, secret: Secret, tmp_path: Path, runner_jars: Path) -> Iterator[Application]:
    """Return the pods of a client's job, not yet started."""
    client.create_topic()
    ports = json.loads(client.stack.layout.state_file.read_text(encoding="utf-8"))["ports"]
    zookeeper = f"127.0.0.1:{ports['zookeeper']}"
    manifests = _manifests(client, tmp_path, runner_jars)
    found = Application(manifests, tmp_path, zookeeper, secret.folder.parent)
    try:
        yield found
    finally:
        found.kill()
        print(found.log())  # noqa: T201


@pytest.mark.timeout(900)
def test_the_rendered_job_runs_and_survives_its_pods_and_a_new_password(
    application: Application, client: Client, secret: Secret, session: psycopg.Connection[Any]
) -> None:
    """It writes; all pods die, and it goes on from its newest checkpoint; a new password needs no restart."""
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
