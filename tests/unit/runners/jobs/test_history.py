"""The audit log only grows, and shows when it was edited."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tillstream.pipelines.errors import UserError
from tillstream.runners.jobs.history import ACTOR_VARIABLE, Entry, History


@pytest.fixture
def history(tmp_path: Path) -> History:
    """Return a history of three entries."""
    found = History("acme", tmp_path)
    for action in ("launch", "pause", "resume"):
        found.append(Entry(action, "done"))
    return found


def test_entries_come_back_in_order(history: History) -> None:
    """Each entry has its time, its actor and the digest of the line before."""
    found = history.entries()
    assert [entry.action for entry in found] == ["launch", "pause", "resume"]
    assert all(entry.at.endswith("+00:00") and "@" in entry.actor for entry in found)
    assert [bool(entry.previous) for entry in found] == [False, True, True]


def test_the_actor_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CI says for whom it works."""
    monkeypatch.setenv(ACTOR_VARIABLE, "deploy of ada")
    assert History("acme", tmp_path).append(Entry("launch", "done")).actor == "deploy of ada"


def test_a_client_without_launches_has_no_entries(tmp_path: Path) -> None:
    """No file is no error."""
    assert History("acme", tmp_path).entries() == []


def _without_second(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[2]]


def _with_another_first(lines: list[bytes]) -> list[bytes]:
    return [lines[0].replace(b"launch", b"cancel"), *lines[1:]]


@pytest.mark.parametrize("spoil", [_without_second, _with_another_first])
def test_what_was_edited_shows(history: History, spoil: Callable[[list[bytes]], list[bytes]]) -> None:
    """A line that was taken out or changed is told by its number."""
    lines = history.path.read_bytes().splitlines()
    history.path.write_bytes(b"\n".join(spoil(lines)) + b"\n")
    with pytest.raises(UserError, match=r"acme.jsonl:2: does not follow the line before it"):
        history.entries()


def test_a_line_of_version_1_is_read(tmp_path: Path) -> None:
    """What earlier releases wrote stays readable; what a later one wrote is refused."""
    history = History("acme", tmp_path)
    line = b'{"action":"launch","outcome":"done","at":"2026-01-01T00:00:00Z","generation":5,"version":1}'
    history.path.write_bytes(line + b"\n")
    assert history.entries()[0].generation == 5
    history.path.write_bytes(line.replace(b'"version":1', b'"version":2') + b"\n")
    with pytest.raises(UserError, match="found version 2, expected 1"):
        history.entries()


def test_a_template_is_kept_once(history: History, tmp_path: Path) -> None:
    """Equal templates have one digest, by which they are found again."""
    template = tmp_path / "acme.jar"
    template.write_bytes(b"jar")
    digest = history.keep(template)
    assert history.keep(template) == digest
    assert history.jar(digest).read_bytes() == b"jar"


@pytest.mark.parametrize("torn", [b'{"action":"cancel","outc', b'{"action":"cancel","outcome":"done"}'])
def test_a_line_that_was_cut_short_is_taken_out(
    history: History, caplog: pytest.LogCaptureFixture, torn: bytes
) -> None:
    """A full disk stops no command: what is whole is read, and the next entry follows that; it is said so."""
    with history.path.open("ab") as log:
        log.write(torn)
    assert [entry.action for entry in history.entries()] == ["launch", "pause", "resume"]
    history.append(Entry("upgrade", "done"))
    assert [entry.action for entry in history.entries()] == ["launch", "pause", "resume", "upgrade"]
    assert torn not in history.path.read_bytes()
    assert "took out a last line that was cut short" in caplog.text


def test_a_first_line_that_was_cut_short_is_none(tmp_path: Path) -> None:
    """The log is as if it had never been begun."""
    history = History("acme", tmp_path)
    history.path.write_bytes(b'{"act')
    assert history.entries() == []
    history.append(Entry("launch", "done"))
    assert [entry.previous for entry in history.entries()] == [""]


def test_what_happened_elsewhere_is_asked_for_by_name(history: History) -> None:
    """A job of Kubernetes is none of the cluster's here; lines of before say nothing of a place."""
    place = "kubernetes:prod/tillstream-acme"
    history.append(Entry("apply", "done", generation=5, template="t", where=place))
    history.append(Entry("cancel", "done"))
    assert [entry.action for entry in history.entries()] == ["launch", "pause", "resume", "cancel"]
    assert [entry.action for entry in history.entries(place)] == ["apply"]
    assert [entry.where for entry in history.entries(None)] == ["", "", "", place, ""]
    history.path.write_bytes(history.path.read_bytes().replace(b'"t"', b'"u"'))
    with pytest.raises(UserError, match=r"acme.jsonl:5: does not follow"):
        history.entries()
