"""A plan finds what runs or ran by itself, and the command says how it ended by its exit code."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tillstream.cli import app
from tillstream.configs import ClientConfig
from tillstream.configs.launching import LaunchParameters
from tillstream.runners.flink.template import MANIFEST_ENTRY, PIPELINE_ENTRY
from tillstream.runners.jobs import commands
from tillstream.runners.jobs import plan as planning
from tillstream.runners.jobs.encodings import ENCODINGS
from tillstream.runners.jobs.history import Entry, History
from tillstream.runners.jobs.job import ClientJob
from tillstream.runners.jobs.manifest import JobInfo, Manifest
from tillstream.runners.jobs.plan import plan_of
from tillstream.runners.jobs.planned import EXIT_CODES, Loss, Plan, Verdict
from tillstream.transforms.lint.uids import Uids

CONFIG = ClientConfig.model_validate(
    {
        "client": "acme",
        "source": {"kafka": {"bootstrap_servers": "b:9092"}},
        "entities": {"things": {"topic": "t", "key": ["id"], "sinks": ["out"]}},
        "sinks": {"out": {"type": "files", "path": "/out"}},
    }
)
SIZES = {"shards": 16, "max_parallelism": 128}
UIDS = Uids("acme", {"ReadChanges/Read": ("offset",)}, {}, {"things": ("id",)}, SIZES)
MANIFEST = Manifest(CONFIG.plain(), UIDS, {}, dict(ENCODINGS), {"python": "3.11.7"})
ID = "0" * 32
RECORDED = Path(__file__).parents[1] / "flink" / "recorded" / "checkpoint.zip"


class Rest:
    """Be a cluster that remembers jobs, and what was asked of it."""

    url = "http://flink"

    def __init__(self, *, state: str | None, name: str = "ReadChanges", path: str | None = None) -> None:
        self._state, self._name, self._path = state, name, path
        self.deleted: list[str] = []

    def jobs(self) -> list[dict[str, Any]]:
        """Return its one job, if it has one."""
        return [{"jid": "j", "name": "acme", "state": self._state, "start-time": 5}] if self._state else []

    def running(self, name: str) -> list[str]:
        """Return the job's id while it runs."""
        return ["j"] if name == "acme" and self._state == "RUNNING" else []

    def info(self, _: str) -> JobInfo:
        """Return what the job says of itself."""
        return JobInfo(MANIFEST, LaunchParameters(5, 1, {}))

    def job(self, _: str) -> dict[str, Any]:
        """Return its vertices."""
        return {"vertices": [{"id": ID, "name": self._name}]}

    def checkpoints(self, _: str) -> dict[str, Any]:
        """Return its newest checkpoint."""
        newest = {"latest_ack_timestamp": 7, "external_path": self._path}
        return {"latest": {"completed": newest if self._path else None}}

    def settings(self) -> dict[str, str]:
        """Return no place for checkpoints."""
        return {}

    def upload(self, _: Path) -> str:
        """Take a jar."""
        return "jar"

    def stages(self, jar_id: str, **_: Any) -> dict[str, str]:
        """Return the stages of the jar."""
        assert jar_id == "jar"
        return {ID: "ReadChanges"}

    def delete_jar(self, jar_id: str) -> None:
        """Forget a jar."""
        self.deleted.append(jar_id)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """Return a template of the config."""
    path = tmp_path / "acme.jar"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr(MANIFEST_ENTRY, MANIFEST.encode())
        out.writestr(PIPELINE_ENTRY, json.dumps({"components": {"environments": {}}}))
    return path


def plan(rest: Rest, template: Path, tmp_path: Path, *entries: Entry, config: ClientConfig = CONFIG) -> Plan:
    """Return the plan of a template on a cluster."""
    history = History("acme", tmp_path / "history")
    for entry in entries:
        history.append(entry)
    job = ClientJob(config, history=history)
    job.rest = rest  # type: ignore[assignment]  # what a plan asks of it
    return plan_of(job, template)


@pytest.mark.parametrize("name", ["ReadChanges", "[2]{ReadChanges, CollectDeadLetters}"])
def test_what_runs_is_compared(name: str, template: Path, tmp_path: Path) -> None:
    """Also where an older release let Beam name the stages; the uploaded jar is deleted again."""
    rest = Rest(state="RUNNING", name=name)
    found = plan(rest, template, tmp_path)
    assert (found.verdict, found.job_id, rest.deleted) == ("no_change", "j", ["jar"])


def test_a_jar_is_planned_as_it_was_built(template: Path, tmp_path: Path) -> None:
    """Of the config at hand only open places count; what else differs from the jar will not be launched."""
    model = CONFIG.plain()
    model["entities"]["others"] = dict(model["entities"]["things"], topic="u")
    model["delivery"] = {"checkpoint_interval_ms": 2500}
    other = ClientConfig.model_validate(model)
    found = plan(Rest(state="RUNNING"), template, tmp_path, config=other)
    changed = [each.name for each in found.changes if each.part == "config"]
    assert changed == ["/delivery/checkpoint_interval_ms"]


def test_a_checkpoint_out_of_reach_is_said(template: Path, tmp_path: Path) -> None:
    """The plan goes by what both builds declare, and names what it could not read."""
    found = plan(Rest(state="RUNNING", path="hdfs://n/chk-1"), template, tmp_path)
    assert (found.verdict, found.checkpoint) == ("no_change", "hdfs://n/chk-1")
    assert any("found files of hdfs:" in note for note in found.notes)


def test_a_checkpoint_that_was_deleted_is_followed_by_a_newer_one(template: Path, tmp_path: Path) -> None:
    """Flink keeps a few: what was the newest when it was asked may be gone when it is read."""
    with zipfile.ZipFile(RECORDED) as recorded:
        recorded.extractall(tmp_path / "chk-10")
    (tmp_path / "chk-9").mkdir()
    (tmp_path / "shared").mkdir()
    found = plan(Rest(state="RUNNING", path=f"file:{tmp_path}/chk-2"), template, tmp_path)
    assert found.checkpoint == f"{tmp_path}/chk-10"
    assert found.notes == ()
    # The recorded one is of another job.
    assert found.verdict == "refused"


def test_what_ran_is_gone_on_from(template: Path, tmp_path: Path) -> None:
    """A job that was paused left a savepoint; the history knows it where the cluster does not."""
    digest = History("acme", tmp_path / "history").keep(template)
    launched = Entry("launch", "done", job_id="j", generation=5, template=digest, parallelism=1)
    paused = Entry("pause", "done", job_id="j", taken="file:/nowhere/savepoint-1")
    found = plan(Rest(state=None), template, tmp_path, launched, paused)
    assert (found.verdict, found.job_id, found.checkpoint) == ("restore", None, "file:/nowhere/savepoint-1")
    assert [each for each in found.changes if each.effect != "none"] == []


def test_nothing_known_is_a_launch(template: Path, tmp_path: Path) -> None:
    """Nobody ran it before: nothing is uploaded."""
    rest = Rest(state=None)
    assert (plan(rest, template, tmp_path).verdict, rest.deleted) == ("new", [])


def test_a_lost_place_is_refused(template: Path, tmp_path: Path) -> None:
    """It ran, and nothing tells where it was: a launch would read all again, so a person must say so."""
    launched = Entry("launch", "done", job_id="gone", generation=5)
    found = plan(Rest(state=None), template, tmp_path, launched)
    assert found.verdict == "refused"
    assert "--savepoint PATH, or start from nothing with --fresh" in found.reasons[0]


@pytest.mark.parametrize(("verdict", "code"), list(EXIT_CODES.items()))
def test_the_exit_code_tells_ci(
    verdict: Verdict, code: int, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the verdict alone; JSON has all of the plan, and nothing else is printed."""
    lost = (Loss("Aggregate", "aggregate_head", "the totals of groups"),)
    made = Plan("acme", verdict, ("of a reason",), lost, job_id="j", checkpoint="file:/chk-1")
    monkeypatch.setattr(planning, "plan_of", lambda *_, **__: made)
    monkeypatch.setattr(commands, "built", lambda *_: template)
    path = tmp_path / "acme.yaml"
    path.write_text(json.dumps(CONFIG.plain()), encoding="utf-8")
    said = CliRunner().invoke(app, ["plan", str(path), "--json"])
    assert (said.exit_code, json.loads(said.stdout)["verdict"]) == (code, verdict)
    said = CliRunner().invoke(app, ["plan", str(path), "--detail"])
    assert said.exit_code == code
    assert "  because of a reason" in said.stdout
    assert "  - Aggregate/aggregate_head: the totals of groups" in said.stdout
    assert said.stdout.endswith("running job: j\nstate from: file:/chk-1\n")
