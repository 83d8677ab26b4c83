"""Compare what the old and the new version of a job wrote, entity by entity and shard by shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from tillstream.configs import ClientConfig
from tillstream.configs.contract import text_of
from tillstream.io.sinks import keeps_positions
from tillstream.io.sinks.letters import letter_id
from tillstream.io.sinks.shadow import read_letters, read_shard, shards_of
from tillstream.io.sources.bounded import reached
from tillstream.runners.jobs.canary.options import Tolerance
from tillstream.runners.jobs.canary.outputs import Level, Output, changes_of, made_of, rows_of
from tillstream.runners.jobs.canary.verdict import Difference, EntityDiff, Letters

__all__ = ["WITHHELD", "Comparison", "Note", "compare_entities", "compare_letters"]

Note: TypeAlias = Callable[[Difference], None]
_Kind: TypeAlias = Literal["only_old", "only_new", "changed"]

WITHHELD = "(personal)"
_OPERATION = "_operation"
_EXAMPLES_MAX = 5
_MISSING = "(missing)"
_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def compare_entities(
    old: tuple[ClientConfig, Path], new: tuple[ClientConfig, Path], tolerance: Tolerance, note: Note
) -> list[EntityDiff]:
    """Compare all entities; one shard's rows of both sides are in memory at a time.

    Args:
        old: config and folder of the running version.
        new: those of the new one.
        tolerance: which differences are meant.
        note: takes each difference.

    Raises:
        ValueError: if a file of either side is damaged.
    """
    names = [*old[0].entities, *(name for name in new[0].entities if name not in old[0].entities)]
    return [_compare_entity(name, old, new, tolerance, note) for name in names]


def _compare_entity(
    name: str,
    old: tuple[ClientConfig, Path],
    new: tuple[ClientConfig, Path],
    tolerance: Tolerance,
    note: Note,
) -> EntityDiff:
    sides = (old, new)
    diff = EntityDiff(name, _level(name, sides))
    if not all(name in config.entities for config, _ in sides):
        diff.notes.append(
            "only the new config has it: not compared"
            if name in new[0].entities
            else "the new config lacks it: not compared"
        )
        return diff
    ignored, diff.notes = _contract_changes(name, old[0], new[0])
    personal = _personal(name, old[0]) | _personal(name, new[0])
    comparison = Comparison(diff, tolerance, note, ignored, personal)
    first = {partition: offsets[0] for partition, offsets in reached(new[1]).items()}
    for shard in sorted(shards_of(old[1], name) | shards_of(new[1], name)):
        batches = [made_of(read_shard(folder, name, shard), first) for _, folder in sides]
        comparison.add(*map(changes_of if diff.level == "changes" else rows_of, batches))
    return diff


@dataclass(frozen=True)
class Comparison:
    """Compare two sides' outputs of an entity, shard by shard, and count what is found.

    Attributes:
        diff: takes the counts.
        tolerance: which differences are meant.
        note: takes each difference.
        ignored: columns that one of the contracts lacks.
        personal: columns whose values are withheld.
    """

    diff: EntityDiff
    tolerance: Tolerance
    note: Note = lambda _: None
    ignored: Collection[str] = ()
    personal: Collection[str] = ()

    def add(self, old: Mapping[bytes, Output], new: Mapping[bytes, Output]) -> None:
        """Compare what both wrote of a shard, by identity."""
        for identity, ours in old.items():
            theirs = new.get(identity)
            if theirs is None:
                self._alone("only_old", ours)
                continue
            columns = _differing(ours, theirs, self.ignored)
            if not columns:
                self.diff.equal += 1
                continue
            for column in columns:
                self.diff.columns[column] = self.diff.columns.get(column, 0) + 1
            self._found("changed", theirs, {name: [*pair] for name, pair in columns.items()}, columns)
        for identity, theirs in new.items():
            if identity not in old:
                self._alone("only_new", theirs)

    def _alone(self, kind: _Kind, output: Output) -> None:
        self._found(kind, output, {_OPERATION: output.operation, **(output.row or {})}, ())

    def _found(self, kind: _Kind, output: Output, values: dict[str, Any], columns: Collection[str]) -> None:
        diff = self.diff
        tolerated = self.tolerance.takes(diff.entity, columns)
        key, shown = self._withheld(output.key), self._withheld(values)
        difference = Difference(diff.entity, kind, key, shown, output.place, tolerated)
        setattr(diff, kind, getattr(diff, kind) + 1)
        if tolerated:
            diff.tolerated += 1
        elif len(diff.examples) < _EXAMPLES_MAX:
            diff.examples.append(difference)
        self.note(difference)

    def _withheld(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: WITHHELD if name in self.personal else value for name, value in values.items()}


def _differing(old: Output, new: Output, ignored: Collection[str]) -> dict[str, tuple[Any, Any]]:
    """Return both values of each column that differs."""
    if old.operation != new.operation:
        return {_OPERATION: (old.operation, new.operation)}
    ours, theirs = old.row, new.row
    if ours is None or theirs is None:
        ours, theirs = old.key, new.key
    if _same(ours, theirs):
        return {}
    names = dict.fromkeys([*ours, *theirs])
    pairs = {
        name: (ours.get(name, _MISSING), theirs.get(name, _MISSING)) for name in names if name not in ignored
    }
    return {name: pair for name, pair in pairs.items() if not _same(*pair)}


def _same(one: Any, other: Any) -> bool:
    # By their form: true is not 1, nor 1 the same as 1.0, and what is no number is like another one.
    return _encode(one) == _encode(other)


def _level(name: str, sides: tuple[tuple[ClientConfig, Path], ...]) -> Level:
    """Return rows where only sinks take the entity that keep rows, or its changes depend on their batches."""
    kept = all(
        keeps_positions(config.sinks[sink].type)
        for config, _ in sides
        if name in config.entities
        for sink in config.entities[name].sinks
    )
    return "rows" if kept or any(_is_derived(folder, name) for _, folder in sides) else "changes"


def _is_derived(folder: Path, name: str) -> bool:
    # An aggregate says once a batch how it stands, and batches are cut by time.
    return any(
        batch.derived for shard in shards_of(folder, name) for batch in read_shard(folder, name, shard)
    )


def _contract_changes(name: str, old: ClientConfig, new: ClientConfig) -> tuple[set[str], list[str]]:
    """Return which columns cannot be compared, and what to say of the contracts."""
    ours = {column.name: text_of(column) for column in old.entities[name].columns()}
    theirs = {column.name: text_of(column) for column in new.entities[name].columns()}
    if not ours or not theirs:
        return set(), []
    added, removed = sorted(theirs.keys() - ours.keys()), sorted(ours.keys() - theirs.keys())
    retyped = sorted(each for each in ours.keys() & theirs.keys() if ours[each] != theirs[each])
    notes = []
    if added:
        notes.append(f"only the new contract has {', '.join(added)}: not compared")
    if removed:
        notes.append(f"the new contract lacks {', '.join(removed)}: not compared")
    notes += [f"{each} was {ours[each]} and is {theirs[each]}" for each in retyped]
    return {*added, *removed}, notes


def _personal(name: str, config: ClientConfig) -> set[str]:
    entity = config.entities[name]
    return {column.name for column in entity.columns() if column.pii is not None} | set(entity.masks)


def compare_letters(old: Path, new: Path) -> list[Letters]:
    """Return the dead letters that one side alone has, counted by entity, step and reason."""
    kinds = [_letters(folder) for folder in (old, new)]
    lost = Counter(kind for identity, kind in kinds[0].items() if kinds[1].get(identity) != kind)
    gained = Counter(kind for identity, kind in kinds[1].items() if kinds[0].get(identity) != kind)
    return [Letters(*kind, gained[kind], lost[kind]) for kind in sorted(gained.keys() | lost.keys())]


def _letters(folder: Path) -> dict[tuple[str, str], tuple[str, str, str]]:
    return {
        # A mark of a solved letter has the identity of that.
        (letter_id(letter), letter.status): (letter.entity or "", letter.step, letter.reason or letter.status)
        for letter in read_letters(folder)
    }
