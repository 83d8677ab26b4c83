"""List the types of the source's columns: what they become in a contract and in the warehouse, and values."""

from __future__ import annotations

import datetime as dt
import json
import random
import string
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["BY_SQL", "KEYS", "KINDS", "STRAY", "WIDER", "Kind", "big_text", "quoted"]

Dice: TypeAlias = random.Random
_Literal: TypeAlias = Callable[[Dice], str]

# What breaks formats on the way.
_TEXTS = (
    *("", " ", "tab\there", "two\nlines\r\n", r"C:\temp\N", r"\N", r"\.", "NULL", "null", "🎁 «fragile»"),
    *('it\'s "quoted"', "Łódź, 田中", "e\u0301 \u200b \ufeff", "\x01\x7f\x85\u2028", "{}", "a,b;c|d", "0x00"),
    *("\U0010ffff", "true", "1e5", "NaN", "_debezium_unavailable_value_", "%s %(x)s {0}"),
)
# From the Gregorian calendar's first year on: in snapshots, the connector takes what is before it for days of
# the Julian one. Up to the last that both sides have, whatever the zone.
_DAY_MIN, _DAY_MAX = dt.date(1583, 1, 1).toordinal(), dt.date(9999, 12, 30).toordinal()
_MODERN = (dt.date(1970, 1, 2).toordinal(), dt.date(2040, 1, 1).toordinal())
_SECONDS = 86_400
_SPECIAL = 0.15


@dataclass(frozen=True)
class Kind:
    """Describe a type of the source.

    Attributes:
        sql: as the source spells it.
        contract: as a client's config spells it.
        target: as the warehouse formats it.
        literal: returns a value as SQL.
        text: the source's value as the text that the warehouse's has, `{0}` being the column.
    """

    sql: str
    contract: str
    target: str
    literal: _Literal
    text: str = "{0}::text"


def quoted(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def big_text(dice: Dice) -> str:
    """Return SQL of a text that lies outside of its row, and does not compress much."""
    seed, parts = dice.getrandbits(40), dice.randint(90, 300)
    return f"(select string_agg(md5(({seed} + i)::text), '') from generate_series(1, {parts}) i)"


def _integer(bits: int) -> _Literal:
    bound = 1 << (bits - 1)

    def literal(dice: Dice) -> str:
        if dice.random() < _SPECIAL:
            # In brackets and beyond by one: the smallest one is no number with a minus before it.
            return dice.choice([str(bound - 1), f"(-{bound - 1} - 1)", "0", "-1"])
        return str(dice.randrange(-bound // 2, bound // 2))

    return literal


def _float(digits: int, low: float, high: float) -> _Literal:
    def literal(dice: Dice) -> str:
        if dice.random() < _SPECIAL:
            return quoted(dice.choice(["NaN", "Infinity", "-Infinity", "0", "-0", repr(low), repr(-high)]))
        return quoted(f"{dice.uniform(-1, 1) * 10 ** dice.randint(-8, 8):.{digits}g}")

    return literal


def _numeric(precision: int, scale: int, *specials: str) -> _Literal:
    def literal(dice: Dice) -> str:
        if specials and dice.random() < _SPECIAL:
            return quoted(dice.choice(specials))
        digits = str(dice.randrange(10 ** dice.randint(1, precision))).zfill(scale + 1)
        whole, part = (digits[:-scale], digits[-scale:]) if scale else (digits, "")
        return f"{dice.choice(['', '-'])}{whole}{'.' if part else ''}{part}"

    return literal


def _text(dice: Dice, longest: int | None = None) -> str:
    if dice.random() < 0.4:
        found = dice.choice(_TEXTS)
    else:
        found = "".join(dice.choices(string.printable[:95] + "äß漢🎈", k=dice.randint(1, 60)))
    return found[:longest]


def _varchar(longest: int | None) -> _Literal:
    return lambda dice: quoted(_text(dice, longest))


def _char(dice: Dice) -> str:
    return quoted("".join(dice.choices(string.ascii_letters, k=dice.randint(1, 6))))


def _bytes(dice: Dice) -> str:
    return quoted("\\x" + dice.randbytes(dice.randint(0, 40)).hex())


def _day(dice: Dice) -> str:
    return dt.date.fromordinal(dice.randint(*dice.choice([_MODERN, (_DAY_MIN, _DAY_MAX)]))).isoformat()


def _date(dice: Dice) -> str:
    return quoted(_infinite(dice) or _day(dice))


def _infinite(dice: Dice) -> str:
    return dice.choice(["infinity", "-infinity"]) if dice.random() < _SPECIAL / 3 else ""


def _clock(dice: Dice) -> str:
    micros = dice.choice([0, dice.randrange(1_000) * 1_000, dice.randrange(1_000_000)])
    seconds = dice.randrange(_SECONDS)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{micros:06d}"


def _time(dice: Dice) -> str:
    return quoted(_clock(dice))


def _timestamp(dice: Dice) -> str:
    return quoted(_infinite(dice) or f"{_day(dice)} {_clock(dice)}")


def _timestamptz(dice: Dice) -> str:
    return quoted(
        _infinite(dice) or f"{_day(dice)} {_clock(dice)}{dice.choice(['Z', '+05:30', '-03:00', '+00:00'])}"
    )


def _uuid(dice: Dice) -> str:
    return quoted(str(uuid.UUID(int=dice.getrandbits(128), version=4)))


def _json(dice: Dice) -> str:
    values = [None, True, 1, -2.5, 10**17 + 1, "x", _text(dice), [], {}, [1, [2, {"a": None}]]]
    document = {dice.choice("abcdef äñ."): dice.choice(values) for _ in range(dice.randint(0, 4))}
    found = dice.choice([document, document, dice.choice(values[1:])])
    # Postgres has no U+0000 in text, and none of these are in it.
    return quoted(json.dumps(found, ensure_ascii=dice.random() < 0.5))


def _one_of(*literals: str) -> _Literal:
    return lambda dice: dice.choice([quoted(each) for each in literals])


def _interval(dice: Dice) -> str:
    parts = [
        f"{dice.randint(-500, 500)} {unit}"
        for unit in ("months", "days", "hours", "seconds", "microseconds")
        if dice.random() < 0.5
    ]
    return quoted(" ".join(parts) or "0")


def _array(item: _Literal, kind: str) -> _Literal:
    def literal(dice: Dice) -> str:
        items = ["null" if dice.random() < _SPECIAL else item(dice) for _ in range(dice.randint(0, 4))]
        return f"array[{', '.join(items)}]::{kind}[]"

    return literal


# As the type's own output, which for a host has no mask behind it.
_SHOWN = "case when {0} is not null then concat({0}) end"

# All in the schema of the tables; `mood` is an enum, `cents` a domain.
KINDS: tuple[Kind, ...] = (
    Kind("smallint", "int16", "smallint", _integer(16)),
    Kind("integer", "int32", "integer", _integer(32)),
    Kind("bigint", "int64", "bigint", _integer(64)),
    Kind("boolean", "bool", "boolean", lambda dice: dice.choice(["true", "false"])),
    Kind("real", "float32", "real", _float(6, 1.17549435e-38, 3.4e38)),
    Kind("double precision", "float64", "double precision", _float(15, 2.5e-308, 1.7e308)),
    Kind("numeric(12,2)", "decimal(12,2)", "numeric(12,2)", _numeric(12, 2)),
    Kind("numeric(38,9)", "decimal(38,9)", "numeric(38,9)", _numeric(38, 9)),
    Kind("text", "string", "text", _varchar(None)),
    Kind("character varying(20)", "string", "text", _varchar(20)),
    Kind("character(6)", "string", "text", _char, "rpad({0}::text, 6)"),
    Kind("bytea", "bytes", "bytea", _bytes),
    Kind("date", "date", "date", _date),
    Kind("time without time zone", "time", "time without time zone", _time),
    Kind("timestamp without time zone", "timestamp", "timestamp without time zone", _timestamp),
    Kind("timestamp with time zone", "timestamptz", "timestamp with time zone", _timestamptz),
    Kind("uuid", "uuid", "uuid", _uuid),
    Kind("json", "json", "jsonb", _json, "{0}::jsonb::text"),
    Kind("jsonb", "json", "jsonb", _json),
    Kind("mood", "string", "text", _one_of("glad", "sad", 'it\'s "so", so')),
    Kind(
        "numeric",
        "decimal",
        "numeric",
        _numeric(40, 20, "NaN", "Infinity", "-Infinity", "0", "1e30", "1e-30"),
    ),
    Kind("interval", "interval", "interval", _interval),
    # The connector says the time in UTC.
    Kind(
        "time with time zone",
        "timetz",
        "time with time zone",
        lambda dice: quoted(_clock(dice) + dice.choice(["Z", "+05:30", "-03:00"])),
        "({0} at time zone 'UTC')::text",
    ),
    Kind("text[]", "array(string)", "text[]", _array(lambda dice: quoted(_text(dice)), "text")),
    Kind("integer[]", "array(int32)", "integer[]", _array(_integer(32), "integer")),
    Kind("inet", "string", "text", _one_of("10.1.2.3", "10.1.2.3/8", "::1", "fe80::1/64"), _SHOWN),
    Kind("macaddr", "string", "text", _one_of("08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff")),
    Kind("int4range", "string", "text", _one_of("[1,5)", "empty", "(,7]", "[3,)")),
    Kind("bit(1)", "bool", "boolean", lambda dice: dice.choice(["B'0'", "B'1'"]), "({0}::integer = 1)::text"),
    Kind("oid", "int64", "bigint", lambda dice: str(dice.randrange(1 << 32))),
    Kind("cents", "int64", "bigint", lambda dice: str(dice.randrange(10**12))),
)
BY_SQL = {kind.sql: kind for kind in KINDS}

# What the column of a type may become, so that every value that it held has its place.
WIDER = {
    "smallint": ("integer", "bigint"),
    "integer": ("bigint",),
    "numeric(12,2)": ("numeric(38,9)",),
    "character varying(20)": ("text",),
}

# What it may become that no contract follows, and the value that each row then has.
STRAY = {
    "integer": ("text", "'no ' || {}"),
    "bigint": ("text", "'no ' || {}"),
    "boolean": ("text", "'it is ' || {}"),
    "uuid": ("text", "'not ' || {}"),
    "date": ("text", "'on ' || {}"),
}

_Keys: TypeAlias = Callable[[Dice], tuple[str, ...]]


def _pair(dice: Dice) -> tuple[str, ...]:
    return (str(dice.randrange(40)), quoted(dice.choice(_TEXTS[2:]) + str(dice.randrange(60))))


# Columns of keys, and what makes up values of them, as SQL.
KEYS: dict[str, tuple[tuple[tuple[str, Kind], ...], _Keys]] = {
    "number": ((("id", BY_SQL["bigint"]),), lambda dice: (str(dice.randrange(-2_000, 2_000)),)),
    "pair": ((("a", BY_SQL["integer"]), ("b", BY_SQL["text"])), _pair),
    "uuid": ((("id", BY_SQL["uuid"]),), lambda dice: (_uuid(dice),)),
    "price": (
        (("price", BY_SQL["numeric(12,2)"]),),
        lambda dice: (f"{dice.randrange(1_000)}.{dice.randrange(100):02d}",),
    ),
    # Not unique: the table has no key.
    "tag": ((("tag", BY_SQL["integer"]),), lambda dice: (str(dice.randrange(25)),)),
    "big": ((("id", BY_SQL["bigint"]),), lambda dice: (str((1 << 53) + dice.randrange(2_000)),)),
}
