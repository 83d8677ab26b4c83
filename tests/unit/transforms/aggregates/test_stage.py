"""Aggregates in a whole pipeline: labels and state that stay, and files in, files out on DirectRunner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tillstream.configs import ClientConfig
from tillstream.runners import direct
from tillstream.runners.flink.jar import pipeline_proto

ENTITIES = {
    "orders": {"topic": "acme.public.orders", "key": ["order_id"], "sinks": ["out"]},
    "hours": {
        "from": "orders",
        "key": ["store_id", "hour"],
        "transform": "acme.sales_per_store_and_hour@1.0.0",
        "sinks": ["out"],
    },
    "rolling": {
        "from": "orders",
        "key": ["store_id", "until"],
        "transform": "acme.rolling_hour_per_store@1.0.0",
        "sinks": ["out"],
    },
}


def client(folder: Path, **source: Any) -> ClientConfig:
    """Return a client with two aggregates of one table."""
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": source or {"files": {"paths": [str(folder / "in.jsonl")]}},
            "entities": ENTITIES,
            "sinks": {"out": {"type": "files", "path": str(folder / "out")}},
        }
    )


def line(place: int, order: int, store: int, total: str, *, minute: int = 5, op: str = "u") -> str:
    """Return an envelope of an order."""
    row = {"order_id": order, "reference": "6f1c0000-0000-4000-8000-000000000001", "customer_id": 7}
    row |= {"store_id": store, "status": "placed", "total": total, "note": None}
    row |= {"ordered_at": f"2026-03-01T08:{minute:02}:00Z"}
    source = {"connector": "postgresql", "name": "acme", "schema": "public", "table": "orders"}
    source |= {"ts_ms": 1_772_352_000_000 + place, "sequence": f'["{place}","{place}"]'}
    before, after = (row, None) if op == "d" else (None, row)
    return json.dumps({"op": op, "before": before, "after": after, "source": source})


def final_rows(folder: Path, key: tuple[str, ...]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return the last version of each row of an entity's JSON lines."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for part in sorted(folder.rglob("part-*.jsonl")):
        for each in map(json.loads, part.read_text().splitlines()):
            place = tuple(each[column] for column in key)
            found.pop(place, None)
            if not each.get("_deleted"):
                found[place] = each
    return found


def test_files_in_files_out(tmp_path: Path) -> None:
    """A bounded run ends in the aggregates of the final rows, of fixed and of sliding windows."""
    lines = [
        line(1, 1, 3, "10.00"),
        line(2, 2, 3, "5.50", minute=59),
        line(3, 3, 4, "7.00"),
        line(4, 1, 3, "12.00"),
        line(5, 3, 4, "7.00", op="d"),
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")
    direct.run(client(tmp_path))
    hours = final_rows(tmp_path / "out" / "hours", ("store_id", "hour"))
    live = [each for each in hours.values() if each.get("orders")]
    assert [(each["store_id"], each["orders"], each["revenue"], each["largest_order"]) for each in live] == [
        (3, 2, "17.50", "12.00")
    ]
    rolling = final_rows(tmp_path / "out" / "rolling", ("store_id", "until"))
    counts = sorted((each["until"][11:16], each["orders"]) for each in rolling.values() if each.get("orders"))
    assert counts[0] == ("08:10", 1)
    assert counts[-1] == ("09:55", 1)
    assert sum(count for _, count in counts) == 24
    assert not (tmp_path / "out" / "_dead_letters").exists()


@pytest.fixture(scope="module")
def proto(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the streaming pipeline in Beam's portable form."""
    found = client(tmp_path_factory.mktemp("c"), kafka={"bootstrap_servers": "127.0.0.1:9092"})
    return pipeline_proto(found, bounded=False)


def test_label_and_state_are_pinned(proto: Any) -> None:
    """All of a client's aggregates are one stage, whose state is found again under these names."""
    from apache_beam.portability.api import beam_runner_api_pb2

    states = {}
    for each in proto.components.transforms.values():
        if each.spec.urn == "beam:transform:pardo:v1":
            payload = beam_runner_api_pb2.ParDoPayload()
            payload.ParseFromString(each.spec.payload)
            states[each.unique_name] = set(payload.state_specs)
    assert states["Aggregate/ParDo(AggregateChanges)"] == {"aggregate_head", "aggregate_log"}
    assert [name for name in states if "Aggregate" in name] == ["Aggregate/ParDo(AggregateChanges)"]


def test_elements_are_bytes_between_stages(proto: Any) -> None:
    """No element crosses a stage boundary pickled."""
    assert not [each for each in proto.components.coders.values() if "pickled" in each.spec.urn]
