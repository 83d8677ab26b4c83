"""A run on DirectRunner keeps to the client's limits too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import ErrorBudgetError
from tillstream.pipelines.isolation.process import shared
from tillstream.runners import direct

MODULE = """
import apache_beam as beam
from tillstream.transforms.api import transform

@transform("limited.refuse@1.0.0")
class Refuse(beam.DoFn):
    def process(self, event):
        raise KeyError("price")
"""


def test_past_the_budget_the_run_ends_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is one line for a person, and the dead letters are written before."""
    (tmp_path / "limited_transforms.py").write_text(MODULE)
    source = {"connector": "postgresql", "schema": "public", "table": "orders", "name": "limited", "ts_ms": 1}
    lines = [
        {"op": "c", "before": None, "after": {"id": number}, "source": {**source, "lsn": number}}
        for number in range(20)
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    orders = {
        "topic": "limited.public.orders",
        "key": ["id"],
        "transform": "limited.refuse@1.0.0",
        "sinks": ["out"],
    }
    config = ClientConfig.model_validate(
        {
            "client": "limited",
            "source": {"files": {"paths": [str(tmp_path / "in.jsonl")]}},
            "entities": {"orders": orders},
            "sinks": {"out": {"type": "files", "path": str(tmp_path / "out")}},
            "transforms": {"modules": ["limited_transforms"], "path": str(tmp_path)},
            "limits": {"errors_max": 10},
        }
    )
    monkeypatch.setattr(shared().watchdog, "stuck", shared().watchdog.stuck)
    with pytest.raises(ErrorBudgetError, match="the job has stopped itself: client limited: 20 records"):
        direct.run(config)
    written = "".join(path.read_text() for path in (tmp_path / "out").rglob("*.jsonl"))
    assert written.count("KeyError: 'price'") >= 20
