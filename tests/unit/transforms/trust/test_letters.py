"""Dead letters of every step are masked, whatever their payload looks like."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from tillstream.configs import ClientConfig
from tillstream.pipelines.records import DeadLetter
from tillstream.transforms.resolving import resolve
from tillstream.transforms.trust.letters import LetterMasker

SALT = b"0123456789abcdef"
EMAIL = "ada@example.com"
HASH = hmac.new(SALT, EMAIL.encode(), hashlib.sha256).hexdigest()
MODULE = """
import apache_beam as beam
from pydantic import BaseModel
from tillstream.transforms.api import KeyedState, Lookup, transform
from tillstream.transforms.contracts.models import field

class Person(BaseModel):
    id: int
    login: str = field(pii="email")

@transform("lettertest.names@1.0.0", input=Person)
class Names(beam.DoFn):
    def process(self, event):
        yield event.upsert(event.after)

@transform("lettertest.states@1.0.0")
class States(beam.DoFn):
    def process(self, event, last=KeyedState()):
        yield event.upsert(event.after)

@transform("lettertest.orders@1.0.0")
class Orders(beam.DoFn):
    def process(self, event, person=Lookup("people", on="person_id")):
        yield event.upsert(event.after)
"""


@pytest.fixture
def masker(tmp_path: Path) -> LetterMasker:
    """Return the masker of a client whose people have personal data, and whose stock has none."""
    (tmp_path / "lettertest_module.py").write_text(MODULE, encoding="utf-8")
    people = {"id": "int64", "email": {"type": "string", "pii": "email"}, "note": "string"}
    config = ClientConfig.model_validate(
        {
            "client": "shop",
            "source": {"files": {"paths": ["in.jsonl"]}},
            "transforms": {"modules": ["lettertest_module"], "path": str(tmp_path)},
            "entities": {
                "people": {"topic": "people", "key": ["id"], "contract": people, "sinks": ["out"]},
                "stock": {"topic": "stock", "key": ["id"], "contract": {"id": "int64"}, "sinks": ["out"]},
                "readers": {"topic": "readers", "key": ["id"], "contract": people, "sinks": ["out"]},
                "names": {
                    "from": "readers",
                    "key": ["id"],
                    "contract": {"id": "int64", "name": "string"},
                    "masks": {"name": {"mask": "redact"}},
                    "transform": "lettertest.names@1.0.0",
                    "sinks": ["out"],
                },
                "visits": {
                    "topic": "visits",
                    "key": ["id"],
                    "contract": {"id": "int64"},
                    "transform": "lettertest.states@1.0.0",
                    "sinks": ["out"],
                },
                "orders": {
                    "topic": "orders",
                    "key": ["id"],
                    "contract": {"id": "int64"},
                    "transform": "lettertest.orders@1.0.0",
                    "sinks": ["out"],
                },
            },
            "sinks": {"out": {"type": "files", "path": "/out"}},
            "privacy": {"salt": "${S}", "by_class": {"email": {"mask": "hash"}}},
        }
    )
    return LetterMasker(resolve(config), SALT)


def letter(payload: Any, **more: Any) -> DeadLetter:
    """Return a letter of the entity people."""
    fields: dict[str, Any] = {
        "client": "shop",
        "entity": "people",
        "step": "read",
        "reason": "malformed",
        "detail": "",
        "topic": "people",
        "partition": 0,
        "offset": 1,
        "payload": payload if isinstance(payload, bytes) else json.dumps(payload).encode(),
        **more,
    }
    return DeadLetter(**fields)


def payload_of(masked: DeadLetter) -> Any:
    """Return a letter's payload, decoded."""
    return json.loads(masked.payload or b"null")


ROW = {"id": 1, "email": EMAIL, "note": "x"}
MASKED = {"id": 1, "email": HASH, "note": "x"}


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"op": "u", "before": ROW, "after": ROW}, {"op": "u", "before": MASKED, "after": MASKED}),
        (
            {"schema": {"name": "a"}, "payload": {"after": ROW}},
            {"schema": {"name": "a"}, "payload": {"after": MASKED}},
        ),
        (ROW, MASKED),
        ({"after": json.dumps(ROW)}, {"after": MASKED}),
        ({"after": f"email={EMAIL}"}, {"after": "(withheld)"}),
        ({"after": [EMAIL]}, {"after": "(withheld)"}),
        ({"after": None, "ts_ms": 5}, {"after": None, "ts_ms": 5}),
        ({"after": {"id": 1, "ssn": "078-05-1120"}}, {"after": {"id": 1, "ssn": "(withheld)"}}),
        ({"after": {**ROW, "note": {"email": [EMAIL]}}}, None),
        ({"after": {**ROW, "note": json.dumps([{"email": EMAIL}])}}, None),
        ({"after": {**ROW, "note": " \n" + json.dumps([{"email": EMAIL}])}}, None),
        ({"after": {**ROW, "note": json.dumps(json.dumps({"email": EMAIL}))}}, None),
        ({**ROW, "phone": "555-0100"}, {**MASKED, "phone": "(withheld)"}),
        ({"op": "u", "after": ROW, "phone": "555-0100"}, {"op": "u", "after": MASKED, "phone": "(withheld)"}),
        ({"op": "m", "message": {"content": EMAIL}}, {"op": "m", "message": "(withheld)"}),
        ({"source": {"query": f"insert {EMAIL}", "lsn": 1}}, {"source": {"query": "(withheld)", "lsn": 1}}),
        (
            {"after": {"id": 12345678901234567890, "note": 1.10}},
            {"after": {"id": 12345678901234567890, "note": 1.10}},
        ),
    ],
)
def test_known_fields_are_masked_wherever_they_stand(
    masker: LetterMasker, payload: Any, expected: Any
) -> None:
    """In rows before and after, in flat rows, in JSON inside of texts; the rest is kept."""
    found = payload_of(masker.mask(letter(payload)))
    assert EMAIL not in json.dumps(found)
    if expected is not None:
        assert found == expected


def test_numbers_keep_their_digits(masker: LetterMasker) -> None:
    """What is not masked comes out as it was read."""
    raw = b'{"after":{"id":1,"email":"ada@example.com","note":1.10}}'
    assert b'"note":1.10' in (masker.mask(letter(raw)).payload or b"")


@pytest.mark.parametrize(
    "raw", [b'{"after":{"email":"ada@', b"ada@example.com", b'["ada@example.com"]', b"\xff\xfe"]
)
def test_what_cannot_be_read_is_withheld(masker: LetterMasker, raw: bytes) -> None:
    """A payload or key that is no JSON object leaves its length, and an HMAC to find it again by."""
    masked = masker.mask(letter(raw, key=raw))
    assert payload_of(masked) == {
        "withheld": "not known to be free of masked values",
        "bytes": len(raw),
        "hmac_sha256": hmac.new(SALT, raw, hashlib.sha256).hexdigest(),
    }
    assert masked.key == masked.payload


def test_a_topic_that_nobody_names_is_withheld(masker: LetterMasker) -> None:
    """Nothing is known of its rows."""
    masked = masker.mask(
        letter({"after": {"iban": "DE02"}}, entity=None, topic="other", key=b'{"iban":"DE02"}')
    )
    assert b"DE02" not in (masked.payload or b"") + (masked.key or b"")


def test_entities_without_masks_keep_their_letters(masker: LetterMasker) -> None:
    """What has no personal data is left as it is."""
    plain = letter(b'{"after": {"id" : 1}', entity="stock", topic="stock", detail="found 1")
    assert masker.mask(plain) == plain


def test_what_rules_say_of_values_is_masked(masker: LetterMasker) -> None:
    """Values stand in no detail, however they are quoted, cut or written."""
    detail = f"Expected `x`, got `{EMAIL}`, '{EMAIL.upper()}' and {EMAIL[:9]!r}…"
    masked = masker.mask(letter({"after": ROW}, step="transform", reason="contract", detail=detail))
    assert masked.detail == "Expected `x`, got `[masked]`, '[masked]' and '[masked]'…"


def test_what_rules_say_of_unknown_columns_is_masked(masker: LetterMasker) -> None:
    """A column that no contract names may hold anything."""
    more = {"step": "transform", "reason": "schema", "detail": "found column ssn with `078-05-1120`"}
    masked = masker.mask(letter({"after": {"id": 1, "ssn": "078-05-1120"}}, **more))
    assert masked.detail == "found column ssn with `[masked]`"


def test_a_short_value_is_taken_out_where_it_stands_alone(masker: LetterMasker) -> None:
    """It stands inside of other words by chance."""
    more = {"step": "transform", "reason": "contract", "detail": "found `ADA` of Adam"}
    masked = masker.mask(letter({"after": {"id": 1, "email": "Ada"}}, **more))
    assert masked.detail == "found `[masked]` of Adam"


def test_a_view_is_masked_by_both_entities(masker: LetterMasker) -> None:
    """The letter of a view shows what its source and itself both allow, its transform's input among them."""
    after = {"id": 1, "email": EMAIL, "login": "countess@example.com", "name": "Ada"}
    masked = masker.mask(
        letter(
            {"after": after},
            entity="names",
            topic="in.jsonl",
            step="transform",
            reason="transform_failed",
            detail="ValueError: countess@example.com",
            transform="lettertest.names@1.0.0",
        )
    )
    found = payload_of(masked)["after"]
    assert (found["email"], found["name"]) == (HASH, None)
    assert found["login"] not in (None, "countess@example.com")
    # "Ada" is too short to be looked for.
    assert masked.detail == "ValueError: message withheld: it may hold values that are masked"


@pytest.mark.parametrize(("entity", "transform"), [("visits", "states"), ("orders", "orders")])
def test_what_a_transform_remembers_or_looks_up_is_withheld(
    masker: LetterMasker, entity: str, transform: str
) -> None:
    """Its exceptions may speak of other rows than the one at hand."""
    trace = (
        "Traceback (most recent call last):\n"
        '  File "shop.py", line 3, in process\n'
        "    raise ValueError(person)\n"
        "    ^^^^^^^^^^^^^^^^^^^^^^^^\n"
        f"ValueError: {EMAIL}\n    {EMAIL}\n"
        "\nDuring handling of the above exception, another exception occurred:\n\n"
        "Traceback (most recent call last):\n"
        '  File "shop.py", line 5, in process\n'
        "    raise shop.Broken\n"
        f"shop.Broken: {EMAIL}\n"
    )
    masked = masker.mask(
        letter(
            {"after": {"id": 1}},
            entity=entity,
            topic=entity,
            step="transform",
            reason="transform_failed",
            detail=f"ValueError: {EMAIL}",
            traceback=trace,
            transform=f"lettertest.{transform}@1.0.0",
        )
    )
    assert masked.detail == "ValueError: message withheld: it may hold values that are masked"
    assert masked.traceback == (
        "Traceback (most recent call last):\n"
        '  File "shop.py", line 3, in process\n'
        "    raise ValueError(person)\n"
        "    ^^^^^^^^^^^^^^^^^^^^^^^^\n"
        "ValueError: message withheld: it may hold values that are masked\n"
        "During handling of the above exception, another exception occurred:\n"
        "Traceback (most recent call last):\n"
        '  File "shop.py", line 5, in process\n'
        "    raise shop.Broken\n"
        "shop.Broken: message withheld: it may hold values that are masked"
    )
