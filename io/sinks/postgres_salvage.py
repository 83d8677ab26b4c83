"""Write all rows of a transaction but those that Postgres refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from tillstream.io.sinks.letters import refused
from tillstream.io.sinks.postgres_errors import Cause, cause_of, describe
from tillstream.io.sinks.postgres_merge import Connection, Merge
from tillstream.pipelines.records import DeadLetter, MutationBatch, MutationRecord

__all__ = ["salvage"]


def salvage(
    connection: Connection,
    merge: Merge,
    records: Sequence[MutationRecord],
    batches: Sequence[MutationBatch],
) -> list[DeadLetter]:
    """Write one entity's records within a transaction, halving what fails until single rows are left.

    A slice that fails is undone by its savepoint; b bad rows among n cost about b log2 n statements. Where
    the last mutation of a key is refused, the one before it is written in its place, as if each had been
    written by itself.

    Args:
        connection: inside a transaction, its staging table prepared.
        merge: the entity's statements.
        records: the last of each key, in order.
        batches: where they come from, with all mutations of those keys, in order.

    Returns:
        The mutations that Postgres refuses.

    Raises:
        psycopg.Error: for outages and refusals of another kind.
    """
    # A deferred constraint would refuse the commit, when no row can be told from another any more.
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    letters: list[DeadLetter] = []
    history: dict[Any, list[tuple[MutationBatch, MutationRecord]]] = {}
    slices = [records]
    while slices:
        part = slices.pop()
        if not part or _try(connection, merge, part) is None:
            continue
        if len(part) > 1:
            middle = len(part) // 2
            slices += [part[middle:], part[:middle]]
            continue
        if not history:
            for batch in batches:
                for record in batch.records:
                    history.setdefault(merge.identify(record.key), []).append((batch, record))
        for batch, record in reversed(history[merge.identify(part[0].key)]):
            error = _try(connection, merge, [record])
            if error is None:
                break
            letters.append(refused(batch, record, describe(error)))
    return letters


def _try(connection: Connection, merge: Merge, part: Sequence[MutationRecord]) -> Exception | None:
    """Write a slice; return what is wrong with one of its rows, with the slice undone."""
    try:
        with connection.transaction():
            merge.clear(connection)
            merge.apply(connection, part)
    except (psycopg.Error, ValueError, TypeError) as error:
        if cause_of(error) is not Cause.ROW:
            raise
        return error
    return None
