"""Tests of the demo on the real stack: database, Debezium, Kafka, Flink, warehouse."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def test_ten_seconds_of_traffic_arrive_exactly(tmp_path: Path) -> None:
    """A short demo on a stack of its own ends with exit code 0, the verdict, and its figures as JSON."""
    command = Path(sys.executable).with_name("tillstream")
    arguments = ["demo", "--duration", "10", "--rate", "200", "--json", "--dir", str(tmp_path / "stack")]
    finished = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=540, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    lines = finished.stdout.splitlines()
    figures = json.loads(lines[-1])
    assert (figures["missing"], figures["extra"], figures["mismatched"]) == (0, 0, 0)
    assert figures["events"] >= 2_800  # ten seconds of 200, one of them five times as dense
    assert figures["rows"] > 7_000
    assert 0 < figures["latency_ms_p50"] <= figures["latency_ms_p95"]
    assert figures["throughput_per_s"] > 0
    assert any(line.startswith("verdict: missing 0, extra 0, mismatched 0 (") for line in lines)
    assert any("first row after " in line for line in lines)
