"""Stores of dead letters are asked, and told what became of each."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from tillstream.configs import ClientConfig
from tillstream.io.sinks.files_letter_store import FilesLetters
from tillstream.io.sinks.letter_store import Filters, StoredLetter, marked, open_store
from tillstream.io.sinks.letters import letter_from, letter_id, letter_line
from tillstream.pipelines.errors import SinkError, UserError
from tillstream.pipelines.records import DeadLetter

NOW = dt.datetime(2025, 1, 2, tzinfo=dt.timezone.utc)
LETTER = DeadLetter(
    "acme",
    "orders",
    "transform",
    "contract",
    "too long",
    "t",
    0,
    7,
    key=b'{"id":5,"line":1}',
    payload=b"{}",
    transform="acme.x@1.0.0",
    position=(1, 2),
)


def letter(**changes: Any) -> DeadLetter:
    """Return a letter that differs from the usual one."""
    return msgspec.structs.replace(LETTER, **changes)


def store(folder: Path) -> FilesLetters:
    """Return a store of files."""
    config = ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "b:9092"}},
            "entities": {"orders": {"topic": "t", "key": ["id"], "sinks": ["out"]}},
            "sinks": {"out": {"type": "files", "path": str(folder)}},
        }
    )
    found = open_store(config)
    assert isinstance(found, FilesLetters)
    return found


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ({}, True),
        ({"entity": "orders", "step": "transform", "reason": "contract", "topic": "t"}, True),
        ({"entity": "items"}, False),
        ({"transform": "acme.x"}, True),
        ({"transform": "acme.x@1.0.0"}, True),
        ({"transform": "acme.x@1.0.1"}, False),
        ({"key": '{"id":5,"line":1}'}, True),
        ({"key": "5"}, True),
        ({"key": "6"}, False),
        ({"since": NOW}, True),
        ({"until": NOW}, False),
        ({"status": "replayed"}, False),
        ({"status": None}, True),
    ],
)
def test_filters(wanted: dict[str, Any], taken: bool) -> None:  # noqa: FBT001  (a parameter of the test)
    """Each filter asks one thing; a transform may come without its version, a key as one of its columns."""
    assert Filters(**wanted).takes(StoredLetter(LETTER, NOW)) is taken


def test_identities_are_what_they_were() -> None:
    """Letters are found again by what an earlier release called them, each entity's by its own."""
    assert letter_id(LETTER)[:12] == "dedb14572ac9"
    assert len({letter_id(letter(entity=entity)) for entity in ("orders", "views", None)}) == 3


def test_lines_of_an_earlier_release_stay_readable() -> None:
    """They have no version, and lack the fields that came later; another version is refused."""
    line = {name: letter_line(LETTER)[name] for name in LETTER.__struct_fields__[:14]}
    found = letter_from({**line, "payload": None, "payload_base64": "/w=="})
    assert found == letter(payload=b"\xff", position=())
    assert letter_from(orjson.loads(orjson.dumps(letter_line(letter(position=[1, 2]))))) == LETTER
    with pytest.raises(ValueError, match="found version 2"):
        letter_from({**line, "version": 2})
    with pytest.raises(ValueError, match="Missing required argument"):
        letter_from({"client": "acme"})


def test_the_latest_attempt_stands_in_files(tmp_path: Path) -> None:
    """Marks and later failures are lines beside the first one; what comes twice changes nothing."""
    files = store(tmp_path)
    steps = [
        letter(),
        letter(attempt=5, status="replayed", detail="ok"),
        letter(),
        letter(attempt=9, reason="other", payload=None),
        letter(attempt=9, status="replayed"),
        letter(attempt=12, status="discarded", detail="by hand"),
    ]
    found = []
    for step in steps:
        files.write_dead_letters([step])
        (stored,) = files.select(Filters(status=None), None)
        found.append((stored.letter.status, stored.letter.reason, stored.resolution, stored.letter.payload))
    assert found == [
        ("open", "contract", None, b"{}"),
        ("replayed", "contract", "ok", b"{}"),
        ("replayed", "contract", "ok", b"{}"),
        ("open", "other", None, b"{}"),
        ("open", "other", None, b"{}"),
        ("discarded", "other", "by hand", b"{}"),
    ]


def test_letters_are_found_in_the_order_in_which_they_were_kept(tmp_path: Path) -> None:
    """The oldest come first, as many as asked for; one is found by the beginning of its identity."""
    files = store(tmp_path)
    for age, offset in ((3, 8), (2, 7), (1, 9)):
        files.write_dead_letters([letter(offset=offset)])
        (path,) = (tmp_path / "_dead_letters").glob(f"part-{offset:016d}-*")
        os.utime(path, (1000 - age, 1000 - age))
    assert [stored.letter.offset for stored in files.select(Filters(), 2)] == [8, 7]
    identity = letter_id(letter(offset=9))
    assert [stored.letter.offset for stored in files.find(identity[:12])] == [9]
    assert list(files.get([identity, "unknown"])) == [identity]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    """Its file and number, and what to do."""
    folder = tmp_path / "_dead_letters"
    folder.mkdir()
    (folder / "part-1.jsonl").write_bytes(b"{}\n")
    with pytest.raises(SinkError, match=r"part-1.jsonl, line 1: .*expected a dead letter"):
        store(tmp_path).select(Filters(), None)


def test_a_mark_has_nothing_of_the_record() -> None:
    """It says whose it is, and what became of it."""
    found = marked(LETTER, "discarded", "by hand", 7)
    assert (found.key, found.payload, found.traceback) == (None, None, None)
    assert (letter_id(found), found.status, found.attempt) == (letter_id(LETTER), "discarded", 7)


def test_other_sinks_cannot_be_asked() -> None:
    """The message names those that can."""
    config = ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "b:9092"}},
            "entities": {"orders": {"topic": "t", "key": ["id"], "sinks": ["out"]}},
            "sinks": {"out": {"type": "kafka", "bootstrap_servers": "b:9092"}},
        }
    )
    with pytest.raises(UserError, match=r"'out' of type kafka.*one of type postgres or files"):
        open_store(config)
