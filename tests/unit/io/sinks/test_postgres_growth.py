"""Tables that are there are widened by what they are and what comes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import pytest
from msgspec.structs import replace

from tests.unit.io.sinks.builders import batch, entity, upsert
from tillstream.configs import Entity
from tillstream.io.sinks import postgres_growth
from tillstream.io.sinks.postgres_growth import Growth


class Connection:
    """Stand in for a connection to a server whose table has one column beside the key."""

    connection = None

    def __init__(self, formatted: str, evolved: str = "") -> None:
        self._formatted = formatted
        self._evolved = [("v", evolved)] if evolved else []
        self.statements: list[str] = []
        self._rows: list[tuple[str, str]] = []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do nothing: nothing is undone here."""
        yield

    def execute(self, query: Any, _: Any = None) -> Connection:
        """Know the table's types and comments."""
        self.statements.append(str(query))
        if "format_type" in str(query):
            self._rows = [("id", "bigint"), ("v", self._formatted)]
        else:
            self._rows = self._evolved if "pg_description" in str(query) else []
        return self

    def fetchall(self) -> list[tuple[str, str]]:
        """Return what was asked for."""
        return self._rows


@pytest.mark.parametrize(
    ("own", "there", "comes", "wanted"),
    [
        # A person made the column wider than the contract says, and a value comes that is wider than that.
        ("int32", "numeric(12,2)", "int64", "decimal(21,2)"),
        ("int32", "numeric(12,2)", "decimal(12,4) declared", "decimal(14,4)"),
        ("int32", "numeric", "int64", "int64"),
        # Another shard has widened it.
        ("decimal(10,2)", "numeric(14,2)", "decimal(12,4)", "decimal(16,4)"),
        ("interval", "numeric(12,2)", "interval null", "interval"),
    ],
)
def test_a_table_of_decimals_takes_numbers_of_both(
    monkeypatch: pytest.MonkeyPatch, own: str, there: str, comes: str, wanted: str
) -> None:
    """A whole number beside a decimal is a decimal, never JSON, which no server makes of a number."""
    shapes: list[Entity] = []

    def ensure(_: Any, __: str, entities: Mapping[str, Entity]) -> None:
        shapes.extend(entities.values())

    monkeypatch.setattr(postgres_growth, "ensure_tables", ensure)
    growth = Growth("public", {"things": entity(id="int64", v=own)}, lambda *_: None)
    found = replace(batch("id v", upsert(1, None)), evolved=(("v", comes),))
    growth.conform(cast("Any", Connection(there)), [found])
    (shape,) = shapes
    assert (shape.contract or {})["v"].type == wanted


def test_bytes_become_text_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Postgres breaks the lines of its base64, and rows that come later have none."""
    monkeypatch.setattr(postgres_growth, "ensure_tables", lambda *_: None)
    growth = Growth("public", {"things": entity(id="int64")}, lambda *_: None)
    connection = Connection("bytea", "bytes declared")
    found = replace(batch("id v", upsert(1, "a")), evolved=(("v", "string declared"),))
    growth.conform(cast("Any", connection), [found])
    (change,) = [each for each in connection.statements if "ALTER COLUMN" in each]
    assert "chr(10)" in change
