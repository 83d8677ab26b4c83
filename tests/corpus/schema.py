"""Describe the nasty schema: every type of Postgres that its server brings, and what becomes of its values.

Types that need an extension (hstore, citext, PostGIS) or a library (xml), which that server lacks, are not
here: their events are documented ones, in `conformance/`.
"""

from __future__ import annotations

import datetime as dt
import struct
from typing import Any, NamedTuple

__all__ = ["COLUMNS", "CREATE", "OPERATIONS", "REFUSED", "Typed", "expected", "rows"]

# In place of a value that no contract takes: a dead letter says so.
REFUSED = "refused"


class Typed(NamedTuple):
    """Describe a column, and values of it.

    Attributes:
        sql: its type in the source.
        contract: its type in a client's config.
        values: each as SQL; what a sink gets (the wire form, see MutationBatch); and what it gets where the
            connector itself tells something else, by recording, operation or `<recording>/<operation>`.
        contracts: its type where a recording declares another one.
    """

    sql: str
    contract: str
    values: tuple[tuple[Any, ...], ...]
    contracts: dict[str, str] = {}


_NINES = "9" * 40
_LONG = f"{_NINES}.000000000000000000001"
_INSTANT = dt.datetime(2024, 2, 29, 7, 0, 0, 1, dt.timezone.utc)
# As bytes of an unscaled number there is none for what is not finite: the connector sends null.
_NULLED = {"defaults": None}
COLUMNS: dict[str, Typed] = {
    "small": Typed("smallint", "int16", (("32767", 32767), ("'-32768'", -32768))),
    "whole": Typed("integer", "int32", (("2147483647", 2**31 - 1), ("'-2147483648'", -(2**31)))),
    "big": Typed("bigint", "int64", (("9007199254740993", 2**53 + 1), ("'-9223372036854775808'", -(2**63)))),
    "flag": Typed("boolean", "bool", (("true", True), ("false", False))),
    "single": Typed("real", "float32", (("1.5", 1.5), ("'NaN'", "nan"), ("'-Infinity'", float("-inf")))),
    "double": Typed(
        "double precision",
        "float64",
        (("0.1", 0.1), ("'Infinity'", float("inf")), ("'1.7976931348623157e308'", 1.7976931348623157e308)),
    ),
    "scaled": Typed(
        "numeric(12,2)", "decimal(12,2)", (("1.5", "1.50"), ("'-9999999999.99'", "-9999999999.99"))
    ),
    "free": Typed(
        "numeric",
        "decimal",
        (
            (f"'{_LONG}'", _LONG),
            ("'NaN'", "NaN", _NULLED),
            ("'Infinity'", "Infinity", _NULLED),
            ("'-Infinity'", "-Infinity", _NULLED),
            ("0.000000", "0.000000", {"defaults": "0"}),
        ),
    ),
    "money": Typed(
        "money", "string", (("'1234567.89'", "1234567.89"), ("'-0.01'", "-0.01")), {"defaults": "decimal"}
    ),
    "label": Typed("text", "string", (("'🎁 «ß» \\N '''", "🎁 «ß» \\N '"), ("''", ""), ("'NULL'", "NULL"))),
    "short": Typed("character varying(8)", "string", (("'漢字'", "漢字"),)),
    "padded": Typed("character(6)", "string", (("'ab'", "ab    "),)),
    "raw": Typed("bytea", "bytes", (("'\\x00ff5c27'", b"\x00\xff\\'"), ("''", b""))),
    "bit1": Typed("bit(1)", "bool", (("B'1'", True), ("B'0'", False))),
    # The last bit is the lowest of the first byte.
    "bits": Typed("bit varying(12)", "bytes", (("B'101000001'", b"\x41\x01"),)),
    "day": Typed(
        "date",
        "date",
        (
            ("'2024-02-29'", "2024-02-29"),
            ("'infinity'", "infinity"),
            ("'-infinity'", "-infinity"),
            # A snapshot loses that it is before Christ.
            ("'0044-03-15 BC'", REFUSED, {"r": "0044-03-15"}),
            ("'9999-12-31'", "9999-12-31"),
            ("'20000-01-01'", REFUSED),
        ),
    ),
    "clock": Typed(
        "time without time zone", "time", (("'23:59:59.999999'", "23:59:59.999999"), ("'00:00'", "00:00:00"))
    ),
    "clock3": Typed("time(3) without time zone", "time", (("'12:30:00.123'", "12:30:00.123000"),)),
    # The connector keeps the time, and says it in UTC.
    "clockz": Typed(
        "time with time zone",
        "timetz",
        (("'12:30:00.5+05:30'", "07:00:00.500000+00:00"), ("'00:00Z'", "00:00:00+00:00")),
    ),
    "moment": Typed(
        "timestamp without time zone",
        "timestamp",
        (
            ("'2024-02-29 12:30:00.000001'", "2024-02-29T12:30:00.000001"),
            ("'infinity'", "infinity"),
            ("'-infinity'", "-infinity"),
            # A snapshot takes it for a day of the Julian calendar.
            ("'1500-01-01 00:00'", "1500-01-01T00:00:00", {"r": "1500-01-10T00:00:00"}),
            ("'0044-03-15 12:00 BC'", REFUSED),
        ),
    ),
    "moment3": Typed(
        "timestamp(3) without time zone",
        "timestamp",
        (("'2024-02-29 12:30:00.123'", "2024-02-29T12:30:00.123000"),),
    ),
    "instant": Typed(
        "timestamp with time zone",
        "timestamptz",
        (
            ("'2024-02-29 12:30:00.000001+05:30'", _INSTANT),
            ("'infinity'", "infinity"),
            ("'-infinity'", "-infinity"),
        ),
    ),
    # As microseconds it is no longer told what were months and days.
    "span": Typed(
        "interval",
        "interval",
        (
            (
                "'1 year 2 months 3 days 04:05:06.000007'",
                "P1Y2M3DT4H5M6.000007S",
                {"defaults": "PT37091106.000007S"},
            ),
            ("'-1 month'", "P0Y-1M0DT0H0M0S", {"defaults": "PT-2629800S"}),
            ("'0'", "P0Y0M0DT0H0M0S", {"defaults": "PT0S"}),
        ),
    ),
    "id128": Typed(
        "uuid",
        "uuid",
        (("'6f9619ff-8b86-d011-b42d-00cf4fc964ff'", "6f9619ff-8b86-d011-b42d-00cf4fc964ff"),),
    ),
    "document": Typed(
        "json", "json", (('\'{"a": [1, null], "a": 2}\'', '{"a": [1, null], "a": 2}'), ("'null'", "null"))
    ),
    "binary_document": Typed(
        "jsonb", "json", (('\'{"b": 1e3, "a": "\\u00e4"}\'', '{"a": "ä", "b": 1000}'), ("'\"x\"'", '"x"'))
    ),
    "mood": Typed("mood", "string", (("'it''s \"so\"'", 'it\'s "so"'), ("'glad'", "glad"))),
    "cents": Typed("cents", "int64", (("12345", 12345),)),
    "texts": Typed(
        "text[]", "array(string)", (("array['a', null, 'b\"c']", ["a", None, 'b"c']), ("'{}'", []))
    ),
    "numbers": Typed("integer[]", "array(int32)", (("array[1, null, -3]", [1, None, -3]),)),
    "prices": Typed(
        "numeric(8,2)[]", "array(decimal(8,2))", (("array[1.5, 2]::numeric(8,2)[]", ["1.50", "2.00"]),)
    ),
    "days": Typed("date[]", "array(date)", (("array['2024-02-29'::date]", ["2024-02-29"]),)),
    "address": Typed("inet", "string", (("'192.168.0.1/24'", "192.168.0.1/24"), ("'::1'", "::1"))),
    "network": Typed("cidr", "string", (("'10.0.0.0/8'", "10.0.0.0/8"),)),
    "mac": Typed("macaddr", "string", (("'08:00:2b:01:02:03'", "08:00:2b:01:02:03"),)),
    "span4": Typed("int4range", "string", (("'[1,5)'", "[1,5)"), ("'empty'", "empty"))),
    "spann": Typed("numrange", "string", (("'(,2.5]'", "(,2.5]"),)),
    "spant": Typed("tstzrange", "string", (("'[2024-01-01 00:00+00,)'", '["2024-01-01 00:00:00+00",)'),)),
    "spand": Typed("daterange", "string", (("'[2024-01-01,2024-02-01)'", "[2024-01-01,2024-02-01)"),)),
    "spot": Typed("point", "bytes", (("point(1.5, -2)", struct.pack("<BIdd", 1, 1, 1.5, -2)),)),
    "oid": Typed("oid", "int64", (("4294967295", 4294967295),)),
}

CREATE = [
    "create type {schema}.mood as enum ('glad', 'it''s \"so\"')",
    "create domain {schema}.cents as bigint check (value >= 0)",
    "create type {schema}.pair as (a integer, b text)",
    # What the connector leaves out: a composite.
    "create table {schema}.types (id integer primary key, "
    + ", ".join(
        f"{name} {'{schema}.' if typed.sql in ('mood', 'cents') else ''}{typed.sql}"
        for name, typed in COLUMNS.items()
    )
    + ", composite {schema}.pair)",
    (
        "create table {schema}.things (id bigint, sku text, name text default 'none', large text, "
        "primary key (id, sku))"
    ),
    "alter table {schema}.things alter column large set storage external",
    "create table {schema}.logs (at integer, line text)",
    "alter table {schema}.logs replica identity full",
]

_LARGE = "(select string_agg(md5(i::text), '') from generate_series(1, 80) i)"
# Each is a transaction; what they make is told beside them in the test.
OPERATIONS = [
    ["insert into {schema}.things values (1, 'a', 'one', " + _LARGE + ")"],
    ["update {schema}.things set name = 'two' where id = 1"],
    ["update {schema}.things set sku = 'b' where id = 1"],
    ["update {schema}.things set large = 'small' where id = 1"],
    ["insert into {schema}.things values (2, 'c', null, null)", "delete from {schema}.things where id = 1"],
    ["insert into {schema}.logs values (1, 'x'), (1, 'x')", "update {schema}.logs set line = 'y'"],
    ["delete from {schema}.logs where ctid = (select min(ctid) from {schema}.logs)"],
    ["select pg_logical_emit_message(true, 'corpus', 'hello')"],
    ["truncate {schema}.things, {schema}.logs"],
    ["insert into {schema}.things values (9, 'z', 'last', null)"],
]


def rows() -> list[list[tuple[Any, ...]]]:
    """Return rows of the table of types: for each column one of its values, as `Typed` has them."""
    count = max(len(typed.values) for typed in COLUMNS.values())
    return [
        [typed.values[number % len(typed.values)] for typed in COLUMNS.values()] for number in range(count)
    ]


def expected(value: tuple[Any, ...], recording: str, operation: str) -> Any:
    """Return what a sink gets of a value that an operation of a recording brings, or REFUSED."""
    _, usual, *others = value
    found = others[0] if others else {}
    for name in (f"{recording}/{operation}", recording, operation):
        if name in found:
            return found[name]
    return usual
