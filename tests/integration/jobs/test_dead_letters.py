"""Dead letters are looked at, given back to the running job, and given up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from tillstream.cli import app
from tillstream.configs import ClientConfig
from tillstream.io.sinks.files_store import committed_files
from tillstream.runners.local.stack import LocalStack

from .conftest import Client, change, wait_until

pytestmark = pytest.mark.integration

BAD = "13.00"
MODULE = """
import apache_beam as beam
from tillstream.transforms import transform


class _Sale(beam.DoFn):
    refused = ""

    def process(self, event):
        row = event.after
        if row["amount"] == self.refused:
            raise ValueError("no such amount")
        yield event.upsert(row)


@transform("{client}.sale@1.0.0")
class Sale(_Sale):
    refused = "{bad}"


@transform("{client}.sale@1.0.1")
class Mended(_Sale):
    pass
"""


class Letters:
    """Be a client whose job refuses one amount: sales skip it, and the log holds its key.

    Args:
        client: the test's.
        folder: for its module, its config and the log.
    """

    def __init__(self, client: Client, folder: Path) -> None:
        self.client = client
        self.folder = folder
        module = f"module_of_{client.name}"
        (folder / f"{module}.py").write_text(MODULE.format(client=client.name, bad=BAD))
        sale = {
            "key": ["id"],
            "contract": {"id": "int64", "amount": "decimal(12,2)"},
            "transform": f"{client.name}.sale@1.0.0",
        }
        self.changes: dict[str, Any] = {
            "entities": {
                "sales": {"topic": client.topic, "sinks": ["warehouse"], **sale},
                "logged": {"from": "sales", "sinks": ["log"], "on_error": "hold_key", **sale},
            },
            "transforms": {"modules": [module], "path": str(folder)},
        }
        sinks = client.config().model_dump(mode="json", by_alias=True, exclude_none=True)["sinks"]
        sinks["log"] = {"type": "files", "path": str(folder / "log"), "format": "jsonl"}
        self.changes["sinks"] = sinks
        self.path = folder / "client.yaml"
        self.path.write_text(json.dumps(self._plain(client.config(**self.changes))))

    def _plain(self, config: ClientConfig) -> Any:
        return config.model_dump(mode="json", by_alias=True, exclude_none=True)

    def command(self, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
        """Run `tillstream dlq` and return the JSON that it prints."""
        name, *rest = arguments
        result = CliRunner().invoke(app, ["dlq", name, str(self.path), *rest, "--json"])
        assert result.exit_code == code, result.output + repr(result.exception)
        return [json.loads(line) for line in result.stdout.splitlines()]

    def logged(self) -> dict[int, list[str]]:
        """Return the amounts of each key in the log, in order."""
        found: dict[int, list[str]] = {}
        for path in committed_files(self.folder / "log", "logged"):
            for row in map(orjson.loads, path.read_bytes().splitlines()):
                found.setdefault(row["id"], []).append(row["amount"])
        return found

    def produce(self, *sales: tuple[int, str]) -> None:
        """Write one change for each pair of key and amount, newer than all before."""
        for key, amount in sales:
            self._offset = getattr(self, "_offset", 0) + 1
            self.client.produce([(b'{"id":%d}' % key, change(key, amount, self._offset))])


@pytest.fixture
def letters(client: Client, tmp_path: Path) -> Iterator[Letters]:
    """Return a client with letters to come."""
    client.create_topic()
    return Letters(client, tmp_path)


def test_letters_come_back_once_in_order_by_another_version(letters: Letters, stack: LocalStack) -> None:
    """List, show, replay, supersede, hold, discard; kills double nothing, upgrades lose nothing."""
    client = letters.client
    many = range(200, 230)
    letters.produce((1, "1.00"), (2, BAD), (3, BAD), (3, "3.00"), (4, BAD), (4, "4.00"), (4, "4.50"))
    letters.produce(*((key, BAD) for key in many), *((key, "7.00") for key in many))
    job = client.launch(**letters.changes)
    letters_due = 2 * (3 + len(many))
    wait_until(lambda: len(letters.command("list", "--limit", "1000")) == letters_due, "all letters")

    (two,) = letters.command("list", "--entity", "sales", "--key", "2")
    assert (two["step"], two["reason"], two["status"]) == ("transform", "transform_failed", "open")
    (shown,) = letters.command("show", two["id"][:12])
    assert "no such amount" in shown["traceback"]
    assert json.loads(shown["payload"])["after"] == {"id": 2, "amount": BAD}
    assert (shown["transform"], shown["source_entity"]) == (f"{client.name}.sale@1.0.0", None)

    mended = ("--transform", f"{client.name}.sale@1.0.1", "--yes")
    (again,) = letters.command("replay", two["id"], "--yes", code=1)
    assert (again["status"], "no such amount" in again["detail"]) == ("open", True)
    (done,) = letters.command("replay", two["id"], *mended)
    assert (done["status"], done["detail"]) == ("replayed", f"by {client.name}.sale@1.0.1")
    assert client.query("select amount::text from sales where id = 2") == [(BAD,)]
    assert letters.command("replay", two["id"], *mended, code=1)[0]["detail"] == "it is replayed already"

    (newer,) = letters.command("replay", "--entity", "sales", "--key", "3", *mended)
    assert newer["status"] == "superseded"
    assert client.query("select amount::text from sales where id = 3") == [("3.00",)]

    assert {key: letters.logged().get(key) for key in (1, 3, 4)} == {1: ["1.00"], 3: None, 4: None}
    (held,) = letters.command("replay", "--entity", "logged", "--key", "3", *mended)
    assert held["status"] == "replayed"
    assert letters.logged()[3] == [BAD, "3.00"]
    (given_up,) = letters.command("discard", "--entity", "logged", "--key", "4", "--yes")
    assert given_up["status"] == "discarded"
    assert letters.logged()[4] == ["4.00", "4.50"]

    for _ in range(2):
        letters.command(
            "replay", "--entity", "logged", "--reason", "transform_failed", *mended, "--wait", "0"
        )
    stack.kill("taskmanager")
    stack.up(["taskmanager"])
    left = ("list", "--entity", "logged")
    wait_until(lambda: not letters.command(*left), "no open letter")
    found = letters.logged()
    assert {key: found[key] for key in many} == {key: [BAD, "7.00"] for key in many}
    assert (found[3], found[4]) == ([BAD, "3.00"], ["4.00", "4.50"])

    letters.produce((5, BAD), (5, "5.00"), (6, "6.00"))
    wait_until(lambda: len(letters.command(*left)) == 1 and 6 in letters.logged(), "the letter of key 5")
    saved = client.savepoint(job)
    for each in letters.changes["entities"].values():
        each["transform"] = f"{client.name}.sale@1.0.1"
    client.launch(savepoint=saved, **letters.changes)
    letters.produce((5, "5.50"))
    assert letters.command("replay", "--entity", "logged", "--yes")[0]["status"] == "replayed"
    wait_until(lambda: len(letters.logged().get(5, [])) == 3, "what waited in the savepoint")
    assert letters.logged()[5] == [BAD, "5.00", "5.50"]
