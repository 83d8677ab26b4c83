"""Tell whether two runs made the same, as a sink would hold it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from tillstream.pipelines.records import MutationBatch, MutationKind, Position
from tillstream.transforms.testing.executor import Outcome
from tillstream.transforms.testing.result import letters_of, plain, readable, same_value

__all__ = ["Compare", "Comparison", "Difference", "Tolerance"]

Compare: TypeAlias = Literal["rows", "changes"]
_Row: TypeAlias = dict[str, Any]
Tolerance: TypeAlias = "Mapping[str, float | Decimal] | Callable[[_Row, _Row], bool]"
_Place: TypeAlias = tuple[str, tuple[Any, ...]]
# Of each key: columns and values of its row, or the same of every change, by the change's identity.
_View: TypeAlias = dict[_Place, Any]


@dataclass(frozen=True)
class Difference:
    """Hold what two runs made of one key.

    Attributes:
        entity: whose row it is, or `dead letters`.
        key: the row's, or where the letter's event was read from.
        expected: of the clean run, None where there is nothing.
        found: of the other.
    """

    entity: str
    key: tuple[Any, ...]
    expected: Any
    found: Any

    def __str__(self) -> str:
        """Return the two, one a line."""
        key = self.key[0] if len(self.key) == 1 else self.key
        return f"{self.entity} {key!r}:\n  - expected {self.expected!r}\n  + found    {self.found!r}"


class Comparison:
    """Compare what runs made.

    Args:
        shown: entities that count.
        compare: `rows`, what a sink that upserts holds in the end; or `changes`, what a sink that appends
            does: each key's changes in order, repeated ones once.
        tolerance: by how much numbers of a column may differ, by its name; or what tells whether a row
            that was found (second) will do for the one expected (first).
    """

    def __init__(self, shown: frozenset[str], compare: Compare, tolerance: Tolerance | None) -> None:
        self._shown = shown
        self._view = _rows if compare == "rows" else _changes
        self._describe = _described_row if compare == "rows" else _described_changes
        self._tolerance = tolerance

    def view(self, outcome: Outcome) -> _View:
        """Return what counts of a run."""
        view = self._view(outcome, self._shown)
        for letter in letters_of(outcome) if outcome.letters else ():
            offset = letter.offset
            if offset is not None and letter.partition is not None:
                # Where the event is sent again, this is still the same letter.
                offset = outcome.offsets.get((letter.topic, letter.partition, offset), offset)
            place = (letter.topic, letter.partition, offset, letter.index)
            view["dead letters", (letter.entity, letter.step, *place)] = _Letter(
                letter.reason, readable(letter)
            )
        return view

    def differences(self, expected: _View, found: _View) -> list[Difference]:
        """Return what differs, in the order of the keys."""
        if expected == found:
            return []
        places = sorted({*expected, *found}, key=repr)
        differing = []
        for place in places:
            left, right = expected.get(place), found.get(place)
            if left == right:
                continue
            described = self._described(left), self._described(right)
            if left is None or right is None or not self._will_do(*described):
                differing.append(Difference(*place, *described))
        return differing

    def _described(self, value: Any) -> Any:
        if isinstance(value, _Letter):
            return value.text
        return None if value is None else self._describe(value)

    def _will_do(self, expected: Any, found: Any) -> bool:
        tolerance = self._tolerance
        if tolerance is None or not isinstance(expected, dict) or not isinstance(found, dict):
            return False
        if callable(tolerance):
            return tolerance(expected, found)
        return list(expected) == list(found) and all(
            same_value(found[name], value, tolerance.get(name)) for name, value in expected.items()
        )


class _Letter:
    """Stand for a dead letter: its detail may hold what differs between processes, its reason does not."""

    def __init__(self, reason: str, text: str) -> None:
        self.reason = reason
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Letter) and other.reason == self.reason

    def __hash__(self) -> int:
        return hash(self.reason)


def _rows(outcome: Outcome, shown: frozenset[str]) -> _View:
    view: _View = {}
    positions: dict[_Place, Position] = {}
    for frame in outcome.mutations:
        batch = MutationBatch.decode(frame)
        entity, columns = batch.entity, batch.columns
        if entity in shown:
            for record in batch.records:
                if record.kind is MutationKind.TRUNCATE:
                    for place in [each for each in view if each[0] == entity]:
                        if positions[place] < record.position:
                            del view[place]
                elif record.values is None:
                    view.pop((entity, record.key), None)
                else:
                    view[entity, record.key] = (columns, record.values)
                    positions[entity, record.key] = record.position
    return view


def _changes(outcome: Outcome, shown: frozenset[str]) -> _View:
    view: _View = {}
    for frame in outcome.mutations:
        batch = MutationBatch.decode(frame)
        if batch.entity in shown:
            # Of a truncate a log has one for each shard; what it deletes is not the same in every order.
            for record in () if batch.truncates else batch.records:
                sent = (batch.topic, batch.partition, record.offset)
                identity = (*sent[:2], outcome.offsets.get(sent, record.offset), record.index)
                log = view.setdefault((batch.entity, record.key), {})
                # A delete has no columns; its batch's are those of the rows around it.
                columns = () if record.values is None else batch.columns
                log.setdefault((identity, columns, record.values), None)
    return {place: list(log) for place, log in view.items()}


def _described_row(value: tuple[tuple[str, ...], tuple[Any, ...]]) -> _Row:
    return {name: plain(each) for name, each in zip(*value, strict=True)}


def _described_changes(log: list[Any]) -> list[str | _Row]:
    return ["delete" if values is None else _described_row((columns, values)) for _, columns, values in log]
