"""Mutations become messages."""

from __future__ import annotations

import orjson

from tillstream.io.sinks.kafka_records import Messages, letter_message
from tillstream.pipelines.records import DeadLetter, MutationBatch

from .builders import batch, delete, entity, upsert

LIMITS = {"shop.things": 1000}
MESSAGES = Messages("lake", "shop", {"things": entity(id="int64", name="string", score="float64")})


def rows(*records: object) -> list[MutationBatch]:
    """Return a batch of things."""
    return [batch("id name score", *records)]  # type: ignore[arg-type]


def test_an_upsert_is_a_value_and_a_delete_a_tombstone() -> None:
    """Both have the same key; the delete's origin is in its headers."""
    (one, two), letters = MESSAGES.encode(rows(upsert(1, "a\nb", 2.5), delete(1, offset=8)), LIMITS)
    assert letters == []
    assert (one.topic, one.key, one.headers) == ("shop.things", b'{"id":1}', None)
    assert orjson.loads(one.value or b"")["name"] == "a\nb"
    assert (two.key, two.value) == (b'{"id":1}', None)
    assert dict(two.headers or [])["_offset"] == b"8"


def test_floats_that_json_has_not_are_spelt() -> None:
    """As in JSON lines."""
    (one,), _ = MESSAGES.encode(rows(upsert(1, "a", float("nan"))), LIMITS)
    assert orjson.loads(one.value or b"")["score"] == "NaN"


def test_what_cannot_be_sent_becomes_dead_letters() -> None:
    """A text that is no UTF-8 and a row that is too large; the others keep their order."""
    records = [upsert(1, "a", 1.0), upsert(2, "\ud800", 1.0), upsert(3, "x" * 1000, 1.0), upsert(4, "b", 1.0)]
    messages, letters = MESSAGES.encode(rows(*records), LIMITS)
    assert [message.key for message in messages] == [b'{"id":1}', b'{"id":4}']
    assert [letter.key for letter in letters] == [b'{"id":2}', b'{"id":3}']
    assert "surrogates" in letters[0].detail
    assert letters[1].detail.endswith("expected at most 800: max.message.bytes of its topic")
    assert {letter.sink for letter in letters} == {"lake"}


def test_a_letter_too_large_leaves_out_its_payload() -> None:
    """A row that was refused for its size can still be kept as a letter."""
    letter = DeadLetter(
        "acme", "things", "write", "refused_by_sink", "too large", "t", 0, 7, payload=b"x" * 9000
    )
    whole = letter_message("letters", letter, 100_000)
    cut = letter_message("letters", letter, 1000)
    assert orjson.loads(whole.value or b"")["payload"] == "x" * 9000
    line = orjson.loads(cut.value or b"")
    assert (line["payload"], line["offset"]) == (None, 7)
    assert line["detail"] == "too large (left out here, too large for letters: key, payload, traceback)"
    assert whole.key == cut.key == b'["t",0,7,0,"write","","things"]'
