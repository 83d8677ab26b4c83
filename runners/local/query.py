"""Run a statement in one of the stack's databases, for those who have no psql at hand."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tillstream.pipelines.errors import StackError, UserError
from tillstream.runners.local.addresses import Database

__all__ = ["query"]

_CONNECT_TIMEOUT_S = 10


def query(database: Database, statement: str) -> Iterator[str]:
    """Yield what a statement returns as aligned lines, the columns' names first; committed at its end.

    Raises:
        StackError: if the database does not answer.
        UserError: if it refuses the statement.
    """
    try:
        connection = psycopg.connect(database.dsn(), autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S)
    except (psycopg.OperationalError, OSError) as error:
        raise StackError(
            f"{database.database} at {database.host}:{database.port} does not answer: "
            f"start the stack with 'tillstream up' ({error})"
        ) from error
    with connection:
        try:
            cursor = connection.execute(statement.encode())
        except psycopg.Error as error:
            raise UserError(f"{database.database}: {str(error).strip()}") from error
        if cursor.description is None:
            yield cursor.statusmessage or ""
            return
        rows = [[column.name for column in cursor.description]]
        rows += [["" if value is None else str(value) for value in row] for row in cursor]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip()
