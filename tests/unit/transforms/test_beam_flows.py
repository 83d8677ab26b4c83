"""A DoFn may have Beam's own state and timers, one change at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tillstream.configs import ClientConfig
from tillstream.pipelines.records import (
    ChangeBatch,
    ChangeRecord,
    DeadLetterBatch,
    Mutation,
    MutationKind,
    Operation,
    Replay,
)
from tillstream.runners import direct
from tillstream.transforms.beam_flows import _caught, _KeyByShard, _Pack
from tillstream.transforms.fake_state import FakeState
from tillstream.transforms.flows import Flow, flows_of, registry_of
from tillstream.transforms.resolving import resolve

MODULE = """
import apache_beam as beam
from apache_beam.coders import VarIntCoder
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec
from pydantic import BaseModel
from tillstream.transforms.api import transform

class Nth(BaseModel):
    order_id: int
    nth: int

@transform("beamtest.nth@1.0.0", output=Nth)
class NthChange(beam.DoFn):
    COUNT = ReadModifyWriteStateSpec("count", VarIntCoder())

    def process(self, event, count=beam.DoFn.StateParam(COUNT)):
        seen = (count.read() or 0) + 1
        count.write(seen)
        if event.after["total"] == "666":
            raise ValueError("the number of the beast")
        nth = "third" if seen == 3 else seen
        yield event.upsert({"order_id": event.key["order_id"], "nth": nth})
"""


@pytest.fixture
def client(tmp_path: Path) -> ClientConfig:
    """Return a client whose view counts the changes of each order."""
    (tmp_path / "beamtest_transforms.py").write_text(MODULE)
    lines = []
    for place, (order, total) in enumerate([(1, "5"), (2, "6"), (1, "7"), (3, "666"), (1, "8")]):
        source = {"connector": "postgresql", "name": "shop", "schema": "public", "table": "orders"}
        source |= {"ts_ms": 1000 + place, "sequence": f'["{place + 1}","{place + 1}"]'}
        row = {"order_id": order, "total": total}
        lines.append(json.dumps({"op": "u", "before": None, "after": row, "source": source}))
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")
    view = {"from": "orders", "key": ["order_id"], "sinks": ["out"], "transform": "beamtest.nth@1.0.0"}
    orders = {"topic": "shop.public.orders", "key": ["order_id"], "sinks": ["out"]}
    return ClientConfig.model_validate(
        {
            "client": "beamtest",
            "source": {"files": {"paths": [str(tmp_path / "in.jsonl")]}},
            "entities": {"orders": orders, "nth": view},
            "transforms": {"modules": ["beamtest_transforms"], "path": str(tmp_path)},
            "sinks": {"out": {"type": "files", "path": str(tmp_path / "out")}},
        }
    )


def rows(folder: Path) -> list[dict[str, Any]]:
    """Return the JSON lines of all parts of an entity."""
    return [
        json.loads(line)
        for part in sorted(folder.rglob("part-*.jsonl"))
        for line in part.read_text().splitlines()
    ]


def test_its_state_is_beams_and_its_rows_are_checked(client: ClientConfig, tmp_path: Path) -> None:
    """Counts are per key; a raise, or a row that breaks the contract, is a letter with the transform."""
    counts = direct.run(client)
    found = sorted((row["order_id"], row["nth"]) for row in rows(tmp_path / "out" / "nth"))
    assert found == [(1, 1), (1, 2), (2, 1)]
    letters = rows(tmp_path / "out" / "_dead_letters")
    assert sorted((each["reason"], each["entity"], each["transform"]) for each in letters) == [
        ("contract", "nth", "beamtest.nth@1.0.0"),
        ("transform_failed", "nth", "beamtest.nth@1.0.0"),
    ]
    assert counts["dead_letters"] == 2


def test_a_keys_upsert_and_delete_meet_in_one_shard(tmp_path: Path) -> None:
    """A key has one shard however it is spelt: typed in a row, as the source wrote it in a delete."""
    (tmp_path / "beammarks_transforms.py").write_text(
        MODULE.replace("beamtest.nth", "beammarks.nth").replace(", output=Nth", "")
    )
    contract = {"at": "timestamptz", "amount": "decimal(9,2)", "nth": "int64"}
    entity = {"topic": "t", "key": ["at", "amount"], "sinks": ["out"], "contract": contract}
    entity["transform"] = "beammarks.nth@1.0.0"
    client = ClientConfig.model_validate(
        {
            "client": "beamtest",
            "source": {"files": {"paths": ["in"]}},
            "entities": {"marks": entity},
            "transforms": {"modules": ["beammarks_transforms"], "path": str(tmp_path)},
            "sinks": {"out": {"type": "files", "path": "/out"}},
        }
    )
    keyer = _KeyByShard(client, Flow("marks", "marks", "beam"))
    keyer.setup()
    shards = {next(keyer.process(Mutation("lost", MutationKind.DELETE, {}, None, (), 0, "t", 0, 0)))[0]}
    for at, amount in (("2026-01-01T01:00:00+01:00", "1.5"), ("2026-01-01T00:00:00.000000Z", "1.50")):
        key = {"at": at, "amount": amount}
        for kind, row in ((MutationKind.UPSERT, {**key, "nth": 1}), (MutationKind.DELETE, None)):
            mutation = Mutation("marks", kind, key, row, (), 0, "t", 0, 0)
            shards |= {shard for shard, _ in keyer.process(mutation)}
    # The other one is that of mutations that are refused.
    assert len(shards) == 2


class Count:
    """Be a cell that has been written twice."""

    def read(self) -> int:
        """Return what the third change finds."""
        return 2

    def write(self, value: int) -> None:
        """Take no note."""


def test_a_row_that_is_refused_again_names_the_attempt(client: ClientConfig) -> None:
    """The change was given back by a person; the contract refuses its row where it is packed."""
    config = resolve(client)
    replay = Replay("x", "replay", "nth", "transform", 0, "", "", 7, 0, "r", 0, 3)
    row = b'{"order_id":1,"total":"5"}'
    record = ChangeRecord(0, Operation.UPDATE, (1,), (1,), 1000, None, row)
    batch = ChangeBatch("beamtest", "orders", 0, "in", 0, ("order_id",), (record,), replay=replay)
    dofn: Any = _caught(config, "nth")
    dofn.setup()
    (mutation,) = dofn.process((b"k", batch.encode()), Count())
    (flow,) = (flow for flow in flows_of(config, registry_of(config))["orders"] if flow.target == "nth")
    pack = _Pack(config, flow, 1)
    pack.setup()
    state = FakeState()
    (output,) = pack.process((b"s0", mutation.encode()), state.cell, state.bag)
    (letter,) = DeadLetterBatch.decode(output.value).letters
    assert (letter.reason, letter.attempt) == ("contract", 7)
