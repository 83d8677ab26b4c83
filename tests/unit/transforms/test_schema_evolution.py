"""A client's policy of schema evolution holds where rows are copied and where transforms take them in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from apache_beam.pvalue import TaggedOutput

from tillstream.configs import ClientConfig, load
from tillstream.pipelines.errors import ConfigError, SchemaFrozenError, TransformError
from tillstream.pipelines.isolation.budget import StopNote, last_stop
from tillstream.pipelines.isolation.process import FLIGHTS_VARIABLE
from tillstream.pipelines.records import ChangeBatch, ChangeRecord, DeadLetterBatch, MutationBatch, Operation
from tillstream.transforms.fake_state import FakeState
from tillstream.transforms.resolving import resolve
from tillstream.transforms.transform_changes import TransformChanges

MODULE = """
import apache_beam as beam
from pydantic import BaseModel
from tillstream.transforms import field, transform

class Order(BaseModel):
    order_id: int
    total: int = field(type="int32", ge=0)

class Out(BaseModel):
    order_id: int
    seen: str = field(max_length=50, pii="name", unit="words")

@transform("evolvetest.keys@1.0.0", input=Order, output=Out)
class Keys(beam.DoFn):
    def process(self, event):
        seen = " ".join(map(str, event.after.items()))
        yield event.upsert({"order_id": event.after["order_id"], "seen": seen})
"""
CONTRACT = {"order_id": "int64", "total": "int32"}


@pytest.fixture
def client(tmp_path: Path) -> Callable[..., ClientConfig]:
    """Return a function that makes a client whose orders are copied, and a view made of them."""
    (tmp_path / "evolvetest_transforms.py").write_text(MODULE)

    def made(view: dict[str, Any] | None = None, **policy: Any) -> ClientConfig:
        orders = {"topic": "shop.public.orders", "key": ["order_id"], "sinks": ["out"], "contract": CONTRACT}
        keys = {"from": "orders", "key": ["order_id"], "sinks": ["out"], "transform": "evolvetest.keys@1.0.0"}
        return ClientConfig.model_validate(
            {
                "client": "evolvetest",
                "source": {"files": {"paths": ["in.jsonl"]}},
                "entities": {"orders": orders, "keys": {**keys, **(view or {})}},
                "transforms": {"modules": ["evolvetest_transforms"], "path": str(tmp_path)},
                "sinks": {"out": {"type": "files", "path": "/out"}},
                "schema_evolution": policy,
            }
        )

    return made


def run(client: ClientConfig, *rows: dict[str, Any]) -> tuple[list[Any], list[tuple[Any, ...]]]:
    """Return (entity, columns, values, evolved) of what is made of rows, and (entity, reason) of letters."""
    stage = TransformChanges(resolve(client))
    stage.setup()
    stage.start_bundle()
    records = tuple(
        ChangeRecord(at, Operation.CREATE, (row["order_id"],), (at,), at, None, msgspec.json.encode(row))
        for at, row in enumerate(rows)
    )
    batch = ChangeBatch("evolvetest", "orders", 0, "shop.public.orders", 0, ("order_id",), records)
    state = [FakeState() for _ in range(3)]
    cells = [cell for each in state for cell in (each.cell, each.bag)]
    made: list[Any] = []
    letters: list[tuple[Any, ...]] = []
    for each in stage.process((b"s0", batch.encode()), *cells):
        if isinstance(each, TaggedOutput):
            found = DeadLetterBatch.decode(each.value).letters
            letters += [(letter.entity, letter.reason, letter.step) for letter in found]
        else:
            out = MutationBatch.decode(each[1])
            made += [(out.entity, out.columns, record.values, out.evolved) for record in out.records]
    return made, letters


def seen(made: list[Any]) -> list[str]:
    """Return what the view's transform saw of each row."""
    return [values[1] for entity, _, values, _ in made if entity == "keys"]


PLAIN = {"order_id": 1, "total": 5}
WIDE = {"order_id": 2, "total": 5, "promo": "x"}


def test_the_default_leaves_new_columns_out_and_refuses_values(client: Callable[..., ClientConfig]) -> None:
    """Nothing changes for a client that says nothing."""
    made, letters = run(client(), PLAIN, WIDE, {"order_id": 3, "total": "much"})
    assert [values for entity, _, values, _ in made if entity == "orders"] == [(1, 5), (2, 5)]
    assert seen(made) == ["('order_id', 1) ('total', 5)", "('order_id', 2) ('total', 5)"]
    assert letters == [("orders", "contract", "transform"), ("keys", "contract", "transform")]


def test_what_evolves_is_delivered_and_seen_by_transforms(client: Callable[..., ClientConfig]) -> None:
    """Copies carry the column with its type; a DoFn sees it in its event; types widen for both."""
    made, letters = run(
        client(columns="evolve", types="evolve"), PLAIN, WIDE, {"order_id": 3, "total": 1 << 40}
    )
    assert letters == []
    assert [each[1:] for each in made if each[0] == "orders"] == [
        (("order_id", "total"), (1, 5), ()),
        (("order_id", "total", "promo"), (2, 5, "x"), (("promo", "string"),)),
        (("order_id", "total", "promo"), (3, 1 << 40, None), (("promo", "string"), ("total", "int64"))),
    ]
    assert seen(made)[1:] == [
        "('order_id', 2) ('total', 5) ('promo', 'x')",
        f"('order_id', 3) ('total', {1 << 40})",
    ]


def test_a_row_is_discarded_by_each_entity_for_itself(client: Callable[..., ClientConfig]) -> None:
    """An entity's own policy goes before the client's, and by_column before both."""
    made, letters = run(client({"schema_evolution": {"columns": "discard_row"}}), PLAIN, WIDE)
    assert letters == [("keys", "schema", "transform")]
    assert len(made) == 3
    view = {"schema_evolution": {"by_column": {"promo": "discard_value"}}}
    made, letters = run(client(view, columns="discard_row"), WIDE)
    assert letters == [("orders", "schema", "transform")]
    assert seen(made) == ["('order_id', 2) ('total', 5)"]


@pytest.mark.parametrize("view", [{}, {"schema_evolution": {"columns": "freeze"}}])
def test_what_is_frozen_stops_the_job(client: Callable[..., ClientConfig], view: dict[str, Any]) -> None:
    """No guard around a client's code takes it for a bad record."""
    frozen = client(view) if view else client(columns="freeze")
    assert run(frozen, PLAIN)[1] == []
    with pytest.raises(SchemaFrozenError, match="'promo'"):
        run(frozen, PLAIN, WIDE)


def test_a_stop_is_noted_for_whoever_would_start_the_job_again(
    client: Callable[..., ClientConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flink restarts without end; the note ends that, with the reason."""
    monkeypatch.setenv(FLIGHTS_VARIABLE, str(tmp_path))
    with pytest.raises(SchemaFrozenError) as caught:
        run(client(columns="freeze"), WIDE)
    note = StopNote.read(tmp_path)
    assert note is not None
    assert note.reason == str(caught.value)
    assert last_stop() is caught.value


def test_both_sides_of_a_transform_keep_its_rules(client: Callable[..., ClientConfig]) -> None:
    """Input and output letters name field and rule alike; the view takes over what the model says of it."""
    config = client()
    _, letters = run(config, {"order_id": 1, "total": -1}, {"order_id": 1 << 62, "total": 1 << 30})
    assert letters == [("keys", "contract", "transform"), ("keys", "contract", "transform")]
    (_, column) = resolve(config).entities["keys"].columns()
    assert (column.pii, column.unit) == ("name", "words")
    assert column.rules is not None
    assert column.rules.max_length == 50


def test_rules_of_config_and_transform_must_agree(client: Callable[..., ClientConfig]) -> None:
    """A config's contract without rules takes over the model's; other rules contradict it."""
    column: dict[str, Any] = {"type": "string", "nullable": False}
    view = {"contract": {"order_id": "int64", "seen": column}}
    found = resolve(client(view)).entities["keys"].columns()[1]
    assert found.rules is not None
    assert found.rules.max_length == 50
    column["rules"] = {"max_length": 60}
    with pytest.raises(TransformError, match="'seen' has other rules"):
        resolve(client(view))


def test_a_policy_without_a_contract_is_a_mistake(tmp_path: Path) -> None:
    """Nothing could deviate; the message names the line."""
    path = tmp_path / "c.yaml"
    path.write_text(
        "client: shop\n"
        "source: {files: {paths: [in.jsonl]}}\n"
        "entities:\n"
        "  orders:\n"
        "    topic: shop.public.orders\n"
        "    key: [id]\n"
        "    sinks: [out]\n"
        "    schema_evolution: {columns: evolve}\n"
        "sinks: {out: {type: files, path: out}}\n"
    )
    with pytest.raises(ConfigError, match=r"c\.yaml:8: entities\.orders\.schema_evolution: found it without"):
        load(path)


def test_rules_stand_in_configs_too(tmp_path: Path) -> None:
    """A rule that its type cannot be checked for is named with its line."""
    path = tmp_path / "c.yaml"
    text = (
        "client: shop\n"
        "source: {files: {paths: [in.jsonl]}}\n"
        "entities:\n"
        "  orders:\n"
        "    topic: shop.public.orders\n"
        "    key: [id]\n"
        "    sinks: [out]\n"
        "    contract:\n"
        "      id: int64\n"
        "      mail: {type: string, pii: email, rules: {%s}}\n"
        "sinks: {out: {type: files, path: out}}\n"
    )
    path.write_text(text % "max_length: 9")
    column = load(path).entities["orders"].columns()[1]
    assert column.rules is not None
    assert (column.pii, column.rules.max_length) == ("email", 9)
    for wrong, told in (("ge: 1", "found rule ge on type string"), ("pattern: (", "regular expression")):
        path.write_text(text % wrong)
        with pytest.raises(ConfigError, match=rf"c\.yaml:10: .*{told}"):
            load(path)
