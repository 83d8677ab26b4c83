"""Upgrade under load, undo what does badly, die in the midst, roll back: state and rows stay exact."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner
from typing_extensions import Self

from tillstream.cli import app
from tillstream.io.sinks.files_store import committed_files
from tillstream.runners.jobs import upgrading
from tillstream.runners.jobs.history import History

from .conftest import Client, change, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

KEYS = 50
# Of a machine that does much else.
_TIMEOUT_S = "200"
# Each version counts the changes of a row in state; the second writes other rows besides, the third refuses.
MODULE = """
from typing import Any

import apache_beam as beam

from tillstream.transforms import ChangeEvent, KeyedState, transform


class Counted(beam.DoFn):
    extra = False
    good = True

    def process(self, event: ChangeEvent, seen: Any = KeyedState("seen")) -> Any:
        count = seen.get(0) + 1
        seen.set(count)
        if not self.good:
            raise ValueError("found nothing to like")
        row = dict(event.after, changes=count, made_by=self.info)
        yield event.upsert(row)
        if self.extra and event.after["id"] % 2:
            yield event.upsert(dict(row, id=-event.after["id"]))


@transform("{client}.counted@1.0.0")
class First(Counted):
    info = "1.0.0"


@transform("{client}.counted@1.1.0")
class Second(Counted):
    info = "1.1.0"
    extra = True


@transform("{client}.counted@2.0.0")
class Third(Counted):
    info = "2.0.0"
    good = False
"""


class Death(BaseException):
    """Stand for SIGKILL: nothing that would tidy up runs."""


class Load:
    """Change every key again and again until it is ended; be its rounds.

    Args:
        client: whose topic takes it.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stop = threading.Event()
        self.rounds = 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            self.rounds += 1
            self._client.produce(
                (b'{"id":%d}' % key, change(key, f"{self.rounds}.00", self.rounds * KEYS + key))
                for key in range(1, KEYS + 1)
            )


class Operator:
    """Run commands for one client.

    Args:
        client: the test's.
        folder: of its config and its transforms.
    """

    def __init__(self, client: Client, folder: Path) -> None:
        self.client = client
        self.folder = folder
        self.path = folder / f"{client.name}.yaml"
        (folder / f"counting_of_{client.name}.py").write_text(MODULE.replace("{client}", client.name))

    def wants(self, version: str) -> None:
        """Write the config with a version of the transform."""
        sales = {
            "topic": self.client.topic,
            "key": ["id"],
            "contract": {
                "id": "int64",
                "amount": "decimal(12,2)",
                "changes": "int64",
                "made_by": "string",
            },
            "sinks": ["warehouse", "log"],
            "transform": f"{self.client.name}.counted@{version}",
        }
        modules = {"modules": [f"counting_of_{self.client.name}"], "path": str(self.folder)}
        plain = self.client.config().model_dump(mode="json", by_alias=True, exclude_none=True)
        sinks = {**plain["sinks"], "log": {"type": "files", "path": str(self.folder / "log")}}
        # Else a version that refuses everything stops itself on a slow machine, before it is judged.
        limits = {"errors_max": 1_000_000}
        config = self.client.config(
            # A job without its state would read from now on, and so count too little.
            kafka={"start": "latest"},
            entities={"sales": sales},
            transforms=modules,
            sinks=sinks,
            limits=limits,
        )
        self.path.write_text(yaml.safe_dump(config.model_dump(mode="json", by_alias=True, exclude_none=True)))

    def run(self, command: str, *options: str, code: int = 0) -> dict[str, Any]:
        """Run a command with `--json`, and return what it says of the client."""
        arguments = [command, str(self.path), *options, "--timeout", _TIMEOUT_S, "--json"]
        result = CliRunner().invoke(app, arguments)
        if isinstance(result.exception, Death):
            raise result.exception
        assert result.exit_code == code, (result.output, result.exception)
        found: dict[str, Any] = json.loads(result.stdout)["clients"][0]
        return found

    def upgrade(self, version: str, code: int = 0) -> dict[str, Any]:
        """Upgrade to a version, watching it for a short while."""
        self.wants(version)
        return self.run("upgrade", "--watch-for", "3", "--yes", code=code)

    def settled(self, rounds: int, made_by: str) -> None:
        """Wait until each row has seen as many changes as there were, and the newest of them."""
        last = f"amount = {rounds} and changes = {rounds} and made_by = '{made_by}'"
        rows = f"select count(*) from sales where id > 0 and {last}"
        try:
            wait_until(lambda: self.client.query(rows) == [(KEYS,)], f"{rounds} changes by {made_by}", 60)
        except AssertionError:
            shown = "select made_by, amount, changes, count(*) from sales group by 1, 2, 3 order by 4 limit 9"
            raise AssertionError((rounds, made_by, self.client.query(shown))) from None

    def logged(self) -> dict[int, tuple[int, str]]:
        """Return the last row of each key in the log: its count, and who made it."""
        found = {}
        for path in committed_files(self.folder / "log", "sales"):
            for row in map(json.loads, path.read_bytes().splitlines()):
                found[row["id"]] = (row["changes"], row["made_by"])
        return found

    def history(self) -> list[tuple[str, str]]:
        """Return what has come to an end: action and outcome."""
        entries = History(self.client.name).entries()
        return [(entry.action, entry.outcome) for entry in entries if entry.outcome != "started"]


@pytest.fixture
def operator(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    """Return an operator of a client whose first version runs."""
    monkeypatch.setenv("TILLSTREAM_HISTORY", str(tmp_path / "history"))
    client.create_topic(2)
    found = Operator(client, tmp_path)
    found.wants("1.0.0")
    found.run("launch")
    return found


def test_an_upgrade_keeps_state_and_a_roll_back_takes_it_back(operator: Operator) -> None:
    """Under load each version goes on where the one before was; what only the newer one made is named."""
    client = operator.client
    with Load(client) as load:
        wait_until(lambda: client.rows() == KEYS, "the first rows")
        upgraded = operator.upgrade("1.1.0")
        assert upgraded["outcome"] == "upgraded"
        assert upgraded["after"]["events_read"] > 0
        assert operator.upgrade("1.1.0")["outcome"] == "runs already"
    operator.settled(load.rounds, "1.1.0")
    back = operator.run("rollback", "--yes")
    # The rows that were there before the upgrade are those of 1.0.0 again, with its own count.
    operator.settled(load.rounds, "1.0.0")
    last = (load.rounds, "1.0.0")
    wait_until(
        lambda: {operator.logged()[key] for key in range(1, KEYS + 1)} == {last}, "the log's last rows"
    )
    assert back["savepoint"] == upgraded["savepoint"]
    (left,) = back["leftovers"]
    assert (left["entity"], left["rows"]) == ("sales", KEYS // 2)
    stays = client.query(
        f"select count(*), count(*) filter (where id < 0) from sales where {left['condition']}"
    )
    assert stays == [(KEYS // 2, KEYS // 2)]
    assert operator.history() == [("launch", "done"), ("upgrade", "done"), ("rollback", "done")]


def test_a_version_that_refuses_everything_is_undone(operator: Operator) -> None:
    """Its dead letters tell; the version before goes on from its own state, and nothing is missing."""
    client = operator.client
    with Load(client) as load:
        wait_until(lambda: client.rows() == KEYS, "the first rows")
        undone = operator.upgrade("2.0.0", code=1)
    assert undone["outcome"] == "rolled back"
    assert "dead letters" in undone["reason"]
    assert undone["letters"] > 0
    assert undone["leftovers"] == []
    operator.settled(load.rounds, "1.0.0")
    assert operator.history() == [("launch", "done"), ("rollback", "done"), ("upgrade", "rolled_back")]


def test_a_death_in_the_midst_is_mended(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old job is stopped, and whoever did it is dead: the next command finds the way back."""
    client = operator.client

    def die(*_: object, **__: object) -> None:
        raise Death

    with Load(client) as load:
        wait_until(lambda: client.rows() == KEYS, "the first rows")
        monkeypatch.setattr(upgrading, "run_uploaded", die)
        with pytest.raises(Death):
            operator.upgrade("1.1.0")
        assert client.rest.running(client.name) == []
        assert operator.run("rollback", "--yes")["outcome"] == "rolled back"
    operator.settled(load.rounds, "1.0.0")
    assert operator.history() == [("launch", "done"), ("rollback", "done"), ("upgrade", "rolled_back")]
