"""Documented events of other connectors come through codec and deduplication in the source's order."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tillstream.configs import Entity
from tillstream.io.codecs.debezium_json import DebeziumJsonCodec
from tillstream.pipelines.records import ChangeBatch, ChangeRecord, Operation
from tillstream.transforms.contracts.compiled import CompiledContract
from tillstream.transforms.deduplicate import Deduplicated, Deduplicator, Entry
from tillstream.transforms.fake_state import FakeState
from tillstream.transforms.shard_state import ShardMemory

FOLDER = Path(__file__).parents[2] / "corpus" / "connectors"
FIXTURES = sorted(path.stem for path in FOLDER.glob("*.json"))
_HORIZON_US = 10**15


def fixture(name: str) -> dict[str, Any]:
    """Return the documented events of a connector, in the order of the source."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def decoded(name: str, *, wrapped: bool = False) -> list[ChangeRecord]:
    """Return the events' records, in that order, with offsets in that order."""
    found = fixture(name)
    codec = DebeziumJsonCodec("customers", tuple(found["key"]), 4)
    records = []
    for offset, event in enumerate(found["events"]):
        parts = [event["key"], event["value"]]
        if wrapped:
            parts = [{"schema": None, "payload": part} for part in parts]
        key, value = (json.dumps(part).encode() for part in parts)
        records.append(codec.decode(key, value, offset)[1])
    return records


def kept(records: list[ChangeRecord]) -> Deduplicated:
    """Return what deduplication keeps of records that come in this order, each with a later offset."""
    memory: ShardMemory[Entry] = ShardMemory(_HORIZON_US, Entry)
    state = FakeState()
    shard = memory.open(b"s", state.cell, state.bag)
    batch = ChangeBatch("c", "customers", 0, "t", 0, ("id",), tuple(records))
    return Deduplicator("position", _HORIZON_US).keep(batch, shard)


@pytest.mark.parametrize("name", FIXTURES)
def test_positions_rise_in_the_source_s_order(name: str) -> None:
    """Each event's is above that of the one before."""
    positions = [record.position for record in decoded(name)]
    assert all(positions)
    assert sorted(set(positions)) == positions


@pytest.mark.parametrize("name", FIXTURES)
def test_all_of_them_pass_in_order(name: str) -> None:
    """And none when they come again."""
    records = decoded(name)
    result = kept(records + records)
    assert result.records == records
    assert sum(result.dropped.values()) == len(records)


@pytest.mark.parametrize("name", FIXTURES)
def test_the_newest_wins_in_any_order(name: str) -> None:
    """Whatever came before is kept only where nothing newer was known."""
    records = decoded(name)
    for order in itertools.permutations(records):
        found = kept(list(order)).records
        assert found[-1] == records[-1]
        assert found == [
            each for n, each in enumerate(order) if each is max(order[: n + 1], key=records.index)
        ]


@pytest.mark.parametrize("name", FIXTURES)
def test_rows_fit_a_contract(name: str) -> None:
    """Keys and rows come out as columns; a delete has none."""
    found = fixture(name)
    entity = Entity.model_validate(
        {"topic": "t", "key": found["key"], "contract": found["contract"], "sinks": ["s"]}
    )
    contract = CompiledContract("customers", entity.columns(), entity.key)
    for record in decoded(name):
        assert record.key == (1004,)
        if record.after is None:
            assert record.operation is Operation.DELETE
        else:
            assert contract.decode(record.after)[0] == 1004
            assert contract.decode(record.after)[-1] == "annek@noanswer.org"


@pytest.mark.parametrize("name", FIXTURES)
def test_wrapping_changes_nothing(name: str) -> None:
    """Whether `schema` and `payload` stand around key and value or not."""
    assert decoded(name, wrapped=True) == decoded(name)


@pytest.mark.parametrize(
    ("name", "topic"),
    [
        ("mysql_file", "mysql-server-1.inventory.customers"),
        ("sqlserver", "server1.dbo.customers"),
        ("oracle", "server1.DEBEZIUM.CUSTOMERS"),
        ("mongodb", "fulfillment.inventory.customers"),
    ],
)
def test_the_block_tells_the_topic(name: str, topic: str) -> None:
    """For events that come from files, as the connector names it."""
    for event in fixture(name)["events"]:
        assert DebeziumJsonCodec.topic_of(json.dumps(event["value"]).encode()) == topic


def test_a_fixture_for_each_connector() -> None:
    """Of those whose order is known, beside Postgres, whose events are recorded."""
    connectors = {
        event["value"]["source"]["connector"] for name in FIXTURES for event in fixture(name)["events"]
    }
    assert connectors == {"mysql", "mariadb", "sqlserver", "oracle", "mongodb"}
