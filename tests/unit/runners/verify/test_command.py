"""The command takes lists, and refuses what it does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tillstream.cli import app
from tillstream.pipelines.errors import UserError
from tillstream.runners.verify import command
from tillstream.runners.verify.command import choose, run
from tillstream.runners.verify.rig import Rig

PLAIN = {"state_backend": "hashmap", "unaligned_checkpoints": False}


def test_all_stands_for_all() -> None:
    """Names are taken as they are, each once."""
    assert choose("--sink", "all", ("a", "b")) == ["a", "b"]
    assert choose("--sink", "b, a,b", ("a", "b")) == ["b", "a"]


def test_an_unknown_name_is_refused() -> None:
    """A typing error is told with the names that would do."""
    with pytest.raises(UserError, match=r"--faults: found 'kafak', expected all or some of kafka"):
        choose("--faults", "kafak", ("kafka",))


def test_a_fault_that_no_sink_would_feel_is_refused(tmp_path: Path) -> None:
    """Killing a database that nothing writes to proves nothing."""
    with pytest.raises(UserError, match="expected a sink that writes to it"):
        run(
            sinks="files",
            faults="warehouse",
            rounds=1,
            seed=1,
            rate_per_s=1,
            flink=PLAIN,
            folder=tmp_path,
            say=print,
        )


def test_a_stack_that_is_there_is_left_alone(tmp_path: Path) -> None:
    """What is verified gets hurt, so it is never somebody's own stack."""
    (tmp_path / "stack.json").write_text("{}")
    with pytest.raises(UserError, match="found a stack in"):
        run(
            sinks="files",
            faults="harness",
            rounds=1,
            seed=1,
            rate_per_s=1,
            flink=PLAIN,
            folder=tmp_path,
            say=print,
        )


def test_the_jobs_checkpoints_can_be_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come where the job is configured, and the replay asks for the same."""
    seen: list[dict[str, Any]] = []

    def play(_: object, rig: Rig, __: object) -> str:
        seen.append(rig.flink)
        return "report"

    monkeypatch.setattr(command, "verify", play)
    flink = {"state_backend": "rocksdb", "unaligned_checkpoints": True}
    _, replay = run(
        sinks="files", faults="slow", rounds=1, seed=1, rate_per_s=1, flink=flink, folder=None, say=print
    )
    assert replay.endswith("--rate 1 --state-backend rocksdb --unaligned")
    assert seen == [flink]


def test_an_unknown_state_backend_is_refused() -> None:
    """Before a stack is started."""
    found = CliRunner().invoke(app, ["verify", "--state-backend", "rocks"])
    assert "--state-backend: found 'rocks', expected hashmap or rocksdb" in str(found.exception)
