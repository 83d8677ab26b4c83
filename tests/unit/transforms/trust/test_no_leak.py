"""No masked value leaves the job, whatever rows, faults and exceptions there are."""

from __future__ import annotations

import json
from collections.abc import Iterator
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
import apache_beam as beam
from tillstream.pipelines.errors import RecordError
from tillstream.transforms.api import transform

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
"""
VALUES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=4, max_size=40)
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
    config = ClientConfig.model_validate(
        {
            "client": "shop",
            "source": {"files": {"paths": ["in.jsonl"]}},
            "transforms": {"modules": ["leaktest_module"], "path": str(folder)},
            "entities": {
                "people": {"topic": "shop.public.people", **people, **transform},
                "copies": {"topic": "shop.public.copies", **people},
                "others": {**people, "expectations": []},
            },
            "sinks": {"out": {"type": "files", "path": "/out"}},
            "privacy": {
                "salt": "${LEAK_SALT}",
                "by_class": {"email": {"mask": "tokenise"}, "name": {"mask": "hash"}},
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
        cells = states.setdefault(key, [cell for _ in range(2) for cell in _cells()])
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
            VALUES.map(lambda text: f"Zoë{text}"),
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
            for spelling in {value, escaped, repr(value)[1:-1], json.dumps(escaped)[1:-1]}:
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
