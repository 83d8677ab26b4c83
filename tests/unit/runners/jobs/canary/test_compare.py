"""Two versions' outputs are compared: what is alike is not told, what differs is told exactly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tillstream.configs import ClientConfig
from tillstream.io.sinks.shadow import ShadowSink
from tillstream.pipelines.errors import UserError
from tillstream.pipelines.records import DeadLetter, MutationBatch, MutationKind, MutationRecord
from tillstream.runners.jobs.canary.compare import WITHHELD, compare_entities, compare_letters
from tillstream.runners.jobs.canary.options import Tolerance
from tillstream.runners.jobs.canary.report import lines_of
from tillstream.runners.jobs.canary.verdict import CanaryVerdict, Difference, EntityDiff, Letters

CONTRACT = {"id": "int64", "amount": "decimal(12,2)", "email": {"type": "string", "pii": "email"}}
COLUMNS = ("id", "amount", "email")
POSTGRES = {"type": "postgres", "host": "h", "database": "d", "user": "u"}
ROWS = [(key, f"{key}.00", f"{key}@example.org") for key in range(20)]


def config(*sinks: str, **contract: Any) -> ClientConfig:
    """Return a config with one entity, whose rows go to some sinks."""
    entity = {"topic": "t", "key": ["id"], "contract": {**CONTRACT, **contract}, "sinks": list(sinks)}
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "b:9092"}},
            "entities": {"sales": entity},
            "sinks": {"warehouse": POSTGRES, "lake": {"type": "files", "path": "lake"}},
        }
    )


class Sides:
    """Let two versions write, and compare them.

    Args:
        folder: for both.
    """

    def __init__(self, folder: Path) -> None:
        self.folders = {side: folder / side for side in ("old", "new")}
        self.told: list[Difference] = []

    def write(self, side: str, rows: Sequence[tuple[Any, ...]], **changes: Any) -> None:
        """Write rows as one batch a row, each of an offset of its own, in two shards."""
        sink = ShadowSink("any", "acme", self.folders[side], frozenset({"sales"}))
        sink.open()
        columns = changes.pop("columns", COLUMNS)
        for number, row in enumerate(rows):
            record = MutationRecord(MutationKind.UPSERT, row[:1], row, (0, number, 1, number), 0, number)
            batch = MutationBatch("acme", "sales", row[0] % 2, "t", 0, columns, ("id",), (record,), **changes)
            sink.write([batch], list)
        sink.close()

    def letter(self, side: str, offset: int, reason: str) -> None:
        """Write a dead letter."""
        sink = ShadowSink("any", "acme", self.folders[side], frozenset())
        sink.open()
        sink.write_dead_letters([DeadLetter("acme", "sales", "transform", reason, "", "t", 0, offset)])
        sink.close()

    def diff(
        self, *tolerated: str, old: ClientConfig | None = None, new: ClientConfig | None = None
    ) -> EntityDiff:
        """Return what is found of the one entity."""
        sides = [
            (each or config("warehouse"), self.folders[name]) for name, each in (("old", old), ("new", new))
        ]
        found = compare_entities(sides[0], sides[1], Tolerance(tolerated), self.told.append)
        assert [each.entity for each in found] == ["sales"]
        return found[0]


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    """Return two sides that have written nothing."""
    return Sides(tmp_path)


def counts(diff: EntityDiff) -> tuple[int, int, int, int]:
    """Return equal, changed, only old, only new."""
    return diff.equal, diff.changed, diff.only_old, diff.only_new


def test_the_same_rows_are_no_difference(sides: Sides) -> None:
    """In another order, and cut into other batches, they are the same."""
    sides.write("old", ROWS)
    sides.write("new", ROWS)
    diff = sides.diff()
    assert (counts(diff), diff.differences, sides.told) == ((20, 0, 0, 0), 0, [])


def test_wrong_arithmetic_in_a_column_is_told(sides: Sides) -> None:
    """With the column, both values and the change that it was made of."""
    sides.write("old", ROWS)
    sides.write("new", [(key, "9.99" if key == 3 else amount, email) for key, amount, email in ROWS])
    diff = sides.diff()
    assert (counts(diff), diff.columns) == ((19, 1, 0, 0), {"amount": 1})
    wrong = Difference("sales", "changed", {"id": 3}, {"amount": ["3.00", "9.99"]}, ("t", 0, 3, 0))
    assert (sides.told, diff.examples) == ([wrong], [wrong])


def test_rows_that_one_side_lacks_are_told(sides: Sides) -> None:
    """Those that are dropped, and those that are too many; personal values are withheld."""
    sides.write("old", ROWS)
    sides.write("new", [*ROWS[:-1], (99, "1.00", "who@example.org")])
    assert counts(sides.diff()) == (19, 0, 1, 1)
    lost, gained = sorted(sides.told, key=lambda each: each.kind, reverse=True)
    assert (lost.kind, lost.key) == ("only_old", {"id": 19})
    row = {"_operation": "upsert", "id": 99, "amount": "1.00", "email": WITHHELD}
    assert (gained.kind, gained.columns) == ("only_new", row)


@pytest.mark.parametrize(
    ("old", "new"), [(1, True), (1, 1.0), (None, ""), ("1.0", "1.00"), (0.5, 0.25), ([1], [True])]
)
def test_values_that_sinks_tell_apart_differ(sides: Sides, old: Any, new: Any) -> None:
    """Python's own equality would let some of them pass."""
    sides.write("old", [(1, old, "x")])
    sides.write("new", [(1, new, "x")])
    assert sides.diff().columns == {"amount": 1}


def test_what_is_no_number_equals_itself(sides: Sides) -> None:
    """Though Python says that it does not."""
    for side in ("old", "new"):
        sides.write(side, [(1, float("nan"), "x")])
    assert counts(sides.diff()) == (1, 0, 0, 0)


def test_a_log_of_changes_is_compared_change_by_change(sides: Sides) -> None:
    """Where rows are kept, only what a key ends as counts."""
    sides.write("old", [(1, "1.00", "x"), (1, "2.00", "x")])
    sides.write("new", [(1, "5.00", "x"), (1, "2.00", "x")])
    log = config("warehouse", "lake")
    assert counts(sides.diff()) == (1, 0, 0, 0)
    assert counts(sides.diff(old=log, new=log)) == (1, 1, 0, 0)


def test_an_aggregate_is_compared_by_what_it_ends_as(sides: Sides) -> None:
    """How often it says how it stands depends on how changes were cut into batches."""
    sides.write("old", [(1, "1.00", "x"), (1, "2.00", "x")], derived=True)
    sides.write("new", [(1, "1.50", "x"), (1, "1.70", "x"), (1, "2.00", "x")], derived=True)
    log = config("lake")
    diff = sides.diff(old=log, new=log)
    assert (counts(diff), diff.level) == ((1, 0, 0, 0), "rows")


def test_what_is_meant_to_change_is_tolerated(sides: Sides) -> None:
    """A column alone lets no other pass, and no row that is missing; an entity lets all pass."""
    sides.write("old", ROWS)
    new = [(key, "0.00", email) for key, _, email in ROWS[:-1]]
    sides.write("new", [*new[:-1], (18, "0.00", "wrong")])
    found = sides.diff("sales.amount")
    # Of row 0 the amount is the same; row 18 has another email too, row 19 is gone.
    assert (counts(found), found.tolerated, found.differences) == ((1, 18, 1, 0), 17, 2)
    assert sides.diff("sales").differences == 0
    assert [each.tolerated for each in sides.told[:2]] == [True, True]


def test_a_column_that_one_contract_lacks_is_said_and_not_compared(sides: Sides) -> None:
    """The others are."""
    sides.write("old", ROWS)
    sides.write("new", [(*row, "note") for row in ROWS], columns=(*COLUMNS, "note"))
    added = config("warehouse", note="string", amount="decimal(14,2)")
    diff = sides.diff(new=added)
    assert (counts(diff), diff.notes) == (
        (20, 0, 0, 0),
        ["only the new contract has note: not compared", "amount was decimal(12,2) and is decimal(14,2)"],
    )


def test_dead_letters_are_gained_and_lost(sides: Sides) -> None:
    """By reason; those of both sides are none."""
    for side, offset, reason in [("old", 1, "a"), ("new", 1, "a"), ("old", 2, "a"), ("new", 3, "b")]:
        sides.letter(side, offset, reason)
    assert compare_letters(sides.folders["old"], sides.folders["new"]) == [
        Letters("sales", "transform", "a", 0, 1),
        Letters("sales", "transform", "b", 1, 0),
    ]


def test_a_letter_with_another_reason_is_another_one(sides: Sides) -> None:
    """What was refused for one reason is now refused for another."""
    sides.letter("old", 1, "a")
    sides.letter("new", 1, "b")
    found = compare_letters(sides.folders["old"], sides.folders["new"])
    assert [(each.reason, each.gained, each.lost) for each in found] == [("a", 0, 1), ("b", 1, 0)]


def test_a_damaged_file_is_not_taken_for_an_end(sides: Sides) -> None:
    """Whatever was cut off would be missing on one side only."""
    for side in ("old", "new"):
        sides.write(side, ROWS)
    path = next(sides.folders["new"].glob("sales/*"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="ends too early"):
        sides.diff()


def test_what_is_tolerated_must_exist() -> None:
    """A misspelt name would tolerate nothing, and be found out after the canary."""
    for named, message in [
        ("sale", "no entity 'sale', expected one of sales"),
        ("sales.sum", "no column 'sum'"),
    ]:
        with pytest.raises(UserError, match=message):
            Tolerance.checked([named], config("warehouse"))
    assert Tolerance.checked(["sales.amount"], config("warehouse")).takes("sales", ["amount"])


def test_a_verdict_is_shown_shortly(sides: Sides) -> None:
    """Counts, examples, dead letters and the reason; and it is whole as JSON."""
    sides.write("old", ROWS)
    sides.write("new", [(key, "9.99" if key == 3 else amount, email) for key, amount, email in ROWS[:-1]])
    verdict = CanaryVerdict(
        promote=False,
        reason="3 differences",
        source_changes=20,
        seconds={"old": 1.0, "new": 1.5},
        entities=[sides.diff()],
        letters=[Letters("sales", "transform", "exception", 1, 0)],
        differences=3,
    )
    assert list(lines_of(verdict)) == [
        "20 source changes, read by both: old 1.0 s, new 1.5 s",
        "  sales (rows): 18 equal, 1 changed, 1 only in the old",
        "    columns: amount 1",
        "    changed id=3  amount: 3.00 -> 9.99",
        "    only_old id=19  _operation: upsert, amount: 19.00, email: (personal)",
        "  dead letters (sales, transform): exception 1 gained",
        "refused: 3 differences",
    ]
    assert msgspec.json.decode(verdict.encode(), type=CanaryVerdict) == verdict
