"""Fixtures are recorded from a client's source, without personal data."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tillstream.cli import app
from tillstream.configs import Column, load
from tillstream.pipelines.errors import UserError
from tillstream.testing import load_fixture, run, save_fixture, stream
from tillstream.transforms.testing.envelopes import envelope
from tillstream.transforms.testing.events import Table
from tillstream.transforms.testing.recording import record
from tillstream.transforms.testing.stand_ins import stand_in

CUSTOMERS = Table("customers", key="customer_id")
CONFIG = """
client: shop
source:
  files: {paths: [events.jsonl]}
entities:
  customers:
    topic: shop.public.customers
    key: [customer_id]
    contract:
      customer_id: int64
      email: {type: string, pii: email}
      contact: {type: string, pii: email}
      born: {type: date, pii: birth}
      points: {type: "decimal(8,2)", pii: points}
      visits: {type: int16, pii: visits}
      city: string
    sinks: [out]
sinks:
  out: {type: files, path: out}
"""

# Stand-ins are hexadecimal, and may hold these letters themselves.
ADA = re.compile(r"(?<![0-9a-z])ada@")


def row(number: int, **more: Any) -> dict[str, Any]:
    """Return a customer, with a column that no contract has."""
    email = f"ann{number}@shop.test"
    return {
        "customer_id": number,
        "email": email,
        "contact": email,
        "born": "1980-02-03",
        "points": "12.50",
        "visits": 3,
        "city": "Bern",
        "phone": "+41 79 000 00 00",
        **more,
    }


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a client's config; its source holds four changes of two customers."""
    events = stream(
        CUSTOMERS.created(row(1)),
        CUSTOMERS.created(row(2)),
        CUSTOMERS.updated(row(1, city="Basel")),
        CUSTOMERS.deleted({"customer_id": 2}),
    )
    lines = [envelope(event, "shop.public.customers") for event in events]
    (tmp_path / "events.jsonl").write_bytes(b"\n".join([*lines, b"{}", b""]))
    (tmp_path / "shop.yaml").write_text(CONFIG)
    return tmp_path / "shop.yaml"


def recorded(config: Path, *more: str) -> Path:
    """Return the fixture that the command writes."""
    out = config.with_name("customers.jsonl")
    done = CliRunner().invoke(
        app, ["transforms", "record", str(config), "customers", "--out", str(out), *more]
    )
    assert done.exit_code == 0, done.output
    assert "hidden: born, contact, email, points, visits" in done.output
    assert "left out, because no contract has them: phone" in done.output
    return out


def test_personal_data_is_hidden_and_the_rest_is_as_it_was(config: Path) -> None:
    """Nothing of what is marked is in the fixture, nor what nobody described; rows still fit together."""
    out = recorded(config)
    text = out.read_text()
    for secret in ("ann1", "ann2", "1980-02-03", "12.50", "+41", "phone"):
        assert secret not in text
    events = load_fixture(out)
    assert [event.operation.value for event in events] == ["c", "c", "u", "d"]
    first, second, third, _ = [event.after or {} for event in events]
    assert (first["customer_id"], first["city"], third["city"]) == (1, "Bern", "Basel")
    assert first["email"] == first["contact"] == third["email"] != second["email"]
    result = run(config, events)
    assert list(result.rows["customers"]) == [1]
    assert result.letters == []


KINDS = {
    "flag": ("bool", True, {}),
    "small": ("int16", 31_000, {}),
    "middle": ("int32", 2_000_000_000, {}),
    "big": ("int64", 1 << 60, {}),
    "aged": ("int16", 44, {"ge": 18, "le": 120}),
    "cold": ("int32", -4, {"lt": 0}),
    "fives": ("int32", 35, {"gt": 5, "multiple_of": 5}),
    "level": ("int16", 2, {"one_of": [1, 2]}),
    "short": ("float32", 1.5, {"ge": 1, "le": 2}),
    "long": ("float64", 1e300, {}),
    "rate": ("decimal(4,2)", "12.50", {}),
    "number": ("decimal(4,2)", 12.5, {}),
    "share": ("decimal(3,3)", "0.125", {"gt": 0, "lt": 1}),
    "round": ("decimal(6,2)", "1E+3", {"multiple_of": 0.5, "ge": 10}),
    "name": ("string", "Ada", {"max_length": 4}),
    "mail": ("string", "ada.of.a.long.name@shop.test.example", {"min_length": 30}),
    "phone": ("string", "+41 79 123 45 67", {"pattern": r"^\+\d+( \d+)+$"}),
    "blob": ("bytes", "QUJD", {"max_length": 3}),
    "day": ("date", "1980-02-03", {}),
    "hour": ("time", "10:00:00", {}),
    "local": ("timestamp", "1980-02-03T10:00:00", {}),
    "instant": ("timestamptz", "1980-02-03T10:00:00Z", {}),
    "id": ("uuid", "6f1c1e9e-9f0a-4d3c-8a51-000000000000", {}),
    "more": ("json", '{"a": 1}', {}),
}


def test_stand_ins_pass_the_contract_of_their_column(tmp_path: Path) -> None:
    """Of every type, and of rules."""
    contract = {
        name: {"type": kind, "pii": "any", **({"rules": rules} if rules else {})}
        for name, (kind, _, rules) in KINDS.items()
    }
    described = yaml.safe_load(CONFIG)
    described["entities"]["customers"]["contract"] = {"customer_id": "int64", **contract}
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump(described))
    values = {name: value for name, (_, value, _) in KINDS.items()}
    events = [CUSTOMERS.created({"customer_id": i, **values}) for i in range(60)]
    lines = [envelope(event, "shop.public.customers") for event in stream(*events)]
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(lines))
    out = tmp_path / "out.jsonl"
    client = load(tmp_path / "shop.yaml")
    assert run(client, events).letters == []
    seen: dict[str, set[str]] = {name: set() for name in KINDS}
    for _ in range(20):
        out.write_bytes(record(client, ["customers"], 3).text)
        result = run(client, load_fixture(out))
        assert result.letters == []
        for row in result.rows["customers"].values():
            for name in KINDS:
                seen[name].add(str(row[name]))
    assert {name for name, found in seen.items() if len(found) == 1} == {"more"}


@pytest.mark.parametrize(
    ("kind", "value", "low", "high"),
    [
        ("date", 18_000, -7_400, 13_000),
        ("time", 36_000_000, 0, 86_400_000),
        ("time", 36_000_000_000, 0, 86_400_000_000),
        ("timestamp", 1_700_000_000_000, 0, 1_800_000_000_000),
        ("timestamptz", 1_700_000_000_000_000, 0, 1_800_000_000_000_000),
    ],
)
def test_times_as_numbers_stay_in_their_range(kind: str, value: int, low: int, high: int) -> None:
    """Days, milliseconds and microseconds, as connectors send them."""
    found = {stand_in(value, Column("x", kind, nullable=True), bytes([i] * 32)) for i in range(50)}
    assert len(found) > 20
    assert all(low <= each <= high for each in found)


def test_personal_data_inside_of_other_columns_is_hidden(config: Path) -> None:
    """By the name of a marked column, in objects and in texts of JSON; the rest stays as it is."""
    text = config.read_text().replace("city: string", "city: string\n      extra: json\n      notes: json")
    config.write_text(text)
    secret = {"kept": 1.50, "deep": [{"email": "ada@shop.test", "born": None}]}
    rows = [
        row(1, extra=json.dumps(secret), notes=secret),
        row(2, extra='{"kept" : 1, "email": "ada@shop.test", "email": null}'),
    ]
    lines = [envelope(CUSTOMERS.created(each), "shop.public.customers") for each in rows]
    config.with_name("events.jsonl").write_bytes(b"\n".join(lines))
    first, second = [event.after or {} for event in load_fixture(recorded(config))]
    # A name that comes twice hides nothing.
    assert not ADA.search(json.dumps([first, second]))
    for found in (json.loads(first["extra"]), first["notes"]):
        assert found["kept"] == 1.5
        assert found["deep"][0]["born"] is None
        assert found["deep"][0]["email"].endswith("@example.com")
    assert json.loads(second["extra"]) == {"kept": 1, "email": None}


@pytest.mark.parametrize("damaged", ['["ada@example.com"]', "[1]", '"ada@example.com"', "7"])
@pytest.mark.parametrize("side", ["before", "after"])
def test_what_is_no_row_is_skipped_and_not_shown(config: Path, damaged: str, side: str) -> None:
    """The rows around it are recorded, and nothing of it is printed."""
    events = config.with_name("events.jsonl")
    line = json.loads(events.read_bytes().splitlines()[0])
    line[side] = json.loads(damaged)
    events.write_bytes(json.dumps(line).encode() + b"\n" + events.read_bytes())
    out = config.with_name("customers.jsonl")
    done = CliRunner().invoke(app, ["transforms", "record", str(config), "customers", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "4 events of customers" in done.output
    assert "left out, because no contract has them: phone\n" in done.output
    assert not ADA.search(done.output + out.read_text())


def test_an_entity_that_nobody_described_is_refused(config: Path) -> None:
    """Unless that is asked for, in which case all is as it was."""
    described = yaml.safe_load(config.read_text())
    del described["entities"]["customers"]["contract"]
    config.write_text(yaml.safe_dump(described))
    out = config.with_name("customers.jsonl")
    command = ["transforms", "record", str(config), "customers", "--out", str(out)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code != 0
    assert "entity 'customers': found no contract" in str(done.exception) + done.output
    assert not out.exists()
    done = CliRunner().invoke(app, [*command, "--unmasked"])
    assert done.exit_code == 0, done.output
    assert "ann1@shop.test" in out.read_text()


def test_two_recordings_cannot_be_put_side_by_side(config: Path) -> None:
    """The same value has another stand-in each time."""
    first, second = [load_fixture(recorded(config, *more))[0].after or {} for more in ((), ("--force",))]
    assert first["email"] != second["email"]


def test_count_and_newest(config: Path) -> None:
    """The oldest events are taken, or the newest."""
    oldest = load_fixture(recorded(config, "--count", "1"))
    newest = load_fixture(recorded(config, "--count", "2", "--newest", "--force"))
    assert [event.operation.value for event in (*oldest, *newest)] == ["c", "u", "d"]


def test_a_fixture_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    """Rows, times and order are kept."""
    events = stream(
        CUSTOMERS.snapshot(row(1)), CUSTOMERS.updated(row(1, city="Basel"), at="2026-03-01T12:00:00Z")
    )
    save_fixture(tmp_path / "saved.jsonl", events)
    found = load_fixture(tmp_path / "saved.jsonl")
    assert [(each.operation, each.after, each.source_time_us, each.position) for each in found] == [
        (each.operation, each.after, each.source_time_us, each.position) for each in events
    ]


def test_the_first_fixtures_are_still_read(tmp_path: Path) -> None:
    """Version 1, as the first release wrote it."""
    header = {"tillstream_fixture": 1, "entities": {"t": {"topic": "a.b.t", "key": ["id"]}}}
    source = {"connector": "postgresql", "ts_ms": 5, "sequence": '["7","8"]'}
    line = {"entity": "t", "value": {"op": "c", "before": None, "after": {"id": 1}, "source": source}}
    (tmp_path / "old.jsonl").write_text(f"{json.dumps(header)}\n{json.dumps(line)}\n")
    (event,) = load_fixture(tmp_path / "old.jsonl")
    assert (event.entity, event.key, event.after, event.source_time_us) == ("t", {"id": 1}, {"id": 1}, 5000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: found b''"),
        ('{"tillstream_fixture":9}\n', "line 1: .* expected a header of version 1"),
        ('{"tillstream_fixture":1,"entities":{}}\n{"entity":"x"}\n', "line 2: .* expected an envelope"),
        ('{"tillstream_fixture":1,"entities":{}}\n{', "line 2: .* expected a JSON object"),
    ],
)
def test_a_damaged_fixture_names_its_line(tmp_path: Path, text: str, message: str) -> None:
    """The file and the line are named, and what was expected."""
    (tmp_path / "bad.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        load_fixture(tmp_path / "bad.jsonl")
