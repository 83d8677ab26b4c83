"""Commands that take one client take groups of them as well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tillstream.cli import app
from tillstream.pipelines.errors import UnavailableError
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.jobs import plan_cli, rescale, rolling_back, status
from tillstream.runners.jobs.many import Done
from tillstream.runners.jobs.planned import Plan, Verdict
from tillstream.runners.jobs.selection import Chosen
from tillstream.runners.jobs.status import Status

from .cluster import CONFIG, install

NAMES = ("acme", "globex")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a folder with two clients, on a cluster without jobs."""
    install(monkeypatch, tmp_path)
    home = tmp_path / "clients"
    home.mkdir()
    for name in NAMES:
        text = CONFIG.replace("client: acme", f"client: {name}\nlabels: {{of: {name}}}")
        (home / f"{name}.yaml").write_text(text, encoding="utf-8")
    return str(home)


def run(*arguments: str) -> Result:
    """Give a command."""
    return CliRunner().invoke(app, list(arguments))


def told(*arguments: str, code: int = 0) -> list[dict[str, Any]]:
    """Return what a command tells of each client."""
    found = run(*arguments, "--json")
    assert found.exit_code == code, (found.output, found.exception)
    clients: list[dict[str, Any]] = json.loads(found.stdout)["clients"]
    return clients


def test_all_can_be_rolled_back(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or rescaled; each is told of."""
    monkeypatch.setattr(rolling_back, "rollback", lambda chosen, *_: Done("rolled back", chosen.client))
    monkeypatch.setattr(rescale, "rescale", lambda chosen, _, n, __: Done("rescaled", f"{chosen.client} {n}"))
    found = told("rollback", "--all", "--folder", folder, "--yes")
    assert [(each["client"], each["detail"]) for each in found] == [("acme", "acme"), ("globex", "globex")]
    found = told("rescale", "2", "--all", "--folder", folder)
    assert [each["detail"] for each in found] == ["acme 2", "globex 2"]
    (one,) = told("rescale", "acme", "3", "--folder", folder)
    assert one["detail"] == "acme 3"
    (one,) = told("rescale", "3", "--label", "of=globex", "--folder", folder)
    assert one["detail"] == "globex 3"


def test_a_generation_is_of_one_client(folder: str) -> None:
    """Two never have the same; numbers of the list will do."""
    found = run("rollback", "--all", "--folder", folder, "--to", "1700000000000", "--yes")
    assert "--to: found generation 1700000000000 for 2 clients, expected one" in str(found.exception)


@pytest.mark.parametrize(
    ("verdicts", "code"), [(("no_change", "no_change"), 0), (("restore", "refused"), 30), (("new", None), 1)]
)
def test_all_can_be_planned(
    folder: str, monkeypatch: pytest.MonkeyPatch, verdicts: tuple[Verdict, Verdict | None], code: int
) -> None:
    """The exit code is the greatest, or says that one could not be planned."""
    of = dict(zip(NAMES, verdicts, strict=True))

    def plan(chosen: Chosen, *_: object) -> Plan:
        verdict = of[chosen.client]
        if verdict is None:
            raise UnavailableError("no answer")
        return Plan(chosen.client, verdict)

    monkeypatch.setattr(plan_cli, "_plan", plan)
    found = told("plan", "--all", "--folder", folder, code=code)
    assert [(each["client"], each.get("verdict")) for each in found] == list(of.items())
    printed = run("plan", "--all", "--folder", folder)
    assert printed.exit_code == code
    assert set(NAMES) <= {line.partition(":")[0] for line in printed.stdout.splitlines()}
    assert ("globex: cannot be planned: no answer" in printed.stdout) is (code == 1)


def test_one_jar_is_planned_for_one_client(folder: str) -> None:
    """As it is launched for one."""
    found = run("plan", "--all", "--folder", folder, "--template", "acme.jar")
    assert "--template and --savepoint are for one client" in str(found.exception)


def test_checkpoints_of_all_are_looked_at(folder: str) -> None:
    """Where one cannot be, the others are."""
    found = told("checkpoints", "--all", "--folder", folder, code=1)
    assert [(each["client"], each["outcome"]) for each in found] == [
        ("acme", "refused"),
        ("globex", "refused"),
    ]
    assert "state.savepoints.dir: found 'nothing'" in found[0]["detail"]


def test_logs_of_all_are_read_at_once(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A TaskManager's log once for all clients of the cluster; a follow ends when it is told to."""
    reads: list[str] = []

    def logs(self: FlinkRest) -> Any:
        reads.append(self.url)
        lines = [b"2026-03-01 10:00:00,250 INFO  [acme] one", b"2026-03-01 10:00:00,260 INFO  [globex] two"]
        return [("tm1", iter(lines))]

    monkeypatch.setattr(FlinkRest, "jobs", lambda _: [])
    monkeypatch.setattr(FlinkRest, "logs", logs)
    found = run("logs", "--all", "--folder", folder, "--json")
    lines = json.loads(found.stdout)["lines"]
    assert [(line["client"], line["text"][-3:]) for line in lines] == [("acme", "one"), ("globex", "two")]
    assert len(reads) == 1
    followed = run("logs", "globex", "--folder", folder, "--follow", "--timeout", "0")
    assert (followed.exit_code, followed.stdout) == (0, "2026-03-01 10:00:00,260 INFO  [globex] two\n")
    assert "--timeout without --follow" in str(run("logs", "acme", "--timeout", "1").exception)


def test_what_is_wrong_with_one_hides_no_others(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of the others are printed, launches listed, and the exit code says that not all is well."""
    Path(folder, "globex.yaml").write_text("client: globex\nsinks: 3\n", encoding="utf-8")
    monkeypatch.setattr(FlinkRest, "jobs", lambda _: [])
    monkeypatch.setattr(
        FlinkRest, "logs", lambda _: [("tm1", iter([b"2026-03-01 10:00:00,250 I  [acme] one"]))]
    )
    found = run("logs", "--all", "--folder", folder, "--json")
    told = json.loads(found.stdout)
    assert (found.exit_code, len(told["lines"]), [each["of"] for each in told["errors"]]) == (
        1,
        1,
        ["globex"],
    )
    found = run("rollback", "--all", "--folder", folder, "--list", "--json")
    outcomes = [each["outcome"] for each in json.loads(found.stdout)["clients"]]
    assert (found.exit_code, outcomes) == (1, ["listed", "refused"])


def test_a_cluster_that_does_not_answer_is_an_error_of_the_logs(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told once."""

    def jobs(_: FlinkRest) -> Any:
        raise UnavailableError("no answer")

    monkeypatch.setattr(FlinkRest, "jobs", jobs)
    found = run("logs", "--all", "--folder", folder)
    assert (found.exit_code, found.stderr.count("no answer")) == (1, 1)


def test_a_group_of_one_is_told_of_as_a_group(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it cannot be planned."""

    def plan(*_: object) -> Plan:
        raise UnavailableError("no answer")

    monkeypatch.setattr(plan_cli, "_plan", plan)
    (found,) = told("plan", "--label", "of=acme", "--folder", folder, code=1)
    assert found == {"client": "acme", "error": "no answer"}


@pytest.mark.parametrize(("wait", "code"), [("60", 0), ("0", 1)])
def test_a_status_can_wait_until_all_are_well(
    folder: str, monkeypatch: pytest.MonkeyPatch, wait: str, code: int
) -> None:
    """And shows them then, or when the time is over."""
    looks = iter([False, False])

    def status_of(config: Any) -> Status:
        return Status(config.client, "running", is_healthy=next(looks, True))

    monkeypatch.setattr(status, "status_of", status_of)
    (found,) = told("status", "acme", "--folder", folder, "--wait", wait, code=code)
    assert found["is_healthy"] is (code == 0)
