"""Transforms and contracts answer on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tillstream.cli import app
from tillstream.pipelines.errors import TransformError

MODULE = '''
import apache_beam as beam
from pydantic import BaseModel
from tillstream.transforms.api import KeyedState, Lookup, transform
from tillstream.transforms.contracts.models import field

class In(BaseModel):
    order_id: int = field(key=True)

class Out(In):
    email: str | None = field(None, pii="email", description="Where to.", max_length=9)

@transform("clitest.mails@1.0.0", input=In, output=In)
class Old(beam.DoFn):
    def process(self, event):
        yield event.upsert(event.after)

@transform("clitest.mails@1.10.0", input=In, output=Out)
class Mails(beam.DoFn):
    """Find out where to write to."""

    def process(self, event, customer=Lookup("customers", on="order_id"), seen=KeyedState(horizon_s=60)):
        yield event.upsert(event.after)
'''
CONFIG = """
client: clitest
source: {files: {paths: [in.jsonl]}}
transforms: {modules: [clitest_transforms], path: .}
entities:
  customers: {topic: a.b.customers, key: [order_id], contract: {order_id: int32}, sinks: [out]}
  mails: {topic: a.b.mails, key: [order_id], transform: clitest.mails@1.0.0, sinks: [out]}
sinks: {out: {type: files, path: out, format: parquet}}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    """Return the path of a config whose module lies beside it."""
    (tmp_path / "clitest_transforms.py").write_text(MODULE)
    (tmp_path / "c.yaml").write_text(CONFIG)
    return str(tmp_path / "c.yaml")


def run(*arguments: str, code: int = 0) -> str:
    """Return what a command prints."""
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def test_list_tells_versions_and_who_pins_them(config: str) -> None:
    """Versions stand in the order of their numbers."""
    found = {each["name"]: each for each in json.loads(run("transforms", "list", config, "--json"))}
    assert found["clitest.mails"]["versions"] == ["1.0.0", "1.10.0"]
    assert found["clitest.mails"]["pinned"] == {"1.0.0": ["mails"]}
    lines = run("transforms", "list", config).splitlines()
    assert any(
        line.split() == ["clitest.mails", "1.0.0,", "1.10.0", "clitest_transforms", "mails", "(1.0.0)"]
        for line in lines
    )


def test_show_tells_what_a_transform_says_of_itself(config: str) -> None:
    """Without a version it is the newest."""
    text = run("transforms", "show", "clitest.mails", "--config", config)
    assert text.startswith("clitest.mails@1.10.0  (clitest_transforms.Mails)\n\nFind out where to write to.")
    line = next(line for line in text.splitlines() if line.startswith("email"))
    assert line.split() == ["email", "string", "yes", "email", "max_length", "9", "Where", "to."]
    assert "lookups: customer: customers by order_id" in text
    assert "state: seen: state, 60 s of event time" in text
    about = json.loads(run("transforms", "show", "clitest.mails@1.0.0", "--config", config, "--json"))
    assert list(about["contracts"]) == ["input", "output"]


def test_an_unknown_name_is_told_its_near_matches(config: str) -> None:
    """The error is a person's to mend: exit code 2."""
    with pytest.raises(TransformError, match=r"clitest\.mails@1\.0\.0"):
        run("transforms", "show", "clitest.mail@1.0.0", "--config", config)


def test_diff_is_for_ci(config: str, tmp_path: Path) -> None:
    """The exit code says whether what is asked for holds, everywhere that the rows go."""
    old, new = "clitest.mails@1.0.0", "clitest.mails@1.10.0"
    text = run("contract", "diff", old, new, "--config", config, "--require", "full")
    assert "backward" not in text.splitlines()[2]
    narrowed = f"{config}:customers"
    found = json.loads(run("contract", "diff", old, narrowed, "--config", config, "--json", code=1))
    assert found["verdicts"] == {"rows": "forward", "parquet": "forward"}
    run("contract", "diff", old, narrowed, "--config", config, "--require", "forward")
    schema = tmp_path / "s.json"
    schema.write_text(
        '{"type": "object", "properties": {"order_id": {"type": "integer"}}, "required": ["order_id"]}'
    )
    run("contract", "diff", str(schema), "clitest_transforms:In", "--sink", "postgres", "--require", "full")


def test_diff_warns_where_keys_are_not_known(config: str, tmp_path: Path) -> None:
    """A config's entity has its key from the config; a schema that marks none is named."""
    schema = tmp_path / "s.json"
    schema.write_text('{"type": "object", "properties": {"v": {"type": "integer"}}}')
    entity = f"{config}:customers"
    text = run("contract", "diff", entity, str(schema), "--config", config, code=1)
    assert f"warning: new contract {schema} marks no key" in text
    found = json.loads(run("contract", "diff", str(schema), str(schema), "--config", config, "--json"))
    assert [each.split(" ")[0] for each in found["warnings"]] == ["old", "new"]
    assert "warning" not in run("contract", "diff", entity, "clitest_transforms:Out", "--config", config)


@pytest.mark.parametrize("wrong", ["nothing", "clitest.mails@1.0.0:output.x", "nowhere:Model", "json:loads"])
def test_a_contract_that_is_none_is_told_what_is_expected(config: str, wrong: str) -> None:
    """Each form of a reference has its own message."""
    with pytest.raises(TransformError):
        run("contract", "diff", wrong, wrong, "--config", config)
