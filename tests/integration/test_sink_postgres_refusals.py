"""What the Postgres sink refuses or is refused, and what it says then."""

from __future__ import annotations

from typing import Any

import pytest

from tillstream.io.sinks.postgres import PostgresSink
from tillstream.pipelines.errors import SinkError, SinkUnavailableError
from tillstream.pipelines.records import DeadLetter

from .conftest import Database
from .sink_rigs import Open, entity, things, written

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

_RAISE = "RETURNS {} LANGUAGE plpgsql AS $$ BEGIN RAISE 'frozen by the owner'; END $$"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("id int PRIMARY KEY, value date", r"column value: found type date, expected bigint"),
        ("id int PRIMARY KEY, value numeric(9,2)", r"found type numeric\(9,2\), expected bigint"),
        ("id int PRIMARY KEY, value varchar(9)", r"found type character varying\(9\), expected bigint"),
        ("id int, value bigint", r"found unique keys \(none\), expected \(id\)"),
        ("id int, value bigint PRIMARY KEY", r"found unique keys \(value\), expected \(id\)"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(
    open_sink: Open, database: Database, table: str, said: str
) -> None:
    """A table that the contract cannot widen is left alone, and the error says what to do."""
    database.run("CREATE SCHEMA acme", f"CREATE TABLE acme.things ({table})")
    with pytest.raises(SinkError, match=rf"table acme.things.*{said}"):
        open_sink(entity(id="int32", value="int64"))


def test_a_missing_right_is_no_outage(open_sink: Open, database: Database) -> None:
    """What the role may not do is said at once, with what to check."""
    database.run(
        "DROP ROLE IF EXISTS reader",
        "CREATE ROLE reader LOGIN",
        "CREATE SCHEMA acme",
        "SET search_path TO acme",
    )
    with pytest.raises(SinkError, match=r"permission denied .* check the rights of user 'reader'"):
        open_sink(entity(id="int32"), user="reader")


def test_letters_that_are_refused_are_a_refusal(open_sink: Open, database: Database) -> None:
    """An error of a row's kind has no row to set aside among dead letters: a person must mend it."""
    sink = open_sink(entity(id="int32"))
    database.run(
        f"CREATE FUNCTION acme.frozen() {_RAISE.format('trigger')}",
        "CREATE TRIGGER frozen BEFORE INSERT ON acme.tillstream_dead_letters "
        "FOR EACH ROW EXECUTE FUNCTION acme.frozen()",
    )
    with pytest.raises(SinkError, match=r"refuses: frozen by the owner .*: check the rights") as caught:
        sink.write_dead_letters([DeadLetter("acme", None, "read", "malformed", "", "t", 0, 7)])
    assert type(caught.value) is SinkError


def test_tables_that_are_refused_are_a_refusal(open_sink: Open, database: Database) -> None:
    """An error of a row's kind while tables are made names the sink and what to check."""
    database.run(
        f"CREATE OR REPLACE FUNCTION public.frozen() {_RAISE.format('event_trigger')}",
        "CREATE EVENT TRIGGER frozen ON ddl_command_start WHEN TAG IN ('CREATE TABLE') "
        "EXECUTE FUNCTION public.frozen()",
    )
    try:
        with pytest.raises(SinkError, match=r"refuses: frozen by the owner .*: check the rights") as caught:
            open_sink(entity(id="int32"))
    finally:
        database.run("DROP EVENT TRIGGER frozen", "DROP FUNCTION public.frozen")
    assert type(caught.value) is SinkError


def test_the_dead_letters_table_is_no_entity_s(open_sink: Open) -> None:
    """An entity cannot take the name under which dead letters are kept."""
    described = entity(id="int32")
    sink = PostgresSink("sink", "acme", open_sink(described).model, {"tillstream_dead_letters": described})
    with pytest.raises(SinkError, match="expected another name"):
        sink.open()
    sink.close()


def test_nobody_listening_is_named(open_sink: Open, tmp_path: Any) -> None:
    """At start, a server that is not there is named with its address after bounded retries."""
    with pytest.raises(SinkUnavailableError, match=rf"sink sink: .* {tmp_path}:5432/postgres .*: check that"):
        open_sink(entity(id="int32"), host=str(tmp_path), retry_s_max=0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"database": "nowhere"}, 'database "nowhere" does not exist'),
        ({"user": "nobody"}, 'role "nobody" does not exist'),
        ({"user": "locked"}, 'role "locked" is not permitted to log in'),
    ],
)
def test_who_is_not_let_in_is_told_at_once(
    open_sink: Open,
    database: Database,
    caplog: pytest.LogCaptureFixture,
    wrong: dict[str, str],
    said: str,
) -> None:
    """A wrong user or database is no outage: nothing is tried again."""
    database.run("DROP ROLE IF EXISTS locked", "CREATE ROLE locked NOLOGIN")
    with pytest.raises(SinkError, match=rf"does not let user .* in: .*{said}: check the sink's user"):
        open_sink(entity(id="int32"), **wrong)
    assert "trying again" not in caplog.text


def test_the_password_stays_out_of_sight(
    open_sink: Open, database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The secret is resolved when the sink opens, and shows neither in the session nor in its errors."""
    monkeypatch.setenv("WAREHOUSE_PASSWORD", "s3cret!")
    sink = open_sink(entity(id="int32"), password="${WAREHOUSE_PASSWORD}")
    assert sink._connection is not None
    assert sink._connection.info.password == "s3cret!"
    assert "s3cret" not in sink._connection.info.dsn
    with pytest.raises(SinkError) as caught:
        open_sink(entity(id="int32"), password="${WAREHOUSE_PASSWORD}", database="nowhere")
    assert "s3cret" not in str(caught.value) + caplog.text
    assert 'database "nowhere" does not exist' in str(caught.value)
    del database


def test_batches_of_another_contract_are_refused(open_sink: Open) -> None:
    """A batch whose columns are not the contract's is a mistake that retrying cannot cure."""
    sink = open_sink(entity(id="int32", value="int32"))
    with pytest.raises(SinkError, match=r"entity 'things' with columns \(id\), expected"):
        written(sink, [things(entity(id="int32"), (1,))])
