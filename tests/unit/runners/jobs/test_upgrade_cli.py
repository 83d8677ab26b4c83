"""The commands `upgrade` and `rollback`: what they ask, pass on and print."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tillstream.cli import app
from tillstream.runners.jobs import rolling_back, upgrading
from tillstream.runners.jobs.history import Entry, History
from tillstream.runners.jobs.many import Done

from .cluster import chosen, install


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the path of acme's config, on a cluster without jobs."""
    install(monkeypatch, tmp_path)
    return str(chosen(tmp_path).path)


def run(*arguments: str, answer: str = "", code: int = 0) -> str:
    """Return what a command prints."""
    result = CliRunner().invoke(app, list(arguments), input=answer)
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout


@pytest.mark.parametrize("command", ["upgrade", "rollback"])
@pytest.mark.parametrize(
    ("answer", "options", "agreed"), [("n\n", (), False), ("y\n", (), True), ("", ("--yes",), True)]
)
def test_it_asks_unless_told_not_to(
    command: str,
    config: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    answer: str,
    options: tuple[str, ...],
    agreed: bool,
) -> None:
    """When it asks is the worker's business: it knows the plan by then."""

    def carry(_: object, __: object, wanted: Any, *___: object) -> Done:
        return Done("asked", is_good=wanted.agrees("go on?"))

    monkeypatch.setattr(upgrading, "upgrade", carry)
    monkeypatch.setattr(rolling_back, "rollback", carry)
    run(command, config, *options, answer=answer, code=0 if agreed else 1)


def test_where_nobody_can_be_asked_it_says_so(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And names the option that answers."""
    monkeypatch.setattr(upgrading, "upgrade", lambda _, __, wanted, ___: Done(str(wanted.agrees("go on?"))))
    result = CliRunner().invoke(app, ["upgrade", config], input="")
    assert "found nobody to answer, expected y or n, or --yes" in str(result.exception)


def test_what_was_undone_ends_with_1(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The options come where they are meant to, and JSON has what became of it."""

    def upgrade(_: object, say: Any, wanted: upgrading.Wanted, stop: object) -> Done:
        assert stop is not None
        say("watching")
        assert (wanted.watch_s, wanted.timeout_s, wanted.accepts_loss) == (5.0, 9.0, True)
        return Done("rolled back", "it did badly", {"job_id": "j"}, is_good=False)

    monkeypatch.setattr(upgrading, "upgrade", upgrade)
    options = ("--watch-for", "5", "--timeout", "9", "--accept-loss", "--yes", "--json")
    (found,) = json.loads(run("upgrade", config, *options, code=1))["clients"]
    assert found == {"client": "acme", "outcome": "rolled back", "detail": "it did badly", "job_id": "j"}


def test_a_signal_is_a_wish(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker sees it, and the handlers of before come back."""
    before = signal.getsignal(signal.SIGTERM)

    def upgrade(_: object, __: object, ___: object, stop: Any) -> Done:
        os.kill(os.getpid(), signal.SIGTERM)
        return Done("rolled back", is_good=not stop.wait(30))

    monkeypatch.setattr(upgrading, "upgrade", upgrade)
    run("upgrade", config, "--yes", code=1)
    assert signal.getsignal(signal.SIGTERM) is before


STUBBORN = """
import os, signal, sys, threading
from tillstream.cli import app
from tillstream.runners.jobs import upgrading

def upgrade(chosen, say, wanted, stop):
    os.kill(os.getpid(), signal.SIGINT)
    stop.wait(30)
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(300)

upgrading.upgrade = upgrade
app(["upgrade", sys.argv[1], "--yes"])
"""


def test_a_second_signal_ends_the_command_at_once(config: str) -> None:
    """Whatever its worker does."""
    ended = subprocess.run(
        [sys.executable, "-c", STUBBORN, config], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 130, ended.stderr
    assert "ending: what is under way is undone" in ended.stderr


def test_a_roll_back_can_be_aimed(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By number, with the state as it is."""
    seen: list[rolling_back.Back] = []

    def rollback(_: object, __: object, wanted: rolling_back.Back) -> Done:
        seen.append(wanted)
        return Done("rolled back", "job j")

    monkeypatch.setattr(rolling_back, "rollback", rollback)
    out = run("rollback", config, "--to", "2", "--keep-state", "--wait", "0", "--yes")
    assert out == "acme: rolled back, job j\n"
    assert seen == [rolling_back.Back(to=2, keeps_state=True, wait_s=0)]


def test_the_ways_back_are_listed(config: str) -> None:
    """Newest first, by the number that --to takes; the one that ran last is not among them."""
    history = History("acme")
    for generation, version in ((1, "1.0.0"), (2, "1.1.0"), (3, "1.2.0")):
        transforms = {"things": f"acme.t@{version}"}
        history.append(
            Entry("upgrade", "done", generation=generation, template=f"d{generation}", transforms=transforms)
        )
    lines = run("rollback", config, "--list").splitlines()
    assert [(line.split()[0], line.split()[-1]) for line in lines] == [
        ("1", "acme.t@1.1.0"),
        ("2", "acme.t@1.0.0"),
    ]
    (found,) = json.loads(run("rollback", config, "--list", "--json"))["clients"]
    assert (found["client"], [each["generation"] for each in found["launches"]]) == ("acme", [2, 1])


def test_without_a_roll_back_nothing_is_left(config: str) -> None:
    """It is said so."""
    result = CliRunner().invoke(app, ["rollback", config, "--leftovers"])
    assert "found no roll-back" in str(result.exception)
