"""The shipped example runs end to end: rows are judged and masked, letters too, and doubles are noticed."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline

from tillstream import configs
from tillstream.configs import ClientConfig, load
from tillstream.pipelines.errors import ExpectationError
from tillstream.pipelines.isolation.budget import last_stop
from tillstream.pipelines.template import build

EXAMPLES = Path(configs.__file__).parent / "examples"
DATA = (EXAMPLES / "data" / "people.jsonl").read_text(encoding="utf-8").splitlines()
PERSONAL = (
    "ada@",
    "bob@",
    "carol",
    "dave@",
    "erin@",
    "frank@",
    "Lovelace",
    "Builder",
    "+4915",
    "1980-",
    "1066-",
)


@pytest.fixture(autouse=True)
def _salt(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PRIVACY_SALT", "0123456789abcdef")
    yield
    last_stop()  # what stops a job is kept for the command that runs it


def example(tmp_path: Path) -> ClientConfig:
    """Return the example, writing into a folder of the test's."""
    return load(EXAMPLES / "private.yaml", {"TILLSTREAM_OUT": str(tmp_path)})


def run(config: ClientConfig) -> Any:
    """Run it on DirectRunner and return its counters."""
    pipeline = TestPipeline()
    build(pipeline, config, bounded=True)
    result = pipeline.run()
    result.wait_until_finish()
    found = result.metrics().query(beam.metrics.MetricsFilter().with_namespace("tillstream"))["counters"]
    return {each.key.metric.name: each.committed for each in found}


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return all lines of a folder's files."""
    paths = sorted(folder.glob("part-*"))
    return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_example(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each line of its data ends where the config says, and nothing that is written holds personal data."""
    with caplog.at_level(logging.WARNING):
        counters = run(example(tmp_path))
    customers, orders = lines(tmp_path / "customers"), lines(tmp_path / "orders")
    letters = lines(tmp_path / "_dead_letters")
    assert sorted(each["_offset"] for each in customers) == [1, 2, 4, 7]
    assert [each["_offset"] for each in orders] == [8]
    assert {(each["offset"], each["step"], each["reason"]) for each in letters} == {
        (3, "trust", "expectation:regex_email"),
        (5, "trust", "expectation:closed_after_registered"),
        (6, "trust", "expectation:range_birth_date"),
        (10, "transform", "contract"),
        (11, "read", "malformed"),
    }
    wanted = {name: count for name, count in counters.items() if name.startswith("expectation")}
    assert wanted == {
        "expectation_quarantine_customers_regex_email": 1,
        "expectation_quarantine_customers_closed_after_registered": 1,
        "expectation_quarantine_customers_range_birth_date": 1,
        "expectation_warn_customers_in_set_country": 1,
        "expectation_warn_customers_unique_phone": 1,
        "expectation_drop_orders_range_total": 1,
    }
    written = "".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file())
    assert [each for each in PERSONAL if each in written or each in caplog.text] == []
    assert all(any(each in line for line in DATA) for each in PERSONAL)
    # The order's customer and the customer have one token, and so have the delete and its row.
    by_offset = {each["_offset"]: each for each in customers}
    assert orders[0]["customer_email"] == by_offset[1]["email"]
    assert by_offset[7]["email"] == by_offset[2]["email"]
    assert by_offset[4]["phone"] == by_offset[2]["phone"]


@pytest.mark.parametrize("name", ["unique_phone", "in_set_country"])
def test_fail_stops_the_job(tmp_path: Path, name: str) -> None:
    """The error names client, entity and expectation, whether one row breaks it or two do."""
    config = example(tmp_path)
    people = config.entities["customers"]
    asked = [
        each.model_copy(update={"severity": "fail"}) if each.own_name == name else each
        for each in people.expectations
    ]
    entities = {**config.entities, "customers": people.model_copy(update={"expectations": asked})}
    with pytest.raises(
        (RuntimeError, ExpectationError), match=f"client private, entity customers: expectation {name}: found"
    ):
        run(config.model_copy(update={"entities": entities}))
