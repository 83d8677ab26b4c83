"""The commands on jobs, on the real stack: launch, status, pause, resume, cancel, logs, history."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tillstream.cli import app

from .conftest import Client, change, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


# Of a machine that has other things to do.
PATIENT = ("--timeout", "150")


class Operator:
    """Run commands for one client.

    Args:
        client: the test's.
        folder: that holds its config.
    """

    def __init__(self, client: Client, folder: Path) -> None:
        self.client = client
        self.folder = folder
        self.write()

    def write(self, **changes: Any) -> None:
        """Write the client's config."""
        config = self.client.config(**changes)
        path = self.folder / f"{config.client}.yaml"
        path.write_text(
            yaml.safe_dump(config.model_dump(mode="json", by_alias=True, exclude_none=True)), encoding="utf-8"
        )

    def run(self, command: str, *options: str, code: int = 0) -> dict[str, Any]:
        """Run a command with `--json`, and return what it says of the client."""
        arguments = [command, self.client.name, "--folder", str(self.folder), *options, "--json"]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == code, (result.output, result.exception)
        found: dict[str, Any] = json.loads(result.stdout)
        return found["clients"][0] if "clients" in found else found

    def status(self) -> dict[str, Any]:
        """Return the client's status, whatever the exit code."""
        found = CliRunner().invoke(app, ["status", self.client.name, "--folder", str(self.folder), "--json"])
        told: dict[str, Any] = json.loads(found.stdout)["clients"][0]
        assert found.exit_code == (0 if told["is_healthy"] else 1)
        return told


@pytest.fixture
def operator(client: Client, tmp_path: Path) -> Operator:
    """Return an operator of this test's client, whose topic is there."""
    client.create_topic(2)
    return Operator(client, tmp_path)


def test_a_day_of_a_job(operator: Operator) -> None:
    """It is launched, watched, paused over a burst, resumed and cancelled; all is exact, and remembered."""
    client = operator.client
    assert operator.status()["state"] == "absent"
    client.sales(0, 300)
    launched = operator.run("launch", *PATIENT)
    assert (launched["outcome"], launched["savepoint"]) == ("launched", None)
    wait_until(lambda: client.rows() == 300, "the first rows")
    assert operator.run("launch")["outcome"] == "runs already"
    operator.write(dedup={"horizon_s": 77})
    refused = operator.run("launch", code=2)
    assert refused["outcome"] == "refused"
    assert f"tillstream upgrade {client.name}" in refused["detail"]
    operator.write()
    found = wait_until(lambda: (told := operator.status())["lag"] == 0 and told, "no lag")
    assert (found["state"], found["parallelism"], found["restarts"]) == ("running", 1, 0)
    assert found["checkpoint"]["age_s"] < 30

    paused = operator.run("pause")
    assert paused["outcome"] == "paused"
    assert operator.run("pause") == {**paused, "outcome": "paused already"}
    assert operator.status()["state"] == "paused"
    client.sales(300, 2000)
    client.produce((b'{"id":%d}' % key, change(key, "2.00", 10_000 + key)) for key in range(100))
    resumed = operator.run("resume", *PATIENT)
    assert (resumed["outcome"], resumed["savepoint"]) == ("resumed", paused["savepoint"])
    assert operator.run("resume")["outcome"] == "runs already"
    exact = [(2300, 2300 + 100)]
    wait_until(lambda: client.query("select count(*), sum(amount) from sales") == exact, "the burst")

    cancelled = operator.run("cancel")
    assert cancelled["savepoint"].rpartition("/")[2].startswith("chk-")
    assert operator.run("cancel")["outcome"] == "does not run"
    assert operator.run("launch", *PATIENT)["savepoint"] == cancelled["savepoint"]
    client.sales(2300, 10)
    wait_until(lambda: client.rows() == 2310, "rows after the launch")
    assert client.query("select sum(amount) from sales") == [(2410,)]
    lines = operator.run("logs")["lines"]
    assert any(f"[{client.name}] sink warehouse: connected" in line["text"] for line in lines)
    told = operator.run("history")["entries"]
    actions = [each["action"] for each in told if each["outcome"] == "done"]
    assert actions == ["launch", "pause", "resume", "cancel", "launch"]
    assert operator.run("history", "--verify") == {"client": client.name, "entries": 10, "fault": None}


def test_a_job_that_fails_again_and_again_is_paused_all_the_same(operator: Operator) -> None:
    """Its newest checkpoint takes the place of a savepoint; nothing is lost when what failed is mended."""
    client = operator.client
    client.sales(0, 100)
    operator.run("launch", *PATIENT)
    wait_until(lambda: client.rows() == 100, "the first rows")
    # A missing table or column would be made anew.
    client.execute("alter table sales rename to kept; create view sales as select * from kept limit 1")
    client.sales(100, 100)
    found = wait_until(
        lambda: (told := operator.status())["restarts"] and told["cause"] and told, "a restart"
    )
    assert not found["is_healthy"]
    assert "sales" in found["cause"]
    paused = operator.run("pause", "--timeout", "5")
    client.execute("drop view sales; alter table kept rename to sales")
    client.sales(200, 100)
    assert operator.run("resume", *PATIENT)["savepoint"] == paused["savepoint"]
    wait_until(lambda: client.query("select count(*), sum(amount) from sales") == [(300, 300)], "all rows")
    failures = [line for line in operator.run("logs")["lines"] if line["source"] == "failure"]
    assert any("sales" in line["text"] for line in failures)
