"""A template runs the code that it was built of, with the addresses that its launch is given."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tillstream.cli import app
from tillstream.runners.flink.template import read_manifest
from tillstream.runners.local.stack import LocalStack

from .conftest import Client, wait_until

MODULE = """
import apache_beam as beam
import {helper}
from tillstream.transforms.api import transform

@transform("{client}.mark@1.0.0")
class Mark(beam.DoFn):
    def process(self, event):
        yield event.upsert({{**event.after, "amount": {helper}.AMOUNT}})
"""
CONFIG = """
client: {client}
source:
  kafka: {{bootstrap_servers: "${{KAFKA}}", discovery_interval_s: 1}}
entities:
  sales:
    topic: {topic}
    key: [id]
    contract: {{id: int64, amount: "decimal(12,2)"}}
    transform: {client}.mark@1.0.0
    sinks: [warehouse]
transforms: {{path: code, modules: [marking]}}
sinks:
  warehouse:
    type: postgres
    host: ${{HOST:-nowhere.invalid}}
    port: ${{PORT}}
    database: {database}
    user: {user}
    password: file:{password}
flink: {{rest_url: "${{FLINK}}"}}
"""


def write_code(folder: Path, client: str, amount: str) -> None:
    """Write modules of the same names for each client; what they do differs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "marking.py").write_text(MODULE.format(client=client, helper="amounts"))
    (folder / "amounts.py").write_text(f"AMOUNT = '{amount}'\n")


def build(client: Client, folder: Path, amount: str) -> Path:
    """Build the template of a client, and return its jar."""
    write_code(folder / "code", client.name, amount)
    warehouse = client.stack.addresses.warehouse
    fields = {"database": warehouse.database, "user": warehouse.user, "password": warehouse.password_file}
    text = CONFIG.format(client=client.name, topic=client.topic, **fields)
    (folder / f"{client.name}.yaml").write_text(text)
    jar = folder / f"{client.name}.jar"
    # Only to be launched elsewhere: none of these is an address of the stack.
    values = [
        f"--set={name}={value}" for name, value in (("KAFKA", "k:1"), ("PORT", "1"), ("FLINK", "http://f:1"))
    ]
    found = CliRunner().invoke(
        app, ["template", "build", str(folder / f"{client.name}.yaml"), "-o", str(jar), *values]
    )
    assert found.exit_code == 0, found.output
    return jar


def launch(client: Client, jar: Path, *more: str) -> None:
    """Launch a template, with the stack's addresses."""
    addresses = client.stack.addresses
    values = {
        "KAFKA": addresses.kafka,
        "HOST": addresses.warehouse.host,
        "PORT": addresses.warehouse.port,
        "FLINK": addresses.flink,
    }
    sets = ["--timeout=240", *(f"--set={name}={value}" for name, value in values.items())]
    found = CliRunner().invoke(app, ["template", "launch", str(jar), *sets, *more], catch_exceptions=False)
    assert found.exit_code == 0, found.output


@pytest.fixture
def other(stack: LocalStack, client: Client) -> Iterator[Client]:
    """Return a second client, whose modules have the names of the first one's."""
    found = Client(stack, f"{client.name}x")
    try:
        yield found
    finally:
        found.cancel()


@pytest.fixture(autouse=True)
def _history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILLSTREAM_HISTORY", str(tmp_path / "history"))


def amounts(client: Client) -> set[str]:
    """Return the amounts that the warehouse shows."""
    return {str(row[0]) for row in client.query("select distinct amount from sales")}


def code_folders(client: Client) -> list[Path]:
    """Return the folders in which code of the client's launches is unpacked."""
    return list((client.stack.layout.data / "flights" / client.name).glob("*/code-*"))


@pytest.mark.timeout(600)
def test_a_template_runs_the_code_that_it_was_built_of(client: Client, other: Client, tmp_path: Path) -> None:
    """Its client's files may have changed or gone since; others' modules of the same names do not meet it."""
    jars = {
        each: build(each, tmp_path / each.name, amount)
        for each, amount in ((client, "1.00"), (other, "2.00"))
    }
    write_code(tmp_path / client.name / "code", client.name, "9.00")
    shutil.rmtree(tmp_path / other.name / "code")
    for each in (client, other):
        each.create_topic(1)
        each.sales(0, 10, "5.00")
        launch(each, jars[each])
    wait_until(lambda: client.rows() == 10 and other.rows() == 10, "the rows of both")
    assert (amounts(client), amounts(other)) == ({"1.00"}, {"2.00"})
    # What is built now runs what is there now, and what the last launch has unpacked goes.
    newer = build(client, tmp_path / client.name, "3.00")
    assert read_manifest(newer).code not in {read_manifest(jars[other]).code, ""}
    (before,) = code_folders(client)
    client.cancel()
    client.sales(10, 10, "5.00")
    launch(client, newer, "--fresh", "--parallelism", "2")
    wait_until(lambda: amounts(client) == {"3.00"}, "the rows of the newer code")
    wait_until(lambda: before not in code_folders(client), "the older code to go")
    (job,) = [job for job in client.rest.jobs() if job["name"] == client.name and job["state"] == "RUNNING"]
    info = client.rest.info(job["jid"])
    assert info is not None
    assert (info.launch.parallelism, info.manifest.code) == (2, read_manifest(newer).code)
