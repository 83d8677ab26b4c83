"""`tillstream traffic`, `sql` and `env` give a client of one's own something to read, and to look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tillstream.cli import app
from tillstream.pipelines.errors import StackError, UserError
from tillstream.runners.local.query import query
from tillstream.runners.local.stack import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Return a stack with a source database alone."""
    local = LocalStack.open(tmp_path_factory.mktemp("feed") / "stack")
    try:
        local.up(["source"])
        yield local
    finally:
        local.down(wipe=True)


def test_a_statement_is_run_and_shown(stack: LocalStack) -> None:
    """What a query returns comes as aligned lines; another statement says what it did, and is committed."""
    source = stack.addresses.source
    assert list(query(source, "create table things (id int, name text)")) == ["CREATE TABLE"]
    assert list(query(source, "insert into things values (1, 'a'), (22, null)")) == ["INSERT 0 2"]
    assert list(query(source, "select * from things order by 1")) == ["id  name", "1   a", "22"]
    shown = CliRunner().invoke(
        app, ["sql", "--source", "--dir", str(stack.layout.root), "select count(*) from things"]
    )
    assert (shown.exit_code, shown.output) == (0, "count\n2\n")


def test_a_bad_statement_is_told(stack: LocalStack) -> None:
    """What the database says is the message; no traceback, and no password."""
    with pytest.raises(UserError, match='source: relation "nothing" does not exist'):
        list(query(stack.addresses.source, "select * from nothing"))


def test_a_database_that_is_down_is_told(stack: LocalStack) -> None:
    """The part that does not answer is named, with the command that starts it."""
    with pytest.raises(StackError, match=r"warehouse at 127\.0\.0\.1:\d+ does not answer: .*tillstream up"):
        list(query(stack.addresses.warehouse, "select 1"))


def test_the_shell_learns_the_addresses(stack: LocalStack) -> None:
    """`tillstream env` prints exports that a shell can take, and no secret."""
    shown = CliRunner().invoke(app, ["env", "--dir", str(stack.layout.root)])
    assert f"export TILLSTREAM_KAFKA={stack.addresses.kafka}\n" in shown.output
    passwords = [path.read_text("ascii").strip() for path in stack.layout.secrets.iterdir()]
    assert passwords
    assert not any(password in shown.output for password in passwords)


def test_no_stack_is_told(tmp_path: Path) -> None:
    """Without a stack the commands name the one that starts it."""
    for command in (["env"], ["sql", "select 1"], ["traffic"]):
        found = CliRunner().invoke(app, [*command, "--dir", str(tmp_path / "none")])
        assert isinstance(found.exception, StackError)
        assert "start it with 'tillstream up'" in str(found.exception)
