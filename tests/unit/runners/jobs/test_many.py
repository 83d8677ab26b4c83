"""What is done for several clients is done for each, and told of each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from tillstream.pipelines.errors import UnavailableError, UserError
from tillstream.runners.jobs.many import Done, Group, carry_out
from tillstream.runners.jobs.selection import Chosen


@pytest.fixture
def group(tmp_path: Path) -> Group:
    """Return three clients."""
    for name in ("acme", "globex", "initech"):
        (tmp_path / f"{name}.yaml").write_text(f"client: {name}\n")
    return Group(everyone=True, folder=tmp_path)


def work(chosen: Chosen, say: Callable[[str], None]) -> Done:
    """Fail for two of three."""
    say("at it")
    if chosen.client == "globex":
        raise UnavailableError("nobody\nanswers")
    if chosen.client == "initech":
        raise UserError("not so")
    return Done("launched", "job 1", {"job_id": "1"})


def test_one_that_fails_stops_no_other(group: Group, capsys: pytest.CaptureFixture[str]) -> None:
    """All are told of, a line each; the exit code says that not all is well."""
    with pytest.raises(typer.Exit) as caught:
        carry_out(group, work, as_json=False)
    assert caught.value.exit_code == 1
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "CLIENT   OUTCOME   DETAIL",
        "acme     launched  job 1",
        "globex   failed    nobody answers",
        "initech  refused   not so",
    ]
    assert sorted(told.err.splitlines()) == [f"{name}: at it" for name in ("acme", "globex", "initech")]


def test_what_nobody_expected_stops_no_other(group: Group, capsys: pytest.CaptureFixture[str]) -> None:
    """A full disk is told of as what it is, with its trace, beside what became of the others."""

    def meets_a_full_disk(chosen: Chosen, say: Callable[[str], None]) -> Done:
        if chosen.client == "acme":
            raise OSError(28, "No space left on device")
        return work(chosen, say)

    with pytest.raises(typer.Exit):
        carry_out(group, meets_a_full_disk, as_json=False)
    told = capsys.readouterr()
    assert told.out.splitlines()[1:3] == [
        "acme     failed   OSError: [Errno 28] No space left on device",
        "globex   failed   nobody answers",
    ]
    assert "acme: Traceback" in told.err
    with pytest.raises(OSError, match="No space"):
        carry_out(Group(["acme"], folder=group.folder), meets_a_full_disk, as_json=False)


def test_a_program_gets_one_object(group: Group, capsys: pytest.CaptureFixture[str]) -> None:
    """With a list, and nothing else on standard output."""
    with pytest.raises(typer.Exit):
        carry_out(group, work, as_json=True)
    found = json.loads(capsys.readouterr().out)["clients"]
    assert found[0] == {"client": "acme", "outcome": "launched", "detail": "job 1", "job_id": "1"}
    assert [each["outcome"] for each in found] == ["launched", "failed", "refused"]


def test_a_single_clients_error_is_raised(group: Group, capsys: pytest.CaptureFixture[str]) -> None:
    """So that its exit code says whose fault it is; what works is one line."""
    with pytest.raises(UnavailableError):
        carry_out(Group(["globex"], folder=group.folder), work, as_json=False)
    carry_out(Group(["acme"], folder=group.folder), work, as_json=False)
    assert capsys.readouterr().out == "acme: launched, job 1\n"


@pytest.mark.parametrize(("client", "code"), [("globex", 1), ("initech", 2)])
def test_json_changes_no_exit_code(
    group: Group, capsys: pytest.CaptureFixture[str], client: str, code: int
) -> None:
    """What a person can mend ends a command for one client with 2, as without it."""
    with pytest.raises(typer.Exit) as caught:
        carry_out(Group([client], folder=group.folder), work, as_json=True)
    assert caught.value.exit_code == code
    assert len(json.loads(capsys.readouterr().out)["clients"]) == 1
