"""Dead letters on the command line, with a store of files and without a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from tillstream.cli import app
from tillstream.configs.loader import load
from tillstream.io.replays import ReplayMessage
from tillstream.io.sinks.letter_store import LetterStore, open_store
from tillstream.io.sinks.letters import letter_id
from tillstream.pipelines.errors import UserError
from tillstream.pipelines.records import DeadLetter
from tillstream.runners.dlq import give_back
from tillstream.runners.dlq.originals import Original

LETTER = DeadLetter(
    "acme",
    "orders",
    "transform",
    "transform_failed",
    "ValueError: no such currency",
    "t",
    0,
    7,
    key=b'{"id":5}',
    payload=b'{"op":"u","before":null,"after":{"id":5}}',
    transform="acme.x@1.0.0",
    traceback="Traceback: line 3",
    position=(7,),
)
CONFIG: dict[str, Any] = {
    "client": "acme",
    "source": {"kafka": {"bootstrap_servers": "127.0.0.1:1"}},
    "entities": {"orders": {"topic": "t", "key": ["id"], "sinks": ["out"]}},
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a config whose store has two letters."""
    path = tmp_path / "acme.yaml"
    sinks = {"out": {"type": "files", "path": str(tmp_path / "out")}}
    path.write_text(json.dumps({**CONFIG, "sinks": sinks}))
    store(path).write_dead_letters([LETTER, msgspec.structs.replace(LETTER, offset=8, step="read")])
    return path


def store(config: Path) -> LetterStore:
    """Return the store of a config."""
    return open_store(load(config))


def run(*arguments: str, code: int = 0) -> str:
    """Run `tillstream dlq` and return what it prints."""
    result = CliRunner().invoke(app, ["dlq", *arguments])
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def test_letters_are_listed(config: Path) -> None:
    """One line each, with what identifies it; filters leave out the others."""
    header, first, second = run("list", str(config)).splitlines()
    assert header.split() == [
        "ID",
        "RECORDED",
        "STATUS",
        "ENTITY",
        "STEP",
        "REASON",
        "KEY",
        "PLACE",
        "DETAIL",
    ]
    assert first.split()[0] == letter_id(LETTER)[:12]
    assert first.endswith('transform  transform_failed  {"id":5}  t[0]@7  ValueError: no such currency')
    assert "read" in second
    (only,) = run("list", str(config), "--step", "read", "--json").splitlines()
    assert json.loads(only)["offset"] == 8
    assert len(run("list", str(config), "--limit", "1").splitlines()) == 2
    assert len(run("list", str(config), "--since", "2999-01-01").splitlines()) == 1


def test_one_letter_is_shown_whole(config: Path) -> None:
    """Traceback and payload too."""
    shown = run("show", str(config), letter_id(LETTER)[:8])
    for text in ("transform_failed", "acme.x@1.0.0", "Traceback: line 3", '{"op":"u"', letter_id(LETTER)):
        assert text in shown
    with pytest.raises(UserError, match="found none, expected the beginning of one"):
        run("show", str(config), "zz")
    with pytest.raises(UserError, match="expected the beginning of one letter's identity"):
        run("show", str(config), "")


def test_letters_are_discarded_when_that_is_said(config: Path) -> None:
    """Not in a dry run, and not where nobody can be asked."""
    with pytest.raises(UserError, match="discard: 2 letters; say --yes"):
        run("discard", str(config))
    assert "t[0]@7" in run("discard", str(config), "--dry-run")
    assert run("discard", str(config), letter_id(LETTER), "--yes") == "1 discarded\n"
    assert [json.loads(line)["offset"] for line in run("list", str(config), "--json").splitlines()] == [8]
    (gone,) = run("list", str(config), "--status", "discarded", "--json").splitlines()
    assert json.loads(gone)["resolution"] == "by hand"
    assert "discarded already" in run("replay", str(config), letter_id(LETTER), "--yes", code=1)


def test_statuses_are_checked(config: Path) -> None:
    """The message lists them."""
    with pytest.raises(UserError, match="--status: found 'done', expected one of open, replayed"):
        run("list", str(config), "--status", "done")


def test_files_sources_are_run_again(config: Path) -> None:
    """Each run reads them whole, so there is no job to give a letter back to."""
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "source": {"files": {"paths": ["*.jsonl"]}}}))
    with pytest.raises(UserError, match=r"run `tillstream run` again, and discard"):
        run("replay", str(config), "--yes")


def given_back(
    monkeypatch: pytest.MonkeyPatch, config: Path, found: dict[Any, Any], **masks: Any
) -> tuple[list[ReplayMessage], dict[str, str]]:
    """Return what is sent and what is refused of all letters, where the topic still holds some."""
    sent: list[ReplayMessage] = []
    monkeypatch.setattr(give_back, "read_again", lambda *_: found)
    monkeypatch.setattr(give_back, "_send", lambda _, pairs, *__, **___: sent.extend(m for _, m in pairs))
    client = load(config)
    for name, value in masks.items():
        client = client.model_copy(update={name: value})
    outcome = give_back.replay(client, open_store(client).find(""))
    return sent, outcome.refused


def test_events_are_taken_from_their_topic_first(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    """They are whole there, and in the order of their offsets."""
    original = Original(b"k", b"v", (("op", b"c"),))
    sent, refused = given_back(monkeypatch, config, {("t", 0, offset): original for offset in (7, 8)})
    assert [(each.offset, each.key, each.value, each.headers, each.payload) for each in sent] == [
        (7, *original, None),
        (8, *original, None),
    ]
    assert refused == {}


def test_what_a_topic_no_longer_holds_is_taken_from_the_letter(
    monkeypatch: pytest.MonkeyPatch, config: Path
) -> None:
    """Of the reader's step it is the event itself; of the transform's the change with its position."""
    sent, refused = given_back(monkeypatch, config, {})
    assert [(each.value is None, each.payload is None, each.position) for each in sent] == [
        (True, False, (7,)),
        (False, True, ()),
    ]
    assert refused == {}


def test_events_of_which_headers_tell_are_not_taken_from_letters(
    monkeypatch: pytest.MonkeyPatch, config: Path
) -> None:
    """Without headers a change may lack its position, and would overwrite a newer one."""
    values = json.loads(config.read_text())
    values["source"]["events"] = {"format": "flattened"}
    config.write_text(json.dumps(values))
    sent, refused = given_back(monkeypatch, config, {})
    assert [each.payload is None for each in sent] == [False]
    assert ["is not the whole event" in why for why in refused.values()] == [True]


def test_masked_and_partial_letters_are_not_given_back(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    """Where the topic no longer holds the event the letter says why it cannot be replayed."""
    store(config).write_dead_letters([msgspec.structs.replace(LETTER, step="write", sink="out")])
    _, refused = given_back(monkeypatch, config, {})
    assert [why.split(", and ")[1].split(":")[0] for why in refused.values()] == [
        "the letter's payload is not the whole event"
    ]
    masked = load(config).privacy.model_copy(update={"by_class": {"email": None}})
    sent, refused = given_back(monkeypatch, config, {}, privacy=masked)
    assert sent == []
    assert all("may be masked" in why for why in refused.values())


def test_a_held_key_is_let_go_by_the_job(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    """Its letter goes through the replay topic, also where its place in the source's order is unknown."""
    sent: list[ReplayMessage] = []
    monkeypatch.setattr(give_back, "read_again", lambda *_: {})
    monkeypatch.setattr(give_back, "_send", lambda _, pairs, *__: sent.extend(m for _, m in pairs))
    values = json.loads(config.read_text())
    values["entities"]["orders"]["on_error"] = "hold_key"
    config.write_text(json.dumps(values))
    letters = store(config)
    letters.write_dead_letters([msgspec.structs.replace(LETTER, offset=9, position=())])
    letters.write_dead_letters([msgspec.structs.replace(LETTER, offset=10, payload=None)])
    outcome = give_back.discard(load(config), letters, letters.find(""))
    assert [(each.offset, each.action) for each in sent] == [(7, "discard"), (9, "discard")]
    assert ["on_error is set to skip" in why for why in outcome.refused.values()] == [True]
    found = {each.letter.offset: each.letter.status for each in letters.find("")}
    assert found == {7: "open", 8: "discarded", 9: "open", 10: "open"}
