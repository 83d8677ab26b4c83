"""Changes are gathered by shard."""

from __future__ import annotations

import json

import pytest

from tillstream.configs import ClientConfig
from tillstream.io.collector import ChangeCollector
from tillstream.pipelines.errors import SchemaFrozenError
from tillstream.pipelines.records import ChangeBatch

CONFIG = ClientConfig.model_validate(
    {
        "client": "acme",
        "source": {"kafka": {"bootstrap_servers": "b:9092"}},
        "entities": {
            "rates": {
                "topic": "acme.public.rates",
                "key": ["rate"],
                "contract": {"rate": "decimal(10,2)"},
                "sinks": ["out"],
            }
        },
        "sinks": {"out": {"type": "files", "path": "out"}},
        "flink": {"shards": 128},
    }
)


def _line(rate: str) -> bytes:
    source = {"connector": "postgresql", "name": "acme", "schema": "public", "table": "rates"}
    return json.dumps({"op": "c", "after": {"rate": rate}, "source": source}).encode()


def test_decimal_keys_are_spelt_as_their_contract_says() -> None:
    """Changes of one key travel in one batch, in order, whatever its spelling."""
    collector = ChangeCollector(CONFIG)
    for number, rate in enumerate(("1.5", "1.50", "1.500")):
        collector.add_line("rates.jsonl", number, _line(rate))
    ((_, frame),) = [found for found in collector.flush() if isinstance(found, tuple)]
    assert [(r.key, r.offset) for r in ChangeBatch.decode(frame).records] == [
        (("1.50",), 0),
        (("1.50",), 1),
        (("1.50",), 2),
    ]


def test_a_topic_that_nobody_knows_stops_a_job_whose_tables_are_frozen() -> None:
    """The error names the topic and what to do."""
    frozen = {**CONFIG.model_dump(by_alias=True), "schema_evolution": {"tables": "freeze"}}
    collector = ChangeCollector(ClientConfig.model_validate(frozen))
    line = _line("1").replace(b'"rates"', b'"others"')
    with pytest.raises(SchemaFrozenError, match=r"acme\.public\.others.*tables is freeze: add an entity"):
        collector.add_line("rates.jsonl", 0, line)
