"""Tell whether a contract may follow another, for readers of rows and for each type of sink.

Definitions, after Confluent's "Schema Evolution and Compatibility": a change is *backward* compatible when
those who know the new contract read rows written under the old one, *forward* compatible when those who know
the old one read rows written under the new one, *full* when both hold.

Who reads differs by place:

- rows (and `jsonl`, `kafka`, `http`): contracts themselves, as tillstream checks JSON rows against them; what
  our sinks write spells decimals and JSON as text.
- avro: Avro 1.11, "Schema Resolution". Every column of our files is a union with null whose default is null,
  so columns come and go freely, and types are promoted as Avro says.
- parquet: the type promotions of the Apache Iceberg specification, "Schema Evolution"; columns are optional.
- postgres: whether the sink widens the table in place, never narrowing it. Backward: from the old contract's
  table to the new one's. Forward: back, as a rollback does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

from tillstream.configs import Column
from tillstream.configs.column_rules import ColumnRules
from tillstream.configs.contract import text_of

__all__ = ["PLACES", "Change", "Verdict", "compare", "keyless", "verdict_of"]

_Reads: TypeAlias = Callable[[Column, Column], bool]
_DIGITS = {"int16": 5, "int32": 10, "int64": 19}
_ROWS = {
    ("int16", "int32"),
    ("int16", "int64"),
    ("int32", "int64"),
    # Whole numbers that a float holds exactly.
    ("int16", "float64"),
    ("int32", "float64"),
    ("int16", "float32"),
    ("float32", "float64"),
}
# Their form in a row is text.
_TEXTS = frozenset({"date", "time", "timetz", "timestamp", "timestamptz", "interval", "uuid", "bytes"})
# Sources write these as they like, our sinks as text.
_WIRE_TEXTS = frozenset({"decimal", "json"})
_AVRO_FORMS = {
    "bool": "boolean",
    "int16": "int",
    "int32": "int",
    "int64": "long",
    "float32": "float",
    "float64": "double",
    "string": "string",
    "json": "string",
    "uuid": "string",
    "timetz": "string",
    "interval": "string",
    "bytes": "bytes",
}
_AVRO = {
    ("int", "long"),
    ("int", "float"),
    ("int", "double"),
    ("long", "float"),
    ("long", "double"),
    ("float", "double"),
    ("string", "bytes"),
    ("bytes", "string"),
}
_PARQUET = {("int16", "int32"), ("int16", "int64"), ("int32", "int64"), ("float32", "float64")}
_PARQUET_TEXTS = frozenset({"string", "json", "uuid", "timetz", "interval"})


class Verdict(NamedTuple):
    """Say what a change, or all of them, let readers do.

    Attributes:
        backward: whether new readers read old rows.
        forward: whether old readers read new rows.
    """

    backward: bool
    forward: bool

    def __str__(self) -> str:
        if self.backward and self.forward:
            return "full"
        return "backward" if self.backward else "forward" if self.forward else "none"

    def satisfies(self, asked: str) -> bool:
        """Tell whether it is at least `backward`, `forward` or `full`."""
        return {"backward": self.backward, "forward": self.forward, "full": all(self)}[asked]


class Change(NamedTuple):
    """Hold one difference between two contracts.

    Attributes:
        column: its name.
        text: what was, and what is.
        verdicts: by place.
    """

    column: str
    text: str
    verdicts: Mapping[str, Verdict]


def compare(old: Sequence[Column], new: Sequence[Column], places: Sequence[str] = ("rows",)) -> list[Change]:
    """Return what differs between two contracts, in the order of the old one, then what is added.

    Args:
        old: columns of the contract that is.
        new: columns of the one that is to follow.
        places: of `PLACES`.
    """
    if keyless(old, new):
        # A schema file need not know of keys: whoever calls warns. A column of the key that the other side
        # lacks altogether is no matter of marks.
        shared = {column.name for column in old} & {column.name for column in new}
        old, new = (
            [replace(column, key=column.key and column.name not in shared) for column in columns]
            for columns in (old, new)
        )
    before, after = ({column.name: column for column in columns} for columns in (old, new))
    changes = []
    for name in [*before, *(name for name in after if name not in before)]:
        was, now = before.get(name), after.get(name)
        for text, judge in _differences(was, now):
            verdicts = {place: Verdict(judge(place, now, was), judge(place, was, now)) for place in places}
            changes.append(Change(name, text, verdicts))
    return changes


def keyless(old: Sequence[Column], new: Sequence[Column]) -> tuple[str, ...]:
    """Return which of two contracts, `old` or `new`, marks no key, so that keys cannot be compared."""
    sides = {"old": old, "new": new}
    return tuple(side for side, columns in sides.items() if not any(column.key for column in columns))


def verdict_of(changes: Sequence[Change], place: str) -> Verdict:
    """Return what all changes together let readers in one place do."""
    verdicts = [change.verdicts[place] for change in changes]
    return Verdict(all(each.backward for each in verdicts), all(each.forward for each in verdicts))


_Judge: TypeAlias = Callable[[str, Column | None, Column | None], bool]


def _differences(was: Column | None, now: Column | None) -> Iterator[tuple[str, _Judge]]:
    """Yield each difference of a column in words, and what tells whether a reader reads a writer."""
    if was is None or now is None:
        only = now if was is None else was
        assert only is not None  # of the one contract or of the other
        yield f"{'added' if was is None else 'removed'}: {_shown(only)}", _presence
        return
    if text_of(was) != text_of(now):
        yield f"type {text_of(was)} -> {text_of(now)}", _type
    if was.nullable != now.nullable:
        yield ("may be null now" if now.nullable else "is never null now"), _nullability
    if was.rules != now.rules:
        yield f"rules {_rules_shown(was)} -> {_rules_shown(now)}", _rules
    if was.unit != now.unit:
        # The same number means something else: no reader can tell.
        yield f"unit {was.unit or 'none'} -> {now.unit or 'none'}", lambda *_: not (was.unit and now.unit)
    if was.key != now.key:
        yield f"{'joins' if now.key else 'leaves'} the key", lambda *_: False
    if was.pii != now.pii:
        yield f"pii {was.pii or 'none'} -> {now.pii or 'none'}", lambda *_: True
    if was.default != now.default:
        yield f"default {was.default} -> {now.default}", lambda *_: True


def _presence(place: str, reader: Column | None, writer: Column | None) -> bool:
    if reader is None or writer is None:
        only = reader or writer
        assert only is not None  # else there is no difference
        if only.key:
            return False
        if reader is None or place in ("avro", "parquet", "postgres"):
            return True
        return reader.nullable or reader.default is not None
    return True


def _type(place: str, reader: Column | None, writer: Column | None) -> bool:
    assert reader is not None
    assert writer is not None  # a type differs from another
    return PLACES[place](reader, writer)


def _nullability(place: str, reader: Column | None, writer: Column | None) -> bool:
    assert reader is not None
    assert writer is not None
    # Columns of files and tables that hold deletes, or older rows, are nullable whatever the contract says.
    return place in ("avro", "parquet", "postgres") or reader.nullable or not writer.nullable


def _rules(place: str, reader: Column | None, writer: Column | None) -> bool:
    assert reader is not None
    assert writer is not None
    if place in ("avro", "parquet", "postgres") or reader.rules is None:
        return True
    return writer.rules is not None and _implies(writer.rules, reader.rules)


def _implies(given: ColumnRules, asked: ColumnRules) -> bool:
    """Tell whether all that keeps some rules keeps others; False where that is not plain."""
    have = given.given()
    return all(
        any(_stronger(*each, name, bound) for each in have.items()) for name, bound in asked.given().items()
    )


def _stronger(name: str, bound: Any, asked: str, limit: Any) -> bool:
    """Tell whether what keeps one rule keeps another."""
    if name != asked:
        low = name in ("ge", "gt") and asked in ("ge", "gt")
        high = name in ("le", "lt") and asked in ("le", "lt")
        strict = asked in ("gt", "lt")
        if low:
            return bool(bound > limit if strict else bound >= limit)
        return bool(high and (bound < limit if strict else bound <= limit))
    if name in ("ge", "gt", "min_length"):
        return bool(bound >= limit)
    if name in ("le", "lt", "max_length"):
        return bool(bound <= limit)
    if name == "multiple_of":
        return bool(bound % limit == 0)
    return set(bound) <= set(limit) if name == "one_of" else bool(bound == limit)


def _reads_row(reader: Column, writer: Column) -> bool:
    if reader.element is not None and writer.element is not None:
        return text_of(reader) == text_of(writer) or _reads_row(reader.element, writer.element)
    if (writer.kind, reader.kind) in _ROWS:
        return True
    if reader.kind == "json":
        # A text in its place is taken for JSON that a source has spelt.
        return writer.kind == "bool" or writer.kind.startswith(("int1", "int3", "int6", "float"))
    if reader.kind == "string":
        return writer.kind in _TEXTS
    return reader.kind == "decimal" and _decimal_holds(reader, writer)


def _reads_wire(reader: Column, writer: Column) -> bool:
    return _reads_row(reader, writer) or (reader.kind == "string" and writer.kind in _WIRE_TEXTS)


def _decimal_holds(reader: Column, writer: Column) -> bool:
    digits, scale = _DIGITS.get(writer.kind), 0
    if writer.kind == "decimal":
        digits, scale = writer.precision, writer.scale or 0
    if reader.precision is None:
        return digits is not None or writer.kind == "decimal"
    room = reader.precision - (reader.scale or 0)
    return digits is not None and (reader.scale or 0) >= scale and room >= digits - scale


def _reads_avro(reader: Column, writer: Column) -> bool:
    if reader.element is not None and writer.element is not None:
        return text_of(reader) == text_of(writer) or _reads_avro(reader.element, writer.element)
    old, new = _AVRO_FORMS.get(writer.kind), _AVRO_FORMS.get(reader.kind)
    return old is not None and new is not None and (old == new or (old, new) in _AVRO)


def _reads_parquet(reader: Column, writer: Column) -> bool:
    if reader.element is not None and writer.element is not None:
        return text_of(reader) == text_of(writer) or _reads_parquet(reader.element, writer.element)
    if reader.kind == writer.kind == "decimal":
        return reader.scale == writer.scale and (reader.precision or 0) >= (writer.precision or 0)
    return (writer.kind, reader.kind) in _PARQUET or {writer.kind, reader.kind} <= _PARQUET_TEXTS


def _widens_table(reader: Column, writer: Column) -> bool:
    from tillstream.io.sinks.postgres_types import holds, type_of

    new, old = type_of(reader), type_of(writer)
    return holds(old, new) or holds(new, old)


PLACES: Mapping[str, _Reads] = {
    "rows": _reads_row,
    "jsonl": _reads_wire,
    "kafka": _reads_wire,
    "http": _reads_wire,
    "avro": _reads_avro,
    "parquet": _reads_parquet,
    "postgres": _widens_table,
}


def _shown(column: Column) -> str:
    more = [] if column.nullable else ["never null"]
    more += [] if column.default is None else [f"default {column.default}"]
    return ", ".join([text_of(column), *more])


def _rules_shown(column: Column) -> str:
    if column.rules is None:
        return "none"
    return ", ".join(f"{name} {value}" for name, value in column.rules.given().items())
