"""Fold the changes of one row that come in one transaction, also those that lack columns.

A change may come without the values of large columns that it did not touch (`MutationBatch.unknown`). The
table keeps its own values there. Within one transaction an earlier change may bring them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from tillstream.pipelines.records import MutationBatch, MutationRecord

__all__ = ["NoRowError", "Partial", "by_unknown", "fold", "histories"]

_Key: TypeAlias = "tuple[Any, ...]"
_Step: TypeAlias = tuple[MutationBatch, MutationRecord, MutationRecord]


class Partial(MutationRecord, frozen=True, array_like=True, gc=False):
    """Hold an upsert that knows some columns only; its values are null for the others.

    Attributes:
        unknown: names of the others, which the table's row keeps.
        is_orphan: whether its row was deleted before, so that the table's row, if there is one, is another.
    """

    unknown: tuple[str, ...] = ()
    is_orphan: bool = False


class NoRowError(ValueError):
    """Say that the table lacks the row whose values a change does not bring; counts as that change's fault.

    Args:
        unknown: columns that the change does not bring.
    """

    reason = "unavailable_value"

    def __init__(self, unknown: Sequence[str]) -> None:
        super().__init__(
            f"found no row in the table, expected one that has {', '.join(unknown)}: Debezium sends no value "
            "of a large column that a change did not touch: set REPLICA IDENTITY FULL on the source's table, "
            "or run tillstream resync"
        )


def fold(known: MutationRecord | None, batch: MutationBatch, record: MutationRecord) -> MutationRecord:
    """Return what one row becomes by its changes so far and one more.

    Args:
        known: what it becomes by those so far; None where there are none.
        batch: of the next change; its columns are those of all batches of its entity.
        record: the next change.
    """
    if not batch.unknown or record.values is None:
        return record
    if known is None or known.values is None:
        return _partial(record, record.values, batch.unknown, is_orphan=known is not None)
    values = list(record.values)
    for place, name in enumerate(batch.columns):
        if name in batch.unknown:
            values[place] = known.values[place]
    if not isinstance(known, Partial):
        return _partial(record, values, (), is_orphan=False)
    unknown = tuple([name for name in batch.unknown if name in known.unknown])
    return _partial(record, values, unknown, is_orphan=known.is_orphan)


def histories(
    batches: Iterable[MutationBatch], identify: Callable[[_Key], _Key]
) -> Mapping[_Key, Sequence[_Step]]:
    """Return each row's changes in order, each with its batch and with what the row becomes by it."""
    found: dict[_Key, list[_Step]] = {}
    for batch in batches:
        for record in batch.records:
            steps = found.setdefault(identify(record.key), [])
            steps.append((batch, record, fold(steps[-1][2] if steps else None, batch, record)))
    return found


def by_unknown(records: Iterable[Partial]) -> Mapping[tuple[str, ...], Sequence[Partial]]:
    """Group changes by what they lack.

    Raises:
        NoRowError: where one of them is an orphan.
    """
    groups: dict[tuple[str, ...], list[Partial]] = {}
    for record in records:
        if record.is_orphan:
            raise NoRowError(record.unknown)
        groups.setdefault(record.unknown, []).append(record)
    return groups


def _partial(
    record: MutationRecord, values: Iterable[Any], unknown: tuple[str, ...], *, is_orphan: bool
) -> MutationRecord:
    parts = (record.kind, record.key, tuple(values), record.position, record.source_time_us)
    if not unknown:
        return MutationRecord(*parts, record.offset, record.index)
    return Partial(*parts, record.offset, record.index, unknown, is_orphan)
