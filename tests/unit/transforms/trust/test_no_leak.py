"""No masked value leaves the job, whatever rows, faults and exceptions there are."""

from __future__ import annotations

import datetime as dt
import json
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from apache_beam.pvalue import TaggedOutput
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tillstream.configs import ClientConfig
from tillstream.io.collector import ChangeCollector
from tillstream.pipelines.records import DeadLetterBatch, MutationBatch
from tillstream.transforms.fake_state import FakeState
from tillstream.transforms.resolving import resolve
from tillstream.transforms.transform_changes import TransformChanges
from tillstream.transforms.trust.letters import LetterMasker

SALT = "0123456789abcdef"
MODULE = """
import datetime as dt
from decimal import Decimal

import apache_beam as beam
from pydantic import BaseModel
from tillstream.pipelines.errors import RecordError
from tillstream.transforms.api import KeyedState, transform
from tillstream.transforms.contracts.models import field

@transform("leaktest.people@1.0.0")
class People(beam.DoFn):
    def process(self, event):
        row = event.after or event.before or {}
        fault = (event.after or {}).get("fault")
        if fault == "raw":
            raise ValueError(f"bad row {row}")
        if fault == "upper":
            raise KeyError(str(row.get("email")).upper())
        if fault == "cut":
            raise ValueError(f"{str(row.get('email'))[:20]!r}... is too long")
        if fault == "chained":
            try:
                raise ValueError(row.get("email"))
            except ValueError as error:
                raise RuntimeError(f"{row.get('name')}\\n    {row.get('email')}") from error
        if fault == "record":
            raise RecordError(str(row.get("email")), str(row.get("name")))
        if fault == "type":
            yield event.upsert({**row, "born": row.get("email")})
        elif event.after is None:
            yield event.delete()
        else:
            yield event.upsert(row)
            yield event.upsert(row, entity="others")

class Person(BaseModel):
    number: int
    dob: dt.date = field(pii="typed")
    seen_at: dt.datetime = field(pii="typed")
    salary: Decimal = field(pii="typed", type="decimal(20,2)")
    fault: str | None = None

@transform("leaktest.typed@1.0.0", input=Person)
class Typed(beam.DoFn):
    def process(self, event):
        row = event.after
        if row["fault"] == "raw":
            raise ValueError(f"bad row {row}")
        if row["fault"] == "record":
            said = f"{row['dob']!r} {row['dob']} {row['seen_at']} {row['salary'].normalize()}"
            raise RecordError("bad", said)
        if row["fault"] == "words":
            raise ValueError(f"{row['dob']:%d.%m.%Y} {row['seen_at']:%d.%m.%Y %H:%M} {float(row['salary'])}")
        if row["fault"] == "type":
            yield event.upsert({**row, "number": str(row["dob"]), "salary": f"{row['salary']!r}"})
        else:
            yield event.upsert(row)

@transform("leaktest.recalled@1.0.0")
class Recalled(beam.DoFn):
    def process(self, event, last=KeyedState()):
        row, before = event.after, last.get()
        last.set(row)
        if row.get("fault") == "record" and before:
            raise RecordError(before["email"], f"unlike {before['email']}")
        if row.get("fault") == "type" and before:
            yield event.upsert({**row, "born": before["email"]})
        else:
            yield event.upsert(row)
"""
VALUES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=4, max_size=40)
ASCII = st.text(st.characters(max_codepoint=126, min_codepoint=32), min_size=4, max_size=40)
FAULTS = [None, "raw", "upper", "cut", "chained", "record", "type"]
SHAPES = ["whole", "whole", "whole", "delete", "cut", "flat", "no op", "list", "text", "nested"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientConfig]:
    """Return a client that masks names and e-mails, and whose transform raises as its rows say."""
    folder = tmp_path_factory.mktemp("leaktest")
    (folder / "leaktest_module.py").write_text(MODULE, encoding="utf-8")
    contract = {
        "email": {"type": "string", "pii": "email"},
        "name": {"type": "string", "pii": "name"},
        "born": "date",
    }
    expectations = [
        {"expect": "regex", "column": "email", "pattern": r"[a-m].*", "severity": "quarantine"},
        {"expect": "cross_field", "expression": "name != email", "severity": "quarantine"},
    ]
    people = {"key": ["email"], "contract": contract, "sinks": ["out"], "expectations": expectations}
    transform = {"transform": "leaktest.people@1.0.0"}
    typed = {
        "number": "int64",
        "dob": {"type": "date", "pii": "typed"},
        "seen_at": {"type": "timestamptz", "pii": "typed"},
        "salary": {"type": "decimal(20,2)", "pii": "typed"},
    }
    config = ClientConfig.model_validate(
        {
            "client": "shop",
            "source": {"files": {"paths": ["in.jsonl"]}},
            "transforms": {"modules": ["leaktest_module"], "path": str(folder)},
            "entities": {
                "people": {"topic": "shop.public.people", **people, **transform},
                "copies": {"topic": "shop.public.copies", **people},
                "others": {**people, "expectations": []},
                "typed": {
                    "topic": "shop.public.typed",
                    "key": ["number"],
                    "contract": typed,
                    "sinks": ["out"],
                    "transform": "leaktest.typed@1.0.0",
                },
                "recalled": {
                    "topic": "shop.public.recalled",
                    **people,
                    "key": ["id"],
                    "contract": {"id": "int64", **contract},
                    "expectations": [],
                    "transform": "leaktest.recalled@1.0.0",
                },
            },
            "sinks": {"out": {"type": "files", "path": "/out"}},
            "privacy": {
                "salt": "${LEAK_SALT}",
                "by_class": {
                    "email": {"mask": "tokenise"},
                    "name": {"mask": "hash"},
                    "typed": {"mask": "redact"},
                },
            },
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEAK_SALT", SALT)
        yield resolve(config)


def line(table: str, shape: str, email: str, name: str, fault: str | None) -> bytes:
    """Return an event, more or less whole."""
    row = {"email": email, "name": name, "born": "1980-02-28", "fault": fault}
    source = {"connector": "postgresql", "name": "shop", "schema": "public", "table": table, "ts_ms": 1}
    event: Any = {"op": "c", "before": None, "after": row, "source": source}
    if shape == "delete":
        event |= {"op": "d", "before": row, "after": None}
    elif shape == "flat":
        event = {**row, "source": source}
    elif shape == "no op":
        event |= {"op": "q"}
    elif shape == "list":
        event |= {"after": [email, name]}
    elif shape == "text":
        event |= {"after": json.dumps(row)}
    elif shape == "nested":
        event |= {"after": {**row, "born": {"email": email, "note": json.dumps({"name": name})}}}
    encoded = json.dumps(event, ensure_ascii=len(email) % 2 == 0).encode()
    return encoded[: len(encoded) * 2 // 3] if shape == "cut" else encoded


def written(client: ClientConfig, lines: list[bytes]) -> list[bytes]:
    """Return all that a job would write of some lines: rows, and masked letters."""
    collector, stage = ChangeCollector(client), TransformChanges(client)
    stage.setup()
    masker = LetterMasker(client, SALT.encode())
    for number, each in enumerate(lines):
        collector.add_line("in.jsonl", number, each)
    found: list[Any] = []
    states: dict[bytes, list[Any]] = {}
    for output in collector.flush():
        if isinstance(output, TaggedOutput):
            found.append(output)
            continue
        key = output[0]
        cells = states.setdefault(key, [cell for _ in range(3) for cell in _cells()])
        found += stage.process(output, *cells)
    written: list[bytes] = []
    for output in found:
        if isinstance(output, TaggedOutput):
            letters = DeadLetterBatch.decode(output.value).letters
            written += [DeadLetterBatch((masker.mask(letter),)).encode() for letter in letters]
        else:
            written.append(MutationBatch.decode(output[1]).encode())
    return written


def _cells() -> list[Any]:
    state = FakeState()
    return [state.cell, state.bag]


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["people", "copies", "unknown"]),
            st.sampled_from(SHAPES),
            VALUES.map(lambda text: f"ada{text}"),
            VALUES.map(lambda text: f"Zoë{text}") | ASCII.map(lambda text: f"Zoe{text}"),
            st.sampled_from(FAULTS),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_no_masked_value_is_written(
    client: ClientConfig, rows: list[tuple[str, str, str, str, str | None]]
) -> None:
    """Neither rows nor letters hold one, as it is, quoted, escaped or in another case."""
    frames = written(client, [line(*row) for row in rows])
    for _, _, *values, _ in rows:
        for value in map(str, values):
            escaped = json.dumps(value)[1:-1]
            forms = {unicodedata.normalize("NFC", value), unicodedata.normalize("NFKD", value)}
            for spelling in {value, escaped, repr(value)[1:-1], json.dumps(escaped)[1:-1], *forms}:
                for frame in frames:
                    assert spelling.lower() not in frame.decode("utf-8", "replace").lower()


def test_the_rows_and_letters_are_there(client: ClientConfig) -> None:
    """What the property looks at is not empty: each fault and shape leaves something."""
    lines = [
        line("people", "whole", f"ada{number}@example.com", "Ada Lovelace", fault)
        for number, fault in enumerate(FAULTS)
    ]
    frames = written(client, lines)
    text = b"".join(frames)
    for reason in (b"transform_failed", b"ValueError", b"KeyError", b"RuntimeError", b"contract"):
        assert reason in text
    assert b"@example.com" not in text
    assert b"lovelace" not in text.lower()


def event(table: str, row: dict[str, Any], number: int = 1) -> bytes:
    """Return a whole event of some table."""
    source = {"connector": "postgresql", "name": "shop", "schema": "public", "table": table, "ts_ms": number}
    return json.dumps({"op": "c", "before": None, "after": row, "source": {**source, "lsn": number}}).encode()


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dob=st.dates(min_value=dt.date(1900, 1, 1)),
    seen_at=st.datetimes(min_value=dt.datetime(1900, 1, 1), max_value=dt.datetime(2900, 1, 1)),  # noqa: DTZ001
    salary=st.decimals(min_value=1000, max_value=10**12, places=2),
    fault=st.sampled_from(["raw", "record", "words", "type", None]),
)
def test_no_typed_value_is_written(
    client: ClientConfig, dob: dt.date, seen_at: dt.datetime, salary: Decimal, fault: str | None
) -> None:
    """Code sees dates, instants and decimals as Python does, and may write them in any way."""
    instant = seen_at.replace(tzinfo=dt.timezone.utc)
    row = {
        "number": 1,
        "dob": str(dob),
        "seen_at": instant.isoformat(),
        "salary": str(salary),
        "fault": fault,
    }
    (frame,) = written(client, [event("typed", row)])
    text = frame.decode("utf-8", "replace")
    spellings = {str(dob), repr(dob)[len("datetime.") :], f"{dob:%d.%m.%Y}", str(salary), str(float(salary))}
    spellings |= {str(seen_at), seen_at.isoformat(), repr(seen_at)[len("datetime.datetime(") : -1]}
    spellings |= {f"{dob.year}, {dob.month}, {dob.day}", f"{seen_at:%d.%m.%Y %H:%M}"}
    for spelling in spellings:
        assert spelling not in text
    assert fault is None or ("contract" if fault == "type" else "transform_failed") in text


@pytest.mark.parametrize(("fault", "reason"), [("record", b"RecordError: "), ("type", b"contract")])
def test_what_a_transform_recalls_is_not_written(client: ClientConfig, fault: str, reason: bytes) -> None:
    """What its own RecordError says, and what rules find in what it made, may be of other rows."""
    row = {"id": 1, "email": "grace@example.com", "name": "Grace Hopper", "born": "1906-12-09"}
    again = {**row, "email": "ada@example.com", "fault": fault}
    text = b"".join(written(client, [event("recalled", row), event("recalled", again, 2)]))
    assert reason in text
    assert b"grace@" not in text
