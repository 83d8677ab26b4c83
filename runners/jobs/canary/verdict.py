"""Say what a canary found."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = ["CanaryVerdict", "Difference", "EntityDiff", "Letters"]

_VERSION = 1


class Difference(msgspec.Struct, frozen=True):
    """Be one row or mutation that the two versions do not write alike.

    Attributes:
        entity: whose it is.
        kind: only_old, only_new or changed.
        key: column to value; personal ones are withheld.
        columns: of what is changed, the old and the new value of each column that differs; of what one side
            alone has, its row. `_operation` stands for upsert or delete.
        place: topic, partition, offset and index of the change that it was made of.
        tolerated: whether the options name all that differs.
    """

    entity: str
    kind: Literal["only_old", "only_new", "changed"]
    key: dict[str, Any]
    columns: dict[str, Any]
    place: tuple[str, int, int, int]
    tolerated: bool = False


class EntityDiff(msgspec.Struct):
    """Count what was compared of an entity.

    Attributes:
        entity: its name.
        level: rows where what each key ends as was compared, changes where each mutation was.
        equal: how many were alike.
        only_old: how many the running version alone wrote.
        only_new: how many the new version alone wrote.
        changed: how many both wrote, with other values.
        tolerated: how many of these the options name.
        columns: how often each column differed.
        examples: the first few that are not tolerated.
        notes: what of the two versions was not compared, and why.
    """

    entity: str
    level: Literal["rows", "changes"]
    equal: int = 0
    only_old: int = 0
    only_new: int = 0
    changed: int = 0
    tolerated: int = 0
    columns: dict[str, int] = {}
    examples: list[Difference] = []
    notes: list[str] = []

    @property
    def differences(self) -> int:
        """Return how many differ and are not tolerated."""
        return self.only_old + self.only_new + self.changed - self.tolerated


class Letters(msgspec.Struct, frozen=True):
    """Count dead letters of one kind that one version has and the other has not.

    Attributes:
        entity: of the letters; empty where it could not be told.
        step: that made them.
        reason: the rule that was broken.
        gained: how many the new version alone has.
        lost: how many the running version alone has.
    """

    entity: str
    step: str
    reason: str
    gained: int
    lost: int


class CanaryVerdict(msgspec.Struct, frozen=True):
    """Say whether a new version is to take over, and what was found.

    Attributes:
        promote: whether it is.
        reason: why, a sentence.
        source_changes: how many messages both read.
        seconds: that each side took to read them, old and new; empty where it did not get that far.
        entities: what was compared, by entity.
        letters: dead letters that differ.
        differences: how many there are in all that are not tolerated, letters among them.
        version: of this form; a field may be appended without raising it.
    """

    promote: bool
    reason: str
    source_changes: int = 0
    seconds: dict[str, float] = {}
    entities: list[EntityDiff] = []
    letters: list[Letters] = []
    differences: int = 0
    version: int = _VERSION

    def encode(self) -> bytes:
        """Return the verdict as JSON, for `--json` and programs."""
        return msgspec.json.encode(self)
