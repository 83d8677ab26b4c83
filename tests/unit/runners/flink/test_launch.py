"""A launch says what is wrong with the savepoint where Flink cannot."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from tillstream.configs import ClientConfig
from tillstream.configs.launching import LaunchParameters
from tillstream.pipelines.errors import NoAnswerError, UnavailableError, UserError
from tillstream.runners.flink import jar, launch
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.flink.template import MANIFEST_ENTRY, PIPELINE_ENTRY
from tillstream.runners.jobs import job
from tillstream.runners.jobs.manifest import JobInfo, Manifest
from tillstream.transforms.lint.uids import Uids

CONFIG = ClientConfig.model_validate(
    {
        "client": "acme",
        "source": {"kafka": {"bootstrap_servers": "b:9092"}},
        "entities": {"things": {"topic": "t", "key": ["id"], "sinks": ["out"]}},
        "sinks": {"out": {"type": "files", "path": "out"}},
    }
)
# As Flink 1.19 words it.
REFUSED = (
    "Failed to rollback to checkpoint/savepoint file:/s. Cannot map checkpoint/savepoint state for operator "
    "0a448493b4782967b150582570326227 to the new program, because the operator is not available in the new "
    "program. If you want to allow to skip this, you can set the --allowNonRestoredState option on the CLI."
)


class Rest(FlinkRest):
    """Be a cluster that refuses every job."""

    cause = ""

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        del arguments
        if path.endswith("/run"):
            raise UnavailableError(f"Flink at {self.url} refused {method} {path}: {self.cause}")
        answers: dict[str, dict[str, Any]] = {
            "/jobs/overview": {"jobs": []},
            "/jars/upload": {"filename": "/x/a.jar"},
            "/overview": {"slots-available": 1, "slots-total": 1},
        }
        return answers.get(path, {})


def _write_template(config: ClientConfig, path: Path, runner_jars: Path, *, bounded: bool) -> None:
    del runner_jars
    manifest = Manifest(config.plain(), Uids("acme", {}, {}, {}, {}), {}, {}, {}, bounded)
    with zipfile.ZipFile(path, "w") as out:
        out.writestr(MANIFEST_ENTRY, manifest.encode())
        out.writestr(PIPELINE_ENTRY, b'{"components": {"environments": {}}}')


def failed(monkeypatch: pytest.MonkeyPatch, cause: str, savepoint: str | None) -> None:
    """Launch a job that is refused."""
    monkeypatch.setattr(Rest, "cause", cause)
    monkeypatch.setattr(job, "FlinkRest", Rest)
    monkeypatch.setattr(jar, "write_jar", _write_template)
    launch.launch(CONFIG, Path(), savepoint=savepoint)


def test_a_stage_that_is_gone_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flink names the operator by a hash, and how to lose its state."""
    with pytest.raises(UserError, match=r"savepoint /s: .* docs/transactions.md, 'Change over'"):
        failed(monkeypatch, REFUSED, "/s")


class Lossy(FlinkRest):
    """Be a cluster that runs what it is asked to, and whose answer is lost."""

    asked: int
    runs: bool

    def run(self, jar_id: str, **arguments: Any) -> str:
        """Take the request, and be gone for a while."""
        del jar_id, arguments
        self.asked = 2
        raise NoAnswerError("gone")

    def jobs(self) -> list[dict[str, Any]]:
        """Return an older launch, and the new one, as soon as it answers again."""
        self.asked -= 1
        if self.asked > 0:
            raise NoAnswerError("gone")
        known = ("ended", "CANCELED"), ("older", "RUNNING"), *([("new", "CREATED")] if self.runs else [])
        return [{"jid": name, "state": state} for name, state in known]

    def info(self, job_id: str) -> JobInfo | None:
        """Tell launches apart by their generations."""
        assert job_id != "ended"
        manifest = Manifest(CONFIG.plain(), Uids("acme", {}, {}, {}, {}), {}, {}, {})
        return JobInfo(manifest, LaunchParameters({"older": 1, "new": 2}[job_id], 1))


@pytest.mark.parametrize("runs", [True, False])
def test_a_launch_whose_answer_is_lost_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, *, runs: bool
) -> None:
    """Its job is found by its generation; where there is none, the launch has failed."""
    monkeypatch.setattr(launch, "_POLL_S", 0.0)
    rest = Lossy("http://c")
    rest.runs = runs
    if runs:
        assert launch.run_uploaded(rest, "jar", LaunchParameters(2, 1)) == "new"
        return
    monkeypatch.setattr(launch, "_LOST_DEADLINE_S", 0.05)
    with pytest.raises(NoAnswerError, match=r"gone\. Whether the job runs is not known"):
        launch.run_uploaded(rest, "jar", LaunchParameters(2, 1))


def test_other_failures_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The words of the root cause say more."""
    with pytest.raises(UnavailableError, match="no such host"):
        failed(monkeypatch, "no such host", "/s")
