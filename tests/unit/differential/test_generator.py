"""One seed gives one sequence of statements, which does what it says of the tables."""

from __future__ import annotations

import re
from itertools import islice

from tests.differential.generator import Generator
from tests.differential.kinds import KINDS, quoted
from tests.differential.model import Step


def played(seed: int, count: int = 300) -> tuple[list[str], list[Step]]:
    """Return the first statements and the first steps of a seed."""
    generator = Generator(seed)
    return generator.opening(), list(islice(generator.steps(), count))


def test_the_same_seed_gives_the_same_statements() -> None:
    """Whatever ran before, and whatever the database would answer."""
    assert played(7) == played(7)


def test_another_seed_gives_other_statements() -> None:
    """So that runs without a seed are worth repeating."""
    assert played(7) != played(8)


def test_every_type_is_in_a_table() -> None:
    """The first table has all of them."""
    generator = Generator(3)
    generator.opening()
    assert [column.kind for column in generator.tables["plain"].columns] == list(KINDS)


def test_what_is_rolled_back_is_forgotten() -> None:
    """Keys are those of rows that are there: of a rolled-back step, those of before."""
    generator = Generator(5)
    generator.opening()
    before = {name: dict(table.rows) for name, table in generator.tables.items()}
    seen = 0
    for step in islice(generator.steps(), 200):
        now = {name: dict(table.rows) for name, table in generator.tables.items()}
        if not step.commit:
            seen += 1
            assert now == before
        before = now
    assert seen > 3


def test_versions_are_written_once() -> None:
    """Each statement that writes rows has a version of its own, by which a refused change is known."""
    opening, steps = played(11)
    statements = [*opening, *(statement for step in steps for statement in step.statements)]
    found = [int(each) for statement in statements for each in re.findall(r"set version = (\d+)", statement)]
    assert len(found) == len(set(found))
    assert len(found) > 100


def test_keys_are_inserted_once() -> None:
    """No statement inserts two rows of one key, however few keys are free."""
    generator = Generator(13)
    for statement in generator.opening():
        found = re.findall(r"\((-?\d+), \d+, ", statement.partition(" values ")[2])
        if statement.startswith("insert into plain"):
            assert len(found) == len(set(found)) == 40


def test_texts_are_quoted() -> None:
    """A quote in a text ends no literal."""
    assert quoted("it's \\ ") == "'it''s \\ '"
