"""A table that cannot be read again keeps none of the others from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import UserError
from tillstream.runners.capture.choosing import choose
from tillstream.runners.capture.spec import Capture

KEYED = {"key": ["id"], "contract": {"id": "int64"}}
KEYLESS = {"keyless": "full_row", "contract": {"line": "string"}}
CAPTURE = Capture(
    "acme", "acme", ("public.orders", "public.log", "public.bare", "public.gone", "public.kept", "a.message")
)


@dataclass
class Connection:
    """Be a database, of these tables and whether they have a primary key."""

    tables: dict[str, bool]

    def execute(self, _: str, values: tuple[list[str]]) -> Connection:
        """Answer for each table that is asked for."""
        self.found = [(name, name in self.tables, self.tables.get(name, False)) for name in values[0]]
        return self

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the answers."""
        return self.found


def chosen(*entities: str, leaves_out: bool) -> tuple[list[str], list[str]]:
    """Return which entities are chosen, and what is said."""
    tables = {name: {"topic": f"acme.public.{name}", **KEYED} for name in ("orders", "bare", "gone", "other")}
    kept = {"topic": "acme.public.kept", **KEYED, "on_truncate": "keep"}
    more = {"log": {"topic": "acme.public.log", **KEYLESS}, "said": {"topic": "acme.message"}, "kept": kept}
    config = ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "k:1"}},
            "entities": {name: {"sinks": ["out"], **each} for name, each in {**tables, **more}.items()},
            "sinks": {"out": {"type": "files", "path": "/out"}},
        }
    )
    said: list[str] = []
    found: Any = Connection(
        {"public.orders": True, "public.kept": True, "public.log": True, "public.bare": False}
    )
    return choose(config, CAPTURE, found, entities, said.append, leaves_out=leaves_out), said


def test_of_all_entities_those_are_left_out_that_cannot_be_read() -> None:
    """The others are read; each that is not is named, with the reason."""
    found, said = chosen("log", "orders", "said", "bare", "gone", "other", leaves_out=True)
    assert found == ["orders"]
    assert said == [
        "left out: entity log cannot be read again: it has no key, by which rows are read again",
        "left out: entity said cannot be read again: it holds messages of the log, which no table has",
        "left out: entity bare cannot be read again: public.bare has no primary key, by which it is read",
        "left out: entity gone cannot be read again: there is no table public.gone",
        "left out: entity other cannot be read again: public.other is not captured: add it to capture.tables",
    ]


def test_one_that_is_named_is_refused() -> None:
    """Whoever asks for it learns that it cannot be."""
    with pytest.raises(UserError, match=r"entity log cannot be read again: it has no key"):
        chosen("orders", "log", leaves_out=False)


def test_with_nothing_left_there_is_nothing_to_do() -> None:
    """All entities of a client may be such."""
    with pytest.raises(UserError, match=r"entity log cannot .*; entity said cannot"):
        chosen("log", "said", leaves_out=True)


def test_rows_that_are_to_stay_are_told_of() -> None:
    """A resync cannot tell rows that a truncate has left from invented ones."""
    assert chosen("kept", leaves_out=False) == (
        ["kept"],
        ["entity kept keeps rows that the source no longer has (on_truncate: keep): they are not swept"],
    )
