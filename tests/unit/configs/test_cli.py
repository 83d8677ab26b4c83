"""`tillstream validate` and `tillstream schema`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tillstream import configs
from tillstream.configs.cli import app

CLIENTS = Path(configs.__file__).parent / "clients"


def test_good_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A good file gets its `ok`, and the command succeeds."""
    monkeypatch.setenv("TILLSTREAM_DIR", str(tmp_path))
    files = [str(CLIENTS / "acme.yaml"), str(CLIENTS / "globex.yaml")]
    found = CliRunner().invoke(app, ["validate", *files])
    assert (found.exit_code, found.output.splitlines()) == (0, [f"{file}: ok" for file in files])


def test_bad_files(tmp_path: Path) -> None:
    """All problems of all files are printed, good files among them are told so, and the exit code is 2."""
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("client: A\n", encoding="utf-8")
    second.write_text(
        (CLIENTS / "globex.yaml").read_text(encoding="utf-8").replace("euros@1.0.0", "euros@9.0.0"), "utf-8"
    )
    found = CliRunner().invoke(app, ["validate", str(first), str(CLIENTS / "acme.yaml"), str(second)])
    assert found.exit_code == 2
    assert f"{first}:1: client: found 'A'" in found.output
    assert f"{first}:1: entities: found nothing" in found.output
    assert f"{CLIENTS / 'acme.yaml'}: ok" in found.output
    line = (
        second.read_text(encoding="utf-8").splitlines().index("    transform: globex.price_in_euros@9.0.0")
        + 1
    )
    problem = f"{second}:{line}: entities.prices.transform: found 'globex.price_in_euros@9.0.0', expected"
    assert problem in found.output


def test_schema() -> None:
    """The schema is one JSON document that knows the top fields."""
    found = CliRunner().invoke(app, ["schema"])
    assert {"client", "source", "entities", "sinks"} <= set(json.loads(found.stdout)["properties"])


def test_configs_are_cheap_to_import() -> None:
    """Loading a config imports neither Beam nor clients of brokers and databases."""
    code = (
        "import sys, tillstream.configs.cli;"
        "sys.exit(bool({'apache_beam', 'confluent_kafka', 'psycopg', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
