"""Write all rows of a transaction but those that Postgres refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import psycopg

from tillstream.io.sinks.letters import refused
from tillstream.io.sinks.postgres_errors import Cause, cause_of, describe
from tillstream.io.sinks.postgres_merge import Connection, Merge
from tillstream.io.sinks.postgres_partial import NoRowError, histories
from tillstream.pipelines.records import DeadLetter, MutationBatch, MutationRecord

__all__ = ["salvage"]

# Where most rows are bad, four parts take a third fewer statements than two; where few are, as many.
_PARTS = 4
# Rows that are staged, also those that were undone, until the staging table is truncated: each statement
# reads past them, but each truncation is one more file that every later savepoint must look at.
_STAGED_ROWS_MAX = 2000


def salvage(
    sink: str,
    connection: Connection,
    merge: Merge,
    records: Sequence[MutationRecord],
    batches: Sequence[MutationBatch],
) -> list[DeadLetter]:
    """Write one entity's records within a transaction, quartering what fails until single rows are left.

    A slice that fails is undone by its savepoint; b bad rows among n cost about 4 b log4 (n / b) slices.
    Where the last mutation of a key is refused, the one before it is written in its place, as if each had
    been written by itself.

    Args:
        sink: name of the sink, for dead letters.
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
    history: Mapping[Any, Sequence[tuple[MutationBatch, MutationRecord, MutationRecord]]] = {}
    trials = _Trials(connection, merge)
    slices = [records] if records else []
    while slices:
        part = slices.pop()
        error = trials.write(part)
        if error is None:
            continue
        if len(part) > 1:
            size = -(-len(part) // _PARTS)
            slices += [part[start : start + size] for start in range(0, len(part), size)][::-1]
            continue
        history = history or histories(batches, merge.identify)
        for batch, record, made in reversed(history[merge.identify(part[0].key)]):
            if made != part[0]:
                error = trials.write([made])
            if error is None:
                break
            letter = refused(sink, batch, record, describe(error))
            if isinstance(error, NoRowError):
                letter = msgspec.structs.replace(letter, reason=error.reason)
            letters.append(letter)
    return letters


class _Trials:
    """Write slices one after the other, and keep the staging table small."""

    def __init__(self, connection: Connection, merge: Merge) -> None:
        self._connection = connection
        self._merge = merge
        # The transaction that failed before may have left any number.
        self._staged = _STAGED_ROWS_MAX

    def write(self, part: Sequence[MutationRecord]) -> Exception | None:
        """Write a slice; return what is wrong with one of its rows, with the slice undone."""
        if self._staged + len(part) > _STAGED_ROWS_MAX:
            self._merge.truncate(self._connection)
            self._staged = 0
        self._staged += len(part)
        try:
            with self._connection.transaction():
                self._merge.apply(self._connection, part)
                self._merge.clear(self._connection)
        except (psycopg.Error, ValueError, TypeError) as error:
            if cause_of(error) is not Cause.ROW:
                raise
            return error
        return None
