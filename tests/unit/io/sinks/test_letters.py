"""Refused mutations become dead letters."""

from __future__ import annotations

import datetime as dt

from tillstream.io.sinks.letters import refused, text_of

from .builders import batch, delete, upsert


def test_a_letter_holds_the_row_as_json() -> None:
    """Every wire form, also such as JSON lacks, shows in the payload."""
    instant = dt.datetime(2024, 2, 29, tzinfo=dt.timezone.utc)
    record = upsert(1, b"\0\xff", float("nan"), instant, "\ud800", None, offset=9)
    letter = refused("out", batch("id data ratio at text gone", record), record, "no room")
    assert letter.payload == (
        b'{"id":1,"data":"AP8=","ratio":"nan","at":"2024-02-29T00:00:00+00:00","text":"\\ud800","gone":null}'
    )
    assert (letter.key, letter.detail, letter.topic, letter.partition) == (b'{"id":1}', "no room", "t", 3)
    assert (letter.client, letter.entity, letter.offset, letter.index) == ("acme", "things", 9, 0)
    assert letter.sink == "out"


def test_a_refused_delete_has_a_key_and_no_payload() -> None:
    """A delete is told by its key alone."""
    record = delete(1)
    letter = refused("out", batch("id", record), record, "locked")
    assert (letter.key, letter.payload) == (b'{"id":1}', None)


def test_bytes_are_text_where_all_can_keep_them() -> None:
    """NUL and broken UTF-8 are no text."""
    assert [text_of(value) for value in (b"a", b"", b"\0", b"\xff", None)] == ["a", "", None, None, None]
