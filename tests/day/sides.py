"""Compare both sides at the end of the day: tables with their sources, a log with all that was committed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import psycopg
from psycopg import sql

from tests.day.files import CLIENTS, GRADES, NORTH
from tests.day.traffic import BEAT, COLUMNS, TABLE
from tillstream.pipelines.errors import StackError
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.verify.oracle import Change, Oracle, RowKey, compare_log
from tillstream.runners.verify.rig import await_

__all__ = ["beat_grade", "difference", "grade_of", "log_difference", "rows_graded"]

_PATIENCE_S = 120.0
_DELETE = "delete"
_Rows = dict[int, tuple[Any, ...]]


def difference(stack: LocalStack, folder: Path, oracle: Oracle, version: str) -> str | None:
    """Return the first difference once nothing moves any more; None where all sides are equal.

    Args:
        stack: with sources and warehouses.
        folder: of south's log.
        oracle: all that was committed to south's table.
        version: of north's transform by whose rule its rows must be.
    """

    def first() -> str | None:
        for client in CLIENTS:
            found = _table_difference(stack, client, version)
            if found is not None:
                return found
        return log_difference(folder, oracle)

    try:
        await_(lambda: first() is None, "both sides to be equal", _PATIENCE_S)
    except StackError:
        return first()
    return None


def log_difference(folder: Path, oracle: Oracle) -> str | None:
    """Return how a log differs from what was committed, each change once and in order; None if it does not.

    Args:
        folder: of the files.
        oracle: what was committed.
    """
    changes: list[Change] = []
    for path in sorted((folder / TABLE).glob("part-*")):
        for line in map(orjson.loads, path.read_bytes().splitlines()):
            values = None if line["_op"] == _DELETE else {name: line[name] for name in COLUMNS}
            changes.append(Change(RowKey(TABLE, (line["id"],)), values))
    found = compare_log(oracle, changes)
    if found.is_exact:
        return None
    counts = ", ".join(f"{count} {name}" for name, count in found.counts().items() if count)
    return f"the log of {len(changes)} changes: {counts} of {found.expected} ({found.examples[0]})"


def beat_grade(stack: LocalStack) -> str | None:
    """Return which grade north's beat shows, the row that changes at every tick; None without one."""
    query = sql.SQL("select grade from {} where id = {}").format(
        sql.Identifier(NORTH, TABLE), sql.Literal(BEAT)
    )
    with psycopg.connect(stack.addresses.warehouse.dsn()) as connection:
        found = connection.execute(query).fetchone()
    return None if found is None else str(found[0])


def rows_graded(stack: LocalStack, grade: str) -> int:
    """Return how many of north's rows have a grade."""
    query = sql.SQL("select count(*) from {} where grade = {}").format(
        sql.Identifier(NORTH, TABLE), sql.Literal(grade)
    )
    with psycopg.connect(stack.addresses.warehouse.dsn()) as connection:
        ((count,),) = connection.execute(query).fetchall()
    return int(count)


def grade_of(cents: int, version: str) -> str:
    """Return what a version calls an order."""
    return next(name for least, name in GRADES[version] if cents >= least)


def _table_difference(stack: LocalStack, client: str, version: str) -> str | None:
    columns = [*COLUMNS, "beat"]
    with psycopg.connect(stack.addresses.source.dsn()) as connection:
        source = _rows(connection, client, columns)
    if client == NORTH:
        columns += ["cents", "grade"]
        for key, row in source.items():
            cents = int(row[1] * 100)
            source[key] = (*row, cents, grade_of(cents, version))
    with psycopg.connect(stack.addresses.warehouse.dsn()) as connection:
        try:
            found = _rows(connection, client, columns)
        except psycopg.errors.UndefinedTable:
            return f"{client}: no table in the warehouse"
    for key in sorted(source.keys() | found.keys()):
        if source.get(key) != found.get(key):
            return f"{client}.{TABLE} ({key}): expected {source.get(key)}, found {found.get(key)}"
    return None


def _rows(connection: psycopg.Connection[Any], client: str, columns: list[str]) -> _Rows:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    query = sql.SQL("select {} from {}").format(names, sql.Identifier(client, TABLE))
    return {row[0]: row for row in connection.execute(query).fetchall()}
