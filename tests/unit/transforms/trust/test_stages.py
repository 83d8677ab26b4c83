"""Expectations keep rows back, warn or stop; masks reach rows and keys."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import ExpectationError, UserError
from tillstream.pipelines.isolation.budget import last_stop
from tillstream.pipelines.records import ChangeBatch, MutationKind, MutationRecord
from tillstream.transforms.output import Refused, row_stages
from tillstream.transforms.trust.stages import Warnings

SALT = "0123456789abcdef"
COLUMNS = ("id", "email", "total", "score", "born", "at")
UTC = dt.timezone.utc
GOOD = ("a", "ada@example.com", "10.00", 0.5, "1980-02-28", dt.datetime(2026, 1, 2, tzinfo=UTC))


@pytest.fixture(autouse=True)
def _salt(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TEST_SALT", SALT)
    yield
    last_stop()  # what stops a job is kept for the command that runs it


def config(**entity: Any) -> ClientConfig:
    """Return a client with one entity, people."""
    contract = {
        "id": "string",
        "email": {"type": "string", "pii": "email"},
        "total": "decimal(12,2)",
        "score": "float64",
        "born": "date",
        "at": "timestamptz",
    }
    people = {"topic": "t", "key": ["id"], "contract": contract, "sinks": ["out"], **entity}
    return ClientConfig.model_validate(
        {
            "client": "shop",
            "source": {"files": {"paths": ["in.jsonl"]}},
            "entities": {"people": people},
            "sinks": {"out": {"type": "files", "path": "/out"}},
            "privacy": {"salt": "${TEST_SALT}"},
        }
    )


def row(offset: int, time_us: int = 1000, **changes: Any) -> MutationRecord:
    """Return an upsert."""
    values = tuple({**dict(zip(COLUMNS, GOOD, strict=True)), **changes}.values())
    return MutationRecord(MutationKind.UPSERT, (values[0],), values, (offset,), time_us, offset)


DELETE = MutationRecord(MutationKind.DELETE, ("a",), None, (9,), 1000, 9)


def sift(
    client: ClientConfig, records: Sequence[MutationRecord], columns: tuple[str, ...] = COLUMNS
) -> tuple[list[MutationRecord], list[Refused]]:
    """Let the stages of people look at some rows."""
    batch = ChangeBatch("shop", "people", 0, "t", 0, ("id",), ())
    kept, refused = list(records), list[Refused]()
    for stage in row_stages(client)["people"]:
        kept, more = stage.sift(batch, columns, kept)
        refused += more
    return kept, refused


KINDS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"expect": "not_null", "column": "email"}, {"email": None}, "found email null, expected a value"),
    (
        {"expect": "range", "column": "total", "min": 0},
        {"total": "-0.01"},
        "total -0.01, expected at least 0",
    ),
    ({"expect": "range", "column": "total", "max": 10}, {"total": "10.01"}, "expected at most 10"),
    ({"expect": "range", "column": "score", "min": 0, "max": 1}, {"score": float("nan")}, "score nan"),
    (
        {"expect": "range", "column": "born", "min": "1900-01-01"},
        {"born": "1899-12-31"},
        "at least 1900-01-01",
    ),
    (
        {"expect": "range", "column": "at", "max": "2026-01-02T00:00:00Z"},
        {"at": dt.datetime(2026, 1, 3, tzinfo=UTC)},
        "expected at most 2026-01-02",
    ),
    ({"expect": "in_set", "column": "total", "values": [10, "9.5"]}, {"total": "9.51"}, "one of 10, 9.5"),
    ({"expect": "regex", "column": "email", "pattern": r"[^@]+@[^@]+"}, {"email": "a@b@c"}, "matches [^@]+@"),
    ({"expect": "cross_field", "expression": "total >= score"}, {"total": "0.25"}, "expected total >= score"),
    (
        {"expect": "freshness", "age_s_max": 10**12},
        {"time_us": -(10**18)},
        "commit at most 1000000000000 s ago",
    ),
]


@pytest.mark.parametrize(("expectation", "bad", "said"), KINDS)
@pytest.mark.parametrize("severity", ["drop", "quarantine", "warn", "fail"])
def test_every_kind_with_every_severity(
    expectation: dict[str, Any],
    bad: dict[str, Any],
    said: str,
    severity: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What breaks an expectation goes where its severity says; neighbours and deletes go on in order."""
    client = config(expectations=[{**expectation, "severity": severity, "name": "rule"}])
    records = [row(1), row(2, **bad), DELETE, row(3)]
    if severity == "fail":
        with pytest.raises(
            ExpectationError, match="client shop, entity people: expectation rule: found"
        ) as caught:
            sift(client, records)
        assert said in str(caught.value)
        return
    with caplog.at_level(logging.WARNING):
        kept, refused = sift(client, records)
    offsets = [record.offset for record in kept]
    assert offsets == ([1, 2, 9, 3] if severity == "warn" else [1, 9, 3])
    assert [each.error.reason for each in refused] == (
        ["expectation:rule"] if severity == "quarantine" else []
    )
    assert all(said in each.error.detail for each in refused)
    assert (said in caplog.text) is (severity == "warn")


@pytest.mark.parametrize(("expectation", "bad", "said"), KINDS)
def test_null_passes_all_but_not_null(expectation: dict[str, Any], bad: dict[str, Any], said: str) -> None:
    """As in SQL, what is not known breaks no rule but the one against it."""
    assert bad
    assert said
    nothing = dict.fromkeys(("email", "total", "score", "born", "at"))
    kept, refused = sift(config(expectations=[expectation]), [row(1), row(2, **nothing)])
    assert len(kept) + len(refused) == 2
    assert bool(refused) is (expectation["expect"] == "not_null")


def test_bounds_belong_to_a_range() -> None:
    """Decimals on a bound are compared exactly, although most are told by their floats."""
    client = config(expectations=[{"expect": "range", "column": "total", "min": "0.10", "max": "0.30"}])
    found = [row(place, total=text) for place, text in enumerate(("0.10", "0.30", "0.09", "0.31", "0.2"))]
    assert [record.offset for record in sift(client, found)[0]] == [0, 1, 4]


def test_decimals_are_not_negative() -> None:
    """What is typed most is told by the sign, but minus zero is zero and NaN is no number."""
    client = config(expectations=[{"expect": "range", "column": "total", "min": 0}])
    for text, passes in (("0.00", True), ("-0.00", True), ("-0.01", False), ("NaN", False), ("1.00", True)):
        assert bool(sift(client, [row(1), row(2, total=text)])[1]) is not passes


def test_decimals_of_many_digits_are_compared_exactly() -> None:
    """Neighbours that are one float are told apart."""
    contract = {"id": "string", "total": "decimal(30,2)"}
    asked = {"expect": "range", "column": "total", "min": "9007199254740993.01"}
    client = config(contract=contract, expectations=[asked])
    found = [
        MutationRecord(MutationKind.UPSERT, ("a",), ("a", text), (), 1, place)
        for place, text in enumerate(("9007199254740993.00", "9007199254740993.01", "9007199254740993.02"))
    ]
    assert [record.offset for record in sift(client, found, ("id", "total"))[0]] == [1, 2]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_number_that_is_none_is_in_no_range(place: int) -> None:
    """NaN has no order, wherever it stands among others."""
    found = [row(each, score=float("nan") if each == place else 0.5) for each in range(3)]
    client = config(expectations=[{"expect": "range", "column": "score", "min": 0}])
    assert [each.record.offset for each in sift(client, found)[1]] == [place]


def test_the_first_expectation_that_keeps_a_row_back_decides() -> None:
    """A row that breaks several has one dead letter, and warnings do not end the look."""
    asked: list[dict[str, Any]] = [
        {"expect": "not_null", "column": "email", "severity": "warn"},
        {"expect": "range", "column": "total", "min": 0},
        {"expect": "range", "column": "score", "min": 0, "severity": "fail"},
    ]
    kept, refused = sift(config(expectations=asked), [row(1, email=None, total="-1", score=-1.0)])
    assert kept == []
    assert [each.error.reason for each in refused] == ["expectation:range_total"]


def test_warnings_are_few() -> None:
    """A flood of bad rows makes one line every ten seconds, which says how many it stands for."""
    clock, lines = [0.0], []
    warnings = Warnings(lambda: clock[0])
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("tillstream.transforms.trust.stages")
    logger.addHandler(handler)
    try:
        for clock[0] in (0.0, 1.0, 9.9, 10.0, 11.0):
            warnings.warn("rule", f"at {clock[0]}")
    finally:
        logger.removeHandler(handler)
    assert lines == ["rule: at 0.0", "rule: at 10.0; 2 more since the last line"]


def test_masks_reach_rows_keys_and_deletes() -> None:
    """Each mask does what it is called, the same to a key wherever it stands."""
    masks = {
        "id": {"mask": "hash"},
        "email": {"mask": "truncate", "characters": 3},
        "born": {"mask": "redact"},
    }
    kept, refused = sift(config(masks=masks), [row(1), DELETE, row(2, email=None)])
    hashed = hmac.new(SALT.encode(), b"a", hashlib.sha256).hexdigest()
    assert [record.key for record in kept] == [(hashed,)] * 3
    assert [record.values for record in kept] == [
        (hashed, "ada", *GOOD[2:4], None, GOOD[5]),
        None,
        (hashed, None, *GOOD[2:4], None, GOOD[5]),
    ]
    assert [record.offset for record in kept] == [1, 9, 2]
    assert refused == []


def test_expectations_see_what_is_not_masked_yet_and_show_what_is() -> None:
    """A rule is about the value; what it says of one shows the mask."""
    client = config(
        expectations=[{"expect": "regex", "column": "email", "pattern": ".*@example.com"}],
        masks={"email": {"mask": "redact", "text": "gone"}},
    )
    kept, (refused,) = sift(client, [row(1), row(2, email="bob@evil.com")])
    assert [record.values[1] for record in kept if record.values] == ["gone"]
    assert refused.error.detail == "found email gone, expected text that matches .*@example.com"
    assert refused.record.values is not None
    assert refused.record.values[1] == "bob@evil.com"  # until the letter itself is masked


def test_rows_without_a_contract_are_masked_by_name() -> None:
    """A column may then hold any JSON, and values that Python thinks equal are told apart."""
    client = config(contract=None, masks={"email": {"mask": "hash"}})
    rows = [
        MutationRecord(MutationKind.UPSERT, ("a",), ("a", value), (1,), 1, place)
        for place, value in enumerate((1, True, [1], None, "x"))
    ]
    kept, _ = sift(client, rows, ("id", "email"))
    found = [record.values[1] for record in kept if record.values]
    assert found[3] is None
    assert len(set(found)) == 5
    assert all(len(each) == 64 for each in found if each)


@pytest.mark.parametrize(
    ("salt", "said"), [(None, "TEST_SALT"), ("short", "found 5 bytes, expected a salt of at")]
)
def test_a_salt_is_there_and_long(salt: str | None, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job whose salt is missing or can be guessed does not start, and says nothing of the salt."""
    if salt is None:
        monkeypatch.delenv("TEST_SALT")
    else:
        monkeypatch.setenv("TEST_SALT", salt)
    with pytest.raises(UserError, match=said) as caught:
        row_stages(config(masks={"email": {"mask": "hash"}}))
    assert salt is None or f"'{salt}'" not in str(caught.value)


def test_a_client_without_masks_needs_no_salt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read that nobody uses."""
    monkeypatch.delenv("TEST_SALT")
    assert row_stages(config()) == {"people": []}


def test_what_was_not_sent_is_neither_checked_nor_masked() -> None:
    """Null stands for a column that a change did not bring; it says nothing, and stays null."""
    expectations = [
        {"expect": "not_null", "column": "email"},
        {"expect": "range", "column": "score", "max": 1},
    ]
    stages = row_stages(config(expectations=expectations))["people"]
    batch = ChangeBatch("shop", "people", 0, "t", 0, ("id",), ())
    refused, rows = [], [row(1, email=None), row(2, email=None, score=2.0)]
    for stage in stages:
        rows, found = stage.without(("email",)).sift(batch, COLUMNS, rows)
        refused += [each.record.offset for each in found]
    assert [(each.offset, (each.values or ())[1]) for each in rows] == [(1, None)]
    assert refused == [2]
