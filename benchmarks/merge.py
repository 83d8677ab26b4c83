"""Merge rows into a table as a person would by hand: COPY to a staging table, then one guarded upsert."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import psycopg

__all__ = ["Table"]

_DEFINITIONS = {
    "order_id": "bigint",
    "customer_id": "bigint",
    "status": "text",
    "total": "numeric(12,2)",
    "version": "bigint",
}
_COLUMNS = ", ".join(_DEFINITIONS)


class Table:
    """Write orders to a table that is made anew.

    Args:
        dsn: of its database.
        name: of the table.
    """

    def __init__(self, dsn: str, name: str) -> None:
        columns = ", ".join(f"{column} {kind}" for column, kind in _DEFINITIONS.items())
        updates = ", ".join(
            f"{column} = excluded.{column}" for column in _DEFINITIONS if column != "order_id"
        )
        self._connection = psycopg.connect(dsn)
        self._connection.execute(f"DROP TABLE IF EXISTS {name}")
        self._connection.execute(f"CREATE TABLE {name} ({columns}, PRIMARY KEY (order_id))")
        self._connection.execute(f"CREATE TEMP TABLE stage ({columns}) ON COMMIT DELETE ROWS")
        self._connection.commit()
        self._merge = (
            f"INSERT INTO {name} ({_COLUMNS}) SELECT {_COLUMNS} FROM stage ON CONFLICT (order_id) "
            f"DO UPDATE SET {updates} WHERE {name}.version < excluded.version"
        )

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write rows in one transaction; of a key's rows the last counts."""
        last = {row["order_id"]: row for row in rows}
        lines = [
            f"{row['order_id']}\t{row['customer_id']}\t{row['status']}\t{row['total']}\t{row['version']}\n"
            for row in last.values()
        ]
        with self._connection.cursor() as cursor:
            with cursor.copy(f"COPY stage ({_COLUMNS}) FROM STDIN") as copy:
                copy.write("".join(lines))
            cursor.execute(self._merge)
        self._connection.commit()
