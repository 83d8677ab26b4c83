"""A short form of `make differential`: a source that changes at random, and a warehouse that equals it."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

import pytest

from tests.differential.generator import Generator
from tests.differential.play import Options, play
from tillstream.runners.local.stack import LocalStack

from .conftest import Database

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_the_warehouse_equals_the_source(tmp_path: Path) -> None:
    """After DDL and DML through the whole stack, while the job and the source are restarted."""
    options = Options(seed=7, steps=40, restarts=("taskmanager", "source"), steps_per_restart=20)
    stack = LocalStack.open(tmp_path / "stack")
    lines: list[str] = []
    try:
        outcome = play(options, stack, lines.append)
    finally:
        stack.down(wipe=True)
    assert outcome.difference is None, "\n".join([*lines, outcome.verdict()])
    assert sorted(outcome.restarts) == ["source", "taskmanager"]
    assert re.fullmatch(r"equal: \d+ tables, \d+ rows, 40 steps, seed 7", outcome.verdict())
    assert outcome.rows > 50


@pytest.mark.parametrize("seed", [1, 2])
def test_a_source_takes_every_statement(database: Database, seed: int) -> None:
    """What the generator remembers of tables and keys is what a Postgres has."""
    generator = Generator(seed)
    with database.connect() as connection:
        connection.execute("drop schema if exists differential cascade")
        connection.execute("create schema differential")
        connection.execute("set search_path to differential")
        for statement in generator.opening():
            connection.execute(statement.encode())
        for step in islice(generator.steps(), 300):
            statements = [each.encode() for each in step.statements]
            with connection.transaction(force_rollback=not step.commit):
                for statement in statements:
                    connection.execute(statement)
            for captured in step.captured or ():
                connection.execute(captured.encode())
        for table in generator.tables.values():
            found = connection.execute(f"select count(*) from {table.name}".encode()).fetchone()
            assert table.keyless or found == (len(table.rows),), table.name
        connection.execute("drop schema differential cascade")
