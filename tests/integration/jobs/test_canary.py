"""A new version is tried beside the running one, under load: equal ones pass, wrong ones are told exactly."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner
from typing_extensions import Self

from tillstream.cli import app
from tillstream.configs import ClientConfig
from tillstream.io.sinks.ledger import decode_entry
from tillstream.runners.flink.jar import write_jar
from tillstream.runners.jobs.canary.options import CanaryOptions
from tillstream.runners.jobs.canary.run import run_canary
from tillstream.runners.jobs.canary.verdict import CanaryVerdict, EntityDiff
from tillstream.runners.jobs.history import HISTORY_VARIABLE, History
from tillstream.runners.jobs.job import ClientJob

from .conftest import Client, change, wait_until
from .test_lookups import TABLES, _changes
from .test_lookups import Shop as Tables

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

KEYS = 200
TRANSFORMS = '''
import os
from decimal import Decimal
from typing import Any

import apache_beam as beam
from tillstream.transforms import ChangeEvent, KeyedState, transform


@transform("shop.counted@1.0.0")
class Counted(beam.DoFn):
    """Double amounts, and count the changes of each row in state."""

    def process(self, event: ChangeEvent, seen: Any = KeyedState("seen")) -> Any:
        changes = seen.get(0) + 1
        seen.set(changes)
        yield from self.rows(event, event.key["id"], Decimal(event.after["amount"]), changes)

    def rows(self, event: ChangeEvent, key: int, amount: Decimal, changes: int) -> Any:
        yield event.upsert({"id": key, "amount": str(amount * 2), "changes": changes})


@transform("shop.counted@1.1.0")
class Refactored(Counted):
    """Say the same in other words."""

    def rows(self, event: ChangeEvent, key: int, amount: Decimal, changes: int) -> Any:
        row = {"id": key, "amount": str(amount + amount)}
        yield event.upsert({**row, "changes": changes})


@transform("shop.counted@2.0.0")
class Wrong(Counted):
    """Reckon wrongly, lose rows, make up rows, and refuse some."""

    def rows(self, event: ChangeEvent, key: int, amount: Decimal, changes: int) -> Any:
        if key % 10 == 3:
            amount += 1
        if key % 10 == 6:
            raise ValueError("sixes are not for me")
        if key % 10 != 4:
            yield event.upsert({"id": key, "amount": str(amount * 2), "changes": changes})
        if key % 10 == 5:
            yield event.upsert({"id": key + 1000, "amount": "0", "changes": 0})


@transform("shop.counted@3.0.0")
class Crashing(Counted):
    """Take the process along."""

    def rows(self, event: ChangeEvent, key: int, amount: Decimal, changes: int) -> Any:
        os._exit(3)
'''


class Load:
    """Change rows again and again, as the shop goes on.

    Args:
        client: whose topic takes the changes.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent = 0

    def round(self) -> None:
        """Change each row once."""
        first = self.sent
        self._client.produce(
            (b'{"id":%d}' % key, change(key, f"{first % 900}.50", first + key)) for key in range(KEYS)
        )
        self.sent += KEYS

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.3):
            self.round()


class Shop:
    """Be the client's job, its versions and its canaries.

    Args:
        client: whose it is.
        folder: for transforms, history and diffs.
        runner_jars: folder of the Flink runner's jars.
    """

    def __init__(self, client: Client, folder: Path, runner_jars: Path) -> None:
        self.client = client
        self.folder = folder
        self._runner_jars = runner_jars
        (folder / "shop_counted.py").write_text(TRANSFORMS, encoding="utf-8")
        self.said: list[str] = []
        # Those of other tests.
        self.savepoints = _savepoints(client)

    def config(self, version: str) -> ClientConfig:
        """Return the config with a version: rows into the warehouse, and each change into files."""
        contract = {"id": "int64", "amount": "decimal(12,2)", "changes": "int32"}
        if version == "1.1.0":
            # What waits in the upgrade's savepoint was made without it.
            contract = {"note": "string", **contract}
        entity = {"topic": self.client.topic, "key": ["id"], "transform": f"shop.counted@{version}"}
        sinks = dict(self.client.config().plain()["sinks"])
        sinks["lake"] = {"type": "files", "path": str(self.folder / "lake")}
        return self.client.config(
            entities={
                "sales": {**entity, "contract": contract, "sinks": ["warehouse"]},
                "log": {"from": "sales", "key": ["id"], "contract": {"id": "int64"}, "sinks": ["lake"]},
            },
            sinks=sinks,
            transforms={"path": str(self.folder), "modules": ["shop_counted"]},
        )

    def job(self, version: str) -> ClientJob:
        """Return the client's job as a version wants it."""
        return ClientJob(
            self.config(version), self.said.append, History(self.client.name, self.folder / "history")
        )

    def template(self, version: str) -> Path:
        """Build a version."""
        jar = self.folder / f"{version}.jar"
        write_jar(self.config(version), jar, self._runner_jars, bounded=False)
        return jar

    def canary(self, version: str, **options: Any) -> CanaryVerdict:
        """Try a version beside the running one."""
        chosen = CanaryOptions(**{"seconds": 1.0, "deadline_s": 60.0, **options})
        return run_canary(self.job(version), self.template(version), chosen)

    def upgrade(self, version: str, *options: str) -> tuple[int, dict[str, Any], CanaryVerdict]:
        """Upgrade to a version by the command, with a canary; return exit code, facts and verdict."""
        path = self.folder / f"{self.client.name}.yaml"
        path.write_text(
            yaml.safe_dump(
                self.config(version).model_dump(mode="json", by_alias=True, exclude_none=True),
                sort_keys=False,
            ),
            encoding="utf-8",
        )
        arguments = [
            "upgrade",
            str(path),
            "--yes",
            "--json",
            "--watch-for",
            "1",
            "--canary",
            "--canary-for",
            "1",
        ]
        result = CliRunner().invoke(app, [*arguments, *options])
        assert result.exit_code in {0, 1}, (result.output, result.exception)
        (facts,) = json.loads(result.stdout)["clients"]
        return result.exit_code, facts, msgspec.convert(facts["canary"], CanaryVerdict)


@pytest.fixture
def shop(
    client: Client, tmp_path: Path, runner_jars: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    """Return a shop whose first version runs and has seen each row several times."""
    monkeypatch.setenv(HISTORY_VARIABLE, str(tmp_path / "history"))
    found = Shop(client, tmp_path, runner_jars)
    client.create_topic(2)
    load = Load(client)
    for _ in range(3):
        load.round()
    found.job("1.0.0").start(found.template("1.0.0"), "launch")
    wait_until(lambda: client.query(f"select 1 from sales where changes >= 3 limit {KEYS}"), "the first rows")
    with load:
        yield found


def _entity(verdict: CanaryVerdict, name: str) -> EntityDiff:
    assert verdict.entities, verdict.reason
    return next(each for each in verdict.entities if each.entity == name)


def _told(path: Path, kind: str) -> list[dict[str, Any]]:
    """Return the differences of a kind that a diff file tells of sales."""
    found = map(msgspec.json.decode, path.read_bytes().splitlines())
    return [each for each in found if (each["kind"], each["entity"]) == (kind, "sales")]


def _keys(path: Path, kind: str) -> set[int]:
    return {each["key"]["id"] for each in _told(path, kind)}


def _savepoints(client: Client) -> set[str]:
    return {str(path) for path in (client.stack.layout.data / "flink" / "savepoints").glob("*")}


def _leftovers(shop: Shop) -> list[str]:
    """Return what a canary has left, wherever it may."""
    client = shop.client
    rest = client.rest
    jobs = [job["name"] for job in rest.jobs() if "canary" in job["name"] and job["state"] == "RUNNING"]
    admin = AdminClient({"bootstrap.servers": client.stack.addresses.kafka})
    groups = [each.group_id for each in admin.list_consumer_groups().result().valid]
    folders = [shop.folder / "history" / "canary" / client.name]
    schemas = client.query("select nspname from pg_namespace where nspname like '%canary%'")
    return [
        *jobs,
        *(group for group in groups if client.name in group and "canary" in group),
        *sorted(_savepoints(client) - shop.savepoints),
        *(str(path) for path in folders if path.exists()),
        *(row[0] for row in schemas),
    ]


def test_a_wrong_version_is_refused_and_an_equal_one_promoted(shop: Shop) -> None:
    """The one with exactly its differences; the warehouse sees no version before it is promoted."""
    client = shop.client
    ledger = "select distinct entry from tillstream_ledger"
    before = {decode_entry(row[0]).generation for row in client.query(ledger)}
    path = shop.folder / "diff.jsonl"

    code, _, verdict = shop.upgrade("2.0.0", "--diff-file", str(path))
    sales = _entity(verdict, "sales")
    assert (code, verdict.promote, sales.columns) == (1, False, {"amount": KEYS // 10})
    assert (sales.changed, sales.only_old, sales.only_new) == (KEYS // 10, KEYS // 5, KEYS // 10)
    assert {key % 10 for key in _keys(path, "changed")} == {3}
    assert {key % 10 for key in _keys(path, "only_old")} == {4, 6}
    assert _keys(path, "only_new") == {1000 + key for key in range(5, KEYS, 10)}
    for each in _told(path, "only_old"):
        # Counted on from the state of the savepoint: the three changes before the launch are in it.
        assert each["columns"]["changes"] > 3
    assert verdict.source_changes >= KEYS
    # In the log each change is one.
    assert (_entity(verdict, "log").equal, _entity(verdict, "log").differences) == (verdict.source_changes, 0)
    (letters,) = verdict.letters
    assert (letters.entity, letters.step, letters.lost) == ("sales", "transform", 0)
    assert letters.gained >= KEYS // 10
    assert verdict.reason.startswith(f"{verdict.differences} differences")
    assert _leftovers(shop) == []
    assert {decode_entry(row[0]).generation for row in client.query(ledger)} == before
    assert client.query("select count(*) from sales where id >= 1000 or amount <> trunc(amount)") == [(0,)]
    assert client.query("select * from tillstream_dead_letters") == []

    code, facts, verdict = shop.upgrade("1.1.0")
    assert (code, facts["outcome"], verdict.reason, verdict.differences) == (
        0,
        "upgraded",
        "no difference",
        0,
    )
    sales = _entity(verdict, "sales")
    assert (sales.equal, sales.notes) == (KEYS, ["only the new contract has note: not compared"])
    info = shop.job("1.1.0").info()
    assert info is not None
    assert info.config().entities["sales"].transform == "shop.counted@1.1.0"
    told = [(each.action, each.outcome) for each in History(client.name).entries() if each.action == "canary"]
    assert told == [("canary", each) for each in ("started", "refused", "started", "done")]


def test_a_version_that_crashes_is_refused(shop: Shop) -> None:
    """The running job knows nothing of it, and nothing of it stays."""
    verdict = shop.canary("3.0.0")
    assert not verdict.promote
    assert "the new version failed in the canary" in verdict.reason
    running = shop.job("1.0.0").running_id()
    assert running is not None
    assert shop.client.rest.root_cause(running) == ""
    assert _leftovers(shop) == []


def test_joins_and_aggregates_raise_no_false_alarm(client: Client, tmp_path: Path, runner_jars: Path) -> None:
    """What they write depends on how changes meet; where they end does not, though all tables change."""
    shop = Tables(client)
    admin = AdminClient({"bootstrap.servers": client.stack.addresses.kafka})
    for future in admin.create_topics([NewTopic(shop.topic(table), 2, 1) for table in TABLES]).values():
        future.result()
    for key in range(500):
        shop.order(key, key % 50, "new")
    shop.flush()
    entities = _changes(client)["entities"]
    hours = {"key": ["store_id", "hour"], "transform": "acme.sales_per_store_and_hour@1.0.0"}
    entities["hours"] = {"from": "orders", "sinks": ["warehouse"], **hours}
    job = ClientJob(client.config(entities=entities), history=History(client.name, tmp_path / "history"))
    template = tmp_path / "template.jar"
    write_jar(job.config, template, runner_jars, bounded=False)
    job.start(template, "launch")
    stop = threading.Event()

    def trade() -> None:
        number = 0
        while not stop.wait(0.1):
            number += 1
            for key in range(0, 500, 5):
                shop.order(key, (key + number) % 60, f"status {number}")
            # One more for the figures.
            shop.order(1000 + number, 7, "new")
            for key in range(50):
                shop.customer(key, f"name {number}")
            shop.store(number % 7, f"city {number}")
            shop.flush()

    trader = threading.Thread(target=trade)
    trader.start()
    try:
        wait_until(lambda: client.query("select 1 from hours limit 1"), "the first figures")
        verdict = run_canary(job, template, CanaryOptions(seconds=1.0, deadline_s=60.0))
    finally:
        stop.set()
        trader.join()
    assert (verdict.reason, verdict.promote) == ("no difference", True)
    assert min(_entity(verdict, name).equal for name in ("orders", "orders_enriched", "hours")) > 0
