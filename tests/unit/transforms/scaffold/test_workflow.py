"""The workflow that is written for CI uses commands that there are, with options that they have."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from tillstream.cli import app
from tillstream.pipelines.errors import UserError
from tillstream.transforms.scaffold.workflow import new_workflow, workflow

STEPS = ("validate", "lint", "test", "template build", "plan", "launch", "upgrade", "status", "rollback")


def parsed(client: str = "acme", config: str = "acme.yaml") -> dict[str, Any]:
    """Return the workflow as CI reads it."""
    found: dict[str, Any] = yaml.safe_load(workflow(client, config))
    return found


def commands(found: dict[str, Any]) -> Iterator[list[str]]:
    """Yield the words of each command line of this tool, in order."""
    for job in found["jobs"].values():
        for step in job["steps"]:
            for line in step.get("run", "").splitlines():
                if line.strip().startswith("tillstream "):
                    # As the shell has it where the variable is not empty.
                    full = re.sub(r"\$\{\w+:\+(.*?)\}", r"\1", line)
                    words = shlex.split(re.split(r" [>|]", full)[0])
                    yield [
                        word.replace("$CONFIG", "acme.yaml")
                        .replace("$TEMPLATE", "a.jar")
                        .replace("$GENERATION", "1795314021204")
                        for word in words[1:]
                    ]


def test_each_command_is_one_and_can_be_called_so() -> None:
    """Each is parsed by the very parser that it will meet; none asks for more than it is given."""
    seen = []
    for words in commands(parsed()):
        command: Any = typer.main.get_command(app)
        while hasattr(command, "commands"):
            command = command.commands[words[0]]
            seen.append(words[0])
            words = words[1:]  # noqa: PLW2901  (down into groups)
        command.make_context("tillstream", list(words))
    text = " ".join(seen)
    assert [step for step in STEPS if step not in text] == []


def test_its_jobs_wait_for_each_other() -> None:
    """Nothing is planned that was not checked, nothing deployed that was not planned, and only from main."""
    jobs = parsed()["jobs"]
    assert (jobs["plan"]["needs"], jobs["deploy"]["needs"]) == ("check", "plan")
    assert "refs/heads/main" in jobs["deploy"]["if"]
    known = {step["id"] for job in jobs.values() for step in job["steps"] if "id" in step}
    assert set(re.findall(r"steps\.(\w+)\.", workflow("acme", "acme.yaml"))) <= known
    # The one that is planned is the one that is deployed.
    built = [step["with"]["path"] for step in jobs["check"]["steps"] if "upload" in step.get("uses", "")]
    assert built == [parsed()["env"]["TEMPLATE"]]


@pytest.mark.parametrize(
    ("job_id", "verdict", "steps"),
    [
        ("j1", "restore", ["Upgrade"]),
        (None, "new", ["Launch"]),
        # It was paused, cancelled, or has failed: there is no job to upgrade.
        (None, "restore", ["Launch"]),
    ],
)
def test_what_runs_is_upgraded_and_what_does_not_is_launched(
    tmp_path: Path, job_id: str | None, verdict: str, steps: list[str]
) -> None:
    """By what the plan says of the job, not by its verdict."""
    jobs = parsed()["jobs"]
    (plan,) = (step["run"] for step in jobs["plan"]["steps"] if step.get("id") == "plan")
    (tmp_path / "plan.json").write_text(json.dumps({"verdict": verdict, "job_id": job_id}))
    lines = [line.replace("python", sys.executable, 1) for line in plan.splitlines() if "python -c" in line]
    subprocess.run(
        ["/bin/sh", "-ec", "\n".join(lines)],
        cwd=tmp_path,
        env={"GITHUB_OUTPUT": str(tmp_path / "output")},
        check=True,
    )
    outputs = dict(line.split("=") for line in (tmp_path / "output").read_text().splitlines())
    assert outputs["verdict"] == verdict
    given = {name: f"${{{{ steps.plan.outputs.{name} }}}}" for name in outputs}
    assert given | {"generation": jobs["plan"]["outputs"]["generation"]} == jobs["plan"]["outputs"]
    conditions = {step["name"]: step.get("if", "") for step in jobs["deploy"]["steps"] if "name" in step}
    chosen = f"${{{{ needs.plan.outputs.runs == '{outputs['runs']}' }}}}"
    assert [name for name, condition in conditions.items() if condition == chosen] == steps


@pytest.mark.parametrize(
    ("status", "generation"),
    [({"generation": 1795314021204}, "1795314021204"), ({"generation": None}, "")],
)
def test_a_deployment_goes_back_to_what_ran_when_it_was_planned(
    tmp_path: Path, status: dict[str, Any], generation: str
) -> None:
    """Whatever was launched between, and however often the job is run again; an unwell job has one too."""
    jobs = parsed()["jobs"]
    (before,) = (step["run"] for step in jobs["plan"]["steps"] if step.get("id") == "before")
    tool = tmp_path / "tillstream"
    tool.write_text(f"#!/bin/sh\necho '{json.dumps({'clients': [status]})}'\nexit 1\n")
    tool.chmod(0o700)
    subprocess.run(
        ["/bin/sh", "-ec", before.replace("python", sys.executable, 1)],
        cwd=tmp_path,
        env={"GITHUB_OUTPUT": str(tmp_path / "output"), "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=True,
    )
    assert (tmp_path / "output").read_text() == f"generation={generation}\n"
    assert jobs["plan"]["outputs"]["generation"] == "${{ steps.before.outputs.generation }}"


def test_an_upgrade_that_a_runner_left_is_finished() -> None:
    """Also where the plan finds no change; but then nothing is undone, since nothing was done."""
    deploy = parsed()["jobs"]["deploy"]
    steps = {step["name"]: step for step in deploy["steps"] if "name" in step}
    assert "verdict" not in deploy["if"] + steps["Upgrade"]["if"]
    assert "needs.plan.outputs.verdict != 'no_change'" in steps["Roll back"]["if"]


@pytest.mark.parametrize(
    ("job", "source"), [("deploy", "needs.plan.outputs.generation"), ("roll-back", "inputs.generation")]
)
@pytest.mark.parametrize(("given", "words"), [("", []), ("1; rm", ["--to", "1; rm"])])
def test_a_roll_back_names_its_launch_if_one_is_known(
    tmp_path: Path, job: str, source: str, given: str, words: list[str]
) -> None:
    """What a person typed is one word of the command, whatever it is."""
    (step,) = (each for each in parsed()["jobs"][job]["steps"] if each.get("name") == "Roll back")
    assert step["env"] == {"GENERATION": f"${{{{ {source} }}}}"}
    tool = tmp_path / "tillstream"
    tool.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    tool.chmod(0o700)
    done = subprocess.run(
        ["/bin/sh", "-ec", step["run"]],
        env={"CONFIG": "acme.yaml", "GENERATION": given, "PATH": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == ["rollback", "acme.yaml", *words, "--yes"]


def test_what_runs_is_given_time_to_become_well() -> None:
    """A job that has just been started is unwell for some seconds."""
    verified = [words for words in commands(parsed()) if words[0] == "status" and "--json" not in words]
    assert verified == [["status", "acme.yaml", "--wait", "60"]] * 2


def test_nobody_from_outside_runs_code_in_production() -> None:
    """A fork's pull request is checked on GitHub's machines; the runner near production takes none of it."""
    for job in parsed()["jobs"].values():
        if "production" in job["runs-on"] and "environment" not in job:
            assert "head.repo.full_name == github.repository" in job["if"]


def test_a_roll_back_is_not_cancelled_by_a_push() -> None:
    """GitHub cancels a run that waits in a group as soon as another one comes."""
    assert "inputs.roll_back && '-roll-back'" in parsed()["concurrency"]["group"]


def test_no_secret_is_in_it() -> None:
    """CI needs no password of a client's database."""
    assert "secrets." not in workflow("acme", "acme.yaml")


def test_it_is_written_for_a_client(tmp_path: Path) -> None:
    """With the client's name and the config's path; what is there is not overwritten."""
    path = new_workflow("globex", "clients/acme/globex.yaml", tmp_path)
    assert path == tmp_path / ".github" / "workflows" / "globex.yaml"
    found = yaml.safe_load(path.read_text())
    assert found["env"]["CONFIG"] == "clients/acme/globex.yaml"
    assert (found["name"], found["env"]["TEMPLATE"]) == ("globex", "globex.jar")
    with pytest.raises(UserError, match="expected none"):
        new_workflow("globex", None, tmp_path)
    (tmp_path / "clients").mkdir()
    (tmp_path / "clients" / "initech.yaml").touch()
    for client, config in (("initech", "clients/initech.yaml"), ("hooli", "hooli.yaml")):
        found = yaml.safe_load(new_workflow(client, None, tmp_path).read_text())
        assert found["env"]["CONFIG"] == config
    with pytest.raises(UserError, match="expected a client's name"):
        workflow("../x", "x.yaml")
