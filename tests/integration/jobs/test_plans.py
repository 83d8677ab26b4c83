"""A plan against a job that runs, and that Flink then does what the plan said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner

from tillstream import configs
from tillstream.cli import app
from tillstream.configs import ClientConfig, load
from tillstream.pipelines.errors import UnavailableError, UserError
from tillstream.runners.flink.checkpoints import read_checkpoint
from tillstream.runners.flink.jar import write_jar
from tillstream.runners.jobs.history import HISTORY_VARIABLE
from tillstream.runners.jobs.job import ClientJob
from tillstream.runners.jobs.plan import Plan, plan_of

from .conftest import Client, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

_NASTY = Path(__file__).resolve().parents[1] / "nasty"
_ROWS = 200


class Planned:
    """Build and plan versions of a client's job.

    Args:
        client: whose.
        jars: folder of the Flink runner's jars.
        folder: for templates.
    """

    def __init__(self, client: Client, jars: Path, folder: Path) -> None:
        self._client, self._jars, self._folder = client, jars, folder

    def plain(self, version: str = "1.0.0") -> dict[str, Any]:
        """Return a config with a transform, and a view whose totals a stage of its own keeps."""
        acme = load(Path(configs.__file__).parent / "clients" / "acme.yaml", {}).plain()["entities"]
        orders = {**acme["orders"], "topic": f"{self._client.name}.public.orders"}
        config = self._client.config().plain()
        config["entities"]["sales"]["transform"] = f"nasty.sales@{version}"
        config["entities"] |= {"orders": orders, "per_hour": acme["sales_per_store_and_hour"]}
        config["transforms"] = {"modules": ["tillstream_nasty"], "path": str(_NASTY)}
        return config

    def template(self, config: ClientConfig) -> Path:
        """Build a version."""
        path = self._folder / f"{len(list(self._folder.iterdir()))}.jar"
        write_jar(config, path, self._jars, bounded=False)
        return path

    def plan(self, change: Callable[[dict[str, Any]], Any], version: str = "1.0.0") -> Plan:
        """Plan a version that differs from the first one."""
        config = self.config(change, version)
        return plan_of(ClientJob(config), self.template(config))

    def config(
        self, change: Callable[[dict[str, Any]], Any] = lambda _: None, version: str = "1.0.0"
    ) -> ClientConfig:
        """Return the config of a version."""
        plain = self.plain(version)
        change(plain)
        return ClientConfig.model_validate(plain)


@pytest.fixture
def planned(client: Client, runner_jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planned:
    """Return a client's versions; the topics are there, and one has changes."""
    monkeypatch.setenv(HISTORY_VARIABLE, str(tmp_path / "history"))
    (tmp_path / "jars").mkdir()
    client.create_topic(1)
    admin = AdminClient({"bootstrap.servers": client.stack.addresses.kafka})
    for future in admin.create_topics([NewTopic(f"{client.name}.public.orders", 1, 1)]).values():
        future.result()
    client.sales(0, _ROWS)
    return Planned(client, runner_jars, tmp_path / "jars")


def _without_view(config: dict[str, Any]) -> None:
    del config["entities"]["per_hour"]


def test_flink_does_what_the_plan_says(client: Client, planned: Planned, tmp_path: Path) -> None:
    """Each verdict against the job and its newest checkpoint; then a restore, a drop, and two refusals."""
    first = planned.config()
    assert plan_of(ClientJob(first), planned.template(first)).verdict == "new"
    job_id = ClientJob(first).start(planned.template(first), "launch", deadline_s=120).job_id
    wait_until(lambda: client.rows() == _ROWS, "the first rows")
    wait_until(lambda: ClientJob(first).newest_checkpoint(job_id), "a checkpoint")

    found = planned.plan(lambda _: None)
    assert (found.verdict, found.job_id, found.notes) == ("no_change", job_id, ())
    assert planned.plan(lambda config: config["flink"].update(parallelism=2)).verdict == "restart"
    newer = planned.plan(lambda _: None, "1.0.1")
    assert newer.verdict == "restore"
    assert "sales: nasty.sales@1.0.0 -> nasty.sales@1.0.1" in "\n".join(newer.lines())
    fewer = planned.plan(_without_view, "1.0.1")
    assert (fewer.verdict, {each.stage for each in fewer.lost}) == ("restore_without", {"Aggregate"})
    assert fewer.drops_state
    assert planned.plan(lambda config: config["flink"].update(shards=8)).verdict == "refused"
    assert planned.plan(lambda config: config["flink"].update(max_parallelism=64)).verdict == "refused"

    path = tmp_path / "client.yaml"
    path.write_text(yaml.safe_dump(planned.plain("1.0.1")), encoding="utf-8")
    said = CliRunner().invoke(app, ["plan", str(path), "--json"])
    assert said.exit_code == 10, said.output
    assert json.loads(said.stdout)["verdict"] == "restore"

    savepoint = client.savepoint(job_id)
    states = read_checkpoint(savepoint).states
    assert states is not None
    assert any("offset" in names for names in states.values())
    less = planned.config(_without_view, "1.0.1")
    with pytest.raises(UserError, match="no longer has"):
        ClientJob(less).start(planned.template(less), "upgrade", savepoint=savepoint)
    other = planned.config(lambda config: config["flink"].update(max_parallelism=64))
    with pytest.raises(UnavailableError, match="Max parallelism mismatch"):
        ClientJob(other).start(planned.template(other), "upgrade", savepoint=savepoint)
    client.cancel()
    ClientJob(less).start(
        planned.template(less), "upgrade", savepoint=savepoint, drops_state=True, deadline_s=120
    )
    client.sales(_ROWS, 50)
    wait_until(lambda: client.rows() == _ROWS + 50, "rows of the new version")
