"""Hold what a transform made, compare it with what was expected, and say what differs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any, TypeAlias

import msgspec

from tillstream.pipelines.records import (
    DeadLetter,
    DeadLetterBatch,
    Mutation,
    MutationBatch,
    MutationKind,
    MutationRecord,
    Position,
)
from tillstream.transforms.testing.executor import Outcome

__all__ = ["Result", "Rows", "assert_rows", "letters_of", "plain", "readable", "result_of", "same_value"]

# {entity: {key: row}}; the key of one column is its value, that of several a tuple.
Rows: TypeAlias = Mapping[str, Mapping[Any, Mapping[str, Any]]]


@dataclass(frozen=True)
class Result:
    """Hold what came out.

    Values have the form that JSON gives them: decimals, instants, dates and UUIDs are text.

    Attributes:
        mutations: in the order in which sinks get them.
        letters: dead letters, in order.
    """

    mutations: Sequence[Mutation]
    letters: Sequence[DeadLetter] = field(default=())

    @cached_property
    def rows(self) -> dict[str, dict[Any, dict[str, Any]]]:
        """Return the rows that a sink holds in the end: {entity: {key: row}}.

        The key of one column is its value, that of several a tuple of them, in the config's order.
        """
        tables: dict[str, dict[Any, dict[str, Any]]] = {}
        # Lines of files have no position, but the time of their commit.
        places: dict[tuple[str, Any], tuple[Position, int]] = {}
        for each in self.mutations:
            values = tuple(each.key.values())
            key = values[0] if len(values) == 1 else values
            table = tables.setdefault(each.entity, {})
            if each.kind is MutationKind.TRUNCATE:
                place = (each.position, each.source_time_us)
                for other in [key for key in table if places[each.entity, key] < place]:
                    del table[other]
                continue
            places[each.entity, key] = (each.position, each.source_time_us)
            if each.kind is MutationKind.DELETE:
                table.pop(key, None)
            else:
                table[key] = each.row or {}
        return tables


def result_of(outcome: Outcome, shown: frozenset[str]) -> Result:
    """Return what came out of a run, without the rows of entities that are not shown."""
    mutations = []
    for frame in outcome.mutations:
        batch = MutationBatch.decode(frame)
        if batch.entity in shown:
            mutations += [_mutation(batch, record) for record in batch.records]
    return Result(mutations, letters_of(outcome))


def letters_of(outcome: Outcome) -> list[DeadLetter]:
    """Return the dead letters of a run, in order."""
    return [letter for frame in outcome.letters for letter in DeadLetterBatch.decode(frame).letters]


def _mutation(batch: MutationBatch, record: MutationRecord) -> Mutation:
    row = None
    if record.values is not None:
        row = {name: plain(value) for name, value in zip(batch.columns, record.values, strict=True)}
    return Mutation(
        batch.entity,
        record.kind,
        # A truncate has no key.
        {name: plain(value) for name, value in zip(batch.key_columns, record.key, strict=bool(record.key))},
        row,
        record.position,
        record.source_time_us,
        batch.topic,
        batch.partition,
        record.offset,
        record.index,
    )


def plain(value: Any) -> Any:
    """Return a value in the form that JSON gives it."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return msgspec.to_builtins(value, builtin_types=())


def assert_rows(found: Result | Rows, expected: Rows) -> None:
    """Compare rows, and say what differs.

    Values may be given as Python has them (Decimal, datetime, date, UUID) or as JSON does, as text; decimals
    compare by value. Entities without rows count as absent.

    Args:
        found: a result, or its rows.
        expected: {entity: {key: row}}.

    Raises:
        AssertionError: with a line for each row that is missing, unexpected or different.
    """
    rows = found.rows if isinstance(found, Result) else found
    lines = []
    for entity in sorted({*rows, *expected}):
        left, right = rows.get(entity, {}), expected.get(entity, {})
        for key in sorted({*left, *right}, key=repr):
            lines += _row_diff(f"{entity} {key!r}", left.get(key), right.get(key))
    if lines and isinstance(found, Result) and found.letters:
        lines += ["dead letters:", *[f"  {readable(each)}" for each in found.letters]]
    if lines:
        raise AssertionError("rows differ (- expected, + found)\n" + "\n".join(lines))


def _row_diff(name: str, found: Mapping[str, Any] | None, expected: Mapping[str, Any] | None) -> list[str]:
    if found is None or expected is None:
        return (
            []
            if found == expected
            else [f"{'-' if found is None else '+'} {name}: {_text(found or expected)}"]
        )
    columns = [*expected, *[column for column in found if column not in expected]]
    differing = [
        column
        for column in columns
        if (column in found) != (column in expected) or not same_value(found[column], expected[column])
    ]
    lines = []
    for column in differing:
        for sign, row in (("-", expected), ("+", found)):
            if column in row:
                lines.append(f"{sign} {name}: {column} = {plain(row[column])!r}")
    return lines


def same_value(found: Any, expected: Any, tolerance: float | Decimal | None = None) -> bool:
    """Tell whether two values are the same one, numbers within a tolerance, and decimals by value."""
    left, right = plain(found), plain(expected)
    if left == right:
        return isinstance(left, bool) == isinstance(right, bool)
    if tolerance is None and not isinstance(expected, Decimal):
        return False
    try:
        return abs(Decimal(str(left)) - Decimal(str(right))) <= Decimal(str(tolerance or 0))
    except InvalidOperation:
        return False


def readable(letter: DeadLetter) -> str:
    """Return a dead letter in one line."""
    key = "" if letter.key is None else letter.key.decode(errors="replace")
    return f"{letter.step} {letter.entity} {key}: {letter.reason}: {letter.detail}"


def _text(row: Mapping[str, Any] | None) -> str:
    return json.dumps({name: plain(value) for name, value in (row or {}).items()}, default=str)
