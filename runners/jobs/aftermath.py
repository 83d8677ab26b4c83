"""Look at what a version that was undone has left: rows that nobody has written since, and dead letters.

Postgres stamps each row with the transaction that wrote it last (PostgreSQL documentation, "System Columns",
xmin). The history notes the next transaction of each database before a version starts and after it was ended.
Once the version of before has read again what there was, rows stamped between both are those that it does not
make.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from tillstream.configs import ClientConfig, PostgresSink
from tillstream.pipelines.errors import TillstreamError, UserError
from tillstream.runners.jobs.history import Entry
from tillstream.runners.jobs.job import ClientJob, Say

__all__ = ["Horizon", "Leftover", "caught_up", "horizons_of", "leftovers", "letters_since", "look_after"]

_TIMEOUT_S = 5
_SHOWN = 5
_XIDS = 1 << 32
_MARK = "SELECT txid_current()"
_FILES = """
SELECT c.relname, pg_relation_filenode(c.oid)::bigint FROM pg_class c
WHERE c.relnamespace = to_regnamespace(quote_ident(%s)) AND c.relkind = 'r'
"""
# Ages are told from the next transaction backwards, and so survive that numbers start over.
_BETWEEN = "age(xmin) < age(%(since)s::text::xid) AND age(xmin) > age(%(until)s::text::xid)"


class Horizon(msgspec.Struct, frozen=True):
    """Hold a moment in a database.

    Attributes:
        xid: of the next transaction, as `txid_current()` counts.
        files: number of each table's file: a table that is rewritten gets another, and its rows new stamps.
    """

    xid: int
    files: dict[str, int]


_HORIZONS = dict[str, Horizon]


class Leftover(msgspec.Struct, frozen=True):
    """Say what an undone version has left in one table.

    Attributes:
        sink: the sink's name.
        entity: the table's.
        rows: that it wrote, and nobody since; None where that cannot be told.
        keys: of some of them.
        condition: that finds them in the table.
    """

    sink: str
    entity: str
    rows: int | None
    keys: list[list[Any]]
    condition: str

    def line(self) -> str:
        """Return it in a line."""
        if self.rows is None:
            return f"{self.sink}, {self.entity}: the table was rewritten, so nobody can tell what is left"
        keys = ", ".join("/".join(map(str, key)) for key in self.keys)
        more = ", ..." if self.rows > len(self.keys) else ""
        return f"{self.sink}, {self.entity}: {self.rows} rows of the undone version are left ({keys}{more})"


def horizons_of(config: ClientConfig) -> dict[str, Horizon]:
    """Return the moment that it is in each database of a client's sinks; those that do not answer lack."""
    found = {}
    for name, sink in config.sinks.items():
        if isinstance(sink, PostgresSink):
            try:
                with closing(_connect(config, sink)) as connection:
                    row = connection.execute(_MARK).fetchone()
                    files = connection.execute(_FILES, (_schema(config, sink),)).fetchall()
                assert row is not None  # it returns one
                found[name] = Horizon(row[0], dict(files))
            except (psycopg.Error, UserError):
                continue
    return found


def leftovers(
    config: ClientConfig, since: Mapping[str, Horizon], until: Mapping[str, Horizon]
) -> list[Leftover]:
    """Return what was written between two moments and not since, of each table that has some.

    Args:
        config: the client's, of the version that runs now.
        since: before the undone version began to write.
        until: after its end.

    Raises:
        psycopg.Error: as the server raises it.
    """
    return [
        leftover
        for name in since.keys() & until.keys() & config.sinks.keys()
        for leftover in _of_sink(config, name, since[name], until[name])
    ]


def _of_sink(config: ClientConfig, name: str, since: Horizon, until: Horizon) -> Iterator[Leftover]:
    sink = config.sinks[name]
    assert isinstance(sink, PostgresSink)  # others have no horizon
    between = {"since": since.xid % _XIDS, "until": until.xid % _XIDS}
    with closing(_connect(config, sink)) as connection:
        schema = _schema(config, sink)
        files = dict(connection.execute(_FILES, (schema,)).fetchall())
        for entity, model in config.entities.items():
            if name not in model.sinks or entity not in files:
                continue
            condition = _BETWEEN % {key: repr(str(value)) for key, value in between.items()}
            if since.files.get(entity, files[entity]) != files[entity]:
                yield Leftover(name, entity, None, [], condition)
                continue
            table = sql.Identifier(schema, entity)
            where = sql.SQL(_BETWEEN)
            count = connection.execute(
                sql.SQL("SELECT count(*) FROM {} WHERE ").format(table) + where, between
            ).fetchone()
            assert count is not None  # it returns one
            if count[0]:
                key = sql.SQL(", ").join(map(sql.Identifier, model.key))
                some = sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT {}").format(
                    key, table, where, key, _SHOWN
                )
                keys = [list(map(str, row)) for row in connection.execute(some, between)]
                yield Leftover(name, entity, count[0], keys, condition)


def caught_up(config: ClientConfig, generation: int, timeout_s: float) -> bool:
    """Wait until a client's job has read and written all that its topics hold now; tell whether it has.

    Args:
        config: the client's.
        generation: of the launch that reads again, or the first of several: what the group's offsets said
            before it, tells where the undone version was.
        timeout_s: how long to wait, seconds.
    """
    from confluent_kafka import KafkaException

    from tillstream.io.kafka_client import connection_settings
    from tillstream.runners.capture.following import JobFollower

    until_s = time.monotonic() + timeout_s
    try:
        follower = JobFollower(config, connection_settings(config.kafka, config.client))
    except TillstreamError:
        return False
    try:
        ends = {place: end for topic in config.topics for place, end in follower.ends(topic).items()}
        follower.await_read(ends, until_s, lambda: None, generation)
        # Rows are written when the checkpoint behind them is complete; by the next one they are.
        for _ in range(2):
            follower.await_checkpoint(until_s, lambda: None)
    except (TillstreamError, KafkaException):
        return False
    finally:
        follower.close()
    return True


def letters_since(config: ClientConfig, since: str, until: str) -> int | None:
    """Return how many dead letters of a time are open; None where their store cannot be asked.

    Args:
        config: the client's.
        since: ISO 8601.
        until: ISO 8601.
    """
    from tillstream.io.sinks.letter_store import Filters, open_store

    filters = Filters(since=dt.datetime.fromisoformat(since), until=dt.datetime.fromisoformat(until))
    try:
        with closing(open_store(config)) as store:
            return len(store.select(filters, None))
    except TillstreamError:
        return None


def look_after(
    job: ClientJob, config: ClientConfig, entry: Entry, window: tuple[str, str], wait_s: float
) -> dict[str, Any]:
    """Wait until a roll-back has read again what there was, and say and return what is left of the undone.

    Args:
        job: the client's.
        config: of the version that runs again.
        entry: of the roll-back in the history.
        window: from when to when the undone version may have written, ISO 8601.
        wait_s: how long to wait, seconds.
    """
    again = f"'tillstream rollback {config.client} --leftovers' tells what is left of the undone version"
    if not caught_up(config, entry.generation or 0, wait_s):
        job.say(f"it has not read again all that there was within {wait_s:.0f} s: {again}")
        return {"leftovers": None, "letters": None}
    since, until = (msgspec.convert(entry.horizons.get(name, {}), _HORIZONS) for name in ("since", "until"))
    try:
        found = leftovers(config, since, until)
    except psycopg.Error as error:
        job.say(f"cannot look for what is left ({error}): {again}")
        return {"leftovers": None, "letters": None}
    letters = letters_since(config, *window)
    _tell(config, found, letters, window[0], job.say)
    return {"leftovers": [msgspec.to_builtins(each) for each in found], "letters": letters}


def _tell(config: ClientConfig, found: list[Leftover], letters: int | None, since: str, say: Say) -> None:
    for each in found:
        say(each.line())
    if found:
        names = " ".join(dict.fromkeys(each.entity for each in found))
        say(
            "they are as the undone version wrote them; to make them equal to the source: "
            f"'tillstream resync {config.client} {names}'"
        )
    if letters:
        say(
            f"{letters} dead letters of the undone version are open, to be given up: 'tillstream dlq discard "
            f"CONFIG --since {since[:19]}'"
        )


def _schema(config: ClientConfig, sink: PostgresSink) -> str:
    return sink.schema_name or config.client


def _connect(config: ClientConfig, sink: PostgresSink) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(
        host=sink.host,
        port=sink.port,
        dbname=sink.database,
        user=sink.user,
        password=sink.password.resolve(config.client) if sink.password else None,
        sslmode=sink.sslmode,
        connect_timeout=_TIMEOUT_S,
        application_name=f"tillstream-{config.client}-rollback",
        autocommit=True,
    )
