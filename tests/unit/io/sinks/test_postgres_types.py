"""Types of contracts and tables are compared."""

from __future__ import annotations

import pytest

from tillstream.configs import ColumnModel
from tillstream.io.sinks.postgres_types import PgType, holds, parse, type_of


@pytest.mark.parametrize(
    ("formatted", "parsed"),
    [
        ("bigint", PgType("bigint")),
        ("numeric(12,2)", PgType("numeric", 12, 2)),
        ("character varying(9)", PgType("character varying", 9)),
        ("timestamp(3) with time zone", PgType("timestamp with time zone", 3)),
        ("double precision", PgType("double precision")),
        ("integer[]", PgType("integer[]")),
        ('acme."Mood"', PgType('acme."Mood"')),
    ],
)
def test_types_are_read_as_postgres_writes_them(formatted: str, parsed: PgType) -> None:
    """The text of format_type becomes name and modifiers."""
    assert parse(formatted) == parsed


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        ("int16", "smallint"),
        ("decimal(12,2)", "numeric(12,2)"),
        ("decimal", "numeric"),
        ("json", "jsonb"),
        ("string", "text"),
        ("interval", "interval"),
        ("timetz", "time with time zone"),
        ("array(decimal(12,2))", "numeric(12,2)[]"),
        ("array(timestamptz)", "timestamp with time zone[]"),
    ],
)
def test_a_contract_s_type_is_written_as_postgres_reads_it(kind: str, written: str) -> None:
    """A column's type becomes that of the table."""
    assert str(type_of(ColumnModel(type=kind).column("x", is_key=False))) == written


@pytest.mark.parametrize(
    ("wide", "narrow", "held"),
    [
        ("bigint", "smallint", True),
        ("smallint", "integer", False),
        ("double precision", "real", True),
        ("real", "double precision", False),
        ("numeric(12,2)", "numeric(10,2)", True),
        ("numeric(12,2)", "numeric(12,3)", False),
        ("numeric(12,4)", "numeric(12,2)", False),
        ("numeric", "numeric(40,9)", True),
        ("numeric(40,9)", "numeric", False),
        ("numeric(19,0)", "bigint", True),
        ("numeric(18,0)", "bigint", False),
        ("numeric", "double precision", False),
        ("text", "date", True),
        ("text", "bytea", False),
        ("text", "integer[]", False),
        ("bigint[]", "integer[]", True),
        ("integer[]", "bigint[]", False),
        ("integer[]", "integer", False),
        ("numeric[]", "numeric(12,2)[]", True),
        ("text", "character varying(9)", True),
        ("character varying(9)", "text", False),
        ("character varying(9)", "character varying(5)", True),
        ("character varying", "text", True),
        ("timestamp with time zone", "timestamp without time zone", False),
        ("timestamp(3) with time zone", "timestamp with time zone", False),
        ("json", "jsonb", True),
    ],
)
def test_a_type_holds_another_or_not(wide: str, narrow: str, held: bool) -> None:  # noqa: FBT001
    """A table is widened only to a type in which every old value has its place."""
    assert holds(parse(wide), parse(narrow)) is held
