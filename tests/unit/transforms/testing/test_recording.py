"""Fixtures are recorded from a client's source, without personal data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tillstream.cli import app
from tillstream.pipelines.errors import UserError
from tillstream.testing import load_fixture, run, save_fixture, stream
from tillstream.transforms.testing.envelopes import envelope
from tillstream.transforms.testing.events import Table

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
