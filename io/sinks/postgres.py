"""Write rows into the tables of a Postgres database, by key."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

import psycopg
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from tillstream.configs import Entity
from tillstream.configs import PostgresSink as PostgresSinkModel
from tillstream.io.sinks.base import Refuse, Sink, Writer
from tillstream.io.sinks.postgres_errors import Cause, cause_of, describe
from tillstream.io.sinks.postgres_growth import Growth
from tillstream.io.sinks.postgres_ledger import PostgresLedger
from tillstream.io.sinks.postgres_letters import insert_letters
from tillstream.io.sinks.postgres_letters_table import ensure_dead_letters
from tillstream.io.sinks.postgres_merge import Connection, Merge
from tillstream.io.sinks.postgres_partial import fold
from tillstream.io.sinks.postgres_salvage import salvage
from tillstream.io.sinks.postgres_sweep import settled, sweep
from tillstream.io.sinks.postgres_tables import ensure_tables
from tillstream.pipelines.errors import SinkError, SinkUnavailableError
from tillstream.pipelines.evolution import evolves
from tillstream.pipelines.records import DeadLetter, MutationBatch, MutationRecord

__all__ = ["PostgresSink"]

_LOG = logging.getLogger(__name__)
_Result = TypeVar("_Result")
_MergeAll: TypeAlias = Callable[[Connection, Sequence[MutationBatch]], None]

_FIRST_PAUSE_S = 0.1
_PAUSE_S_MAX = 5.0
# Bounds how long a lock of someone else, or a server that vanished, holds a bundle.
_SESSION = (
    "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres "
    "-c lock_timeout=10s -c idle_in_transaction_session_timeout=1min"
)
_ANSWER_MS_MAX = 30_000
# Each change widens some column, so that there are few.
_SHAPES_MAX = 100


class PostgresSink(Sink):
    """Write rows into one table an entity: COPY into a temporary table, then merge by key.

    The table has the contract's columns, the entity's key as its primary key, `_source_time`, the commit
    time in the source, and `_source_position`, the place of the row's newest change in the source's order, by
    which a truncate tells the rows that it deletes. It is created if missing, gets the contract's new
    columns, wider types and nullability, also while the job runs where `schema_evolution` is evolve, and is
    never narrowed; widening a type rewrites the table under an exclusive lock. Needs a session of its own: a
    pooler that hands out transactions loses the temporary tables.

    Delivery guarantees:
        With a writer, exactly-once: rows and ledger are committed in one transaction, so that a repeated
        batch is skipped, two writers never both apply it, and a missing one stops the job. A new generation
        that reads older changes again applies them again, in order: until it has caught up, those rows show
        their older state, and then their newest. Without a writer, at-least-once and idempotent by key:
        writing the same rows again ends in the same rows.
        Broken by other writers of the same tables, by triggers that count, and by a database that forgets
        commits (fsync off, or a failover to a replica that lags). Keeps one row of the ledger an entity and
        shard, and one staging table an entity and connection, emptied by each commit.

    Args:
        name: the sink's name in the client's config.
        client: whose rows it writes.
        model: the sink's part of the client's config.
        entities: those whose rows it takes, by name.
        writer: who writes; None for at-least-once.
    """

    guarantee = "exactly-once"
    keeps_values = True
    model: PostgresSinkModel

    def __init__(
        self,
        name: str,
        client: str,
        model: PostgresSinkModel,
        entities: Mapping[str, Entity],
        writer: Writer | None = None,
    ) -> None:
        super().__init__(name, client, model, entities, writer)
        self._schema = model.schema_name or client
        self._ledger = PostgresLedger(self._schema, client, name, writer) if writer is not None else None
        self._connection: Connection | None = None
        self._merges: dict[str, Merge] = {}
        self._evolving = {name: each for name, each in self.entities.items() if evolves(each)}
        self._growth = Growth(self._schema, self._evolving, self._reshape)
        self._prepared: set[str] = set()

    @property
    def address(self) -> str:
        """Return where the sink writes, for messages; holds no secret."""
        return f"{self.model.host}:{self.model.port}/{self.model.database}"

    def open(self) -> None:
        """Connect, then create and widen the tables; raises as Sink.open does."""
        self._merges = {
            name: Merge(self._schema, name, entity)
            for name, entity in self.entities.items()
            if entity.contract is not None
        }
        self._insist_no_row(self._ensure)

    def write(self, batches: Sequence[MutationBatch], refuse: Refuse) -> None:
        """Write batches in one transaction; raises as Sink.write does."""
        self._check_columns(batches)
        try:
            self._insist(lambda connection: self._commit(connection, batches, self._merge))
        except _BadRowError:
            merge = partial(self._salvage, refuse)
            self._insist_no_row(lambda connection: self._commit(connection, batches, merge))

    def write_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Keep dead letters in the client's schema; raises as Sink.write does."""
        self._insist_no_row(lambda connection: insert_letters(connection, self._schema, letters))

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        self._prepared = set()
        if connection is not None:
            connection.close()

    def _ensure(self, connection: Connection) -> None:
        ensure_tables(connection, self._schema, self.entities)
        ensure_dead_letters(connection, self._schema)
        if self._ledger is not None:
            self._ledger.ensure(connection)

    def _reshape(self, connection: Connection, name: str, entity: Entity) -> None:
        self._merges[name] = Merge(self._schema, name, entity)
        if name in self._prepared:
            self._merges[name].forget(connection)
            self._prepared.discard(name)

    def _check_columns(self, batches: Sequence[MutationBatch]) -> None:
        for batch in batches:
            merge = self._merges.get(batch.entity)
            own = self._evolving.get(batch.entity)
            # Beyond the contract's columns come those that evolved.
            many = None if own is None else len(own.columns())
            fits = merge is not None and batch.columns[:many] == merge.columns[:many]
            if merge is None or not fits or batch.key_columns != merge.key_columns:
                raise SinkError(
                    f"sink {self.name}: found a batch of entity {batch.entity!r} with columns "
                    f"({', '.join(batch.columns)}), expected those of its contract: "
                    "it was made under another config; launch the job anew"
                )

    def _commit(self, connection: Connection, batches: Sequence[MutationBatch], merge: _MergeAll) -> None:
        for _ in range(_SHAPES_MAX):
            fitting = self._growth.conform(connection, batches) if self._evolving else batches
            self._prepare(connection, {batch.entity for batch in batches})
            with connection.transaction():
                # Another writer may have changed a table since.
                if self._growth.hold(connection, fitting):
                    self._apply(connection, fitting, merge)
                    return
        raise SinkError(
            f"sink {self.name}: found its tables change {_SHAPES_MAX} times while it wrote to them"
        )

    def _apply(self, connection: Connection, batches: Sequence[MutationBatch], merge: _MergeAll) -> None:
        if self._ledger is None:
            self._sweep_and(merge, connection, batches)
            return
        admission = self._ledger.admit(connection, batches)
        self._sweep_and(merge, connection, admission.batches)
        self._ledger.move(connection, admission)

    def _sweep_and(self, merge: _MergeAll, connection: Connection, batches: Sequence[MutationBatch]) -> None:
        rows, truncates = settled(batches)
        for each in truncates:
            count = sweep(connection, self._schema, each.entity, each.records[0])
            _LOG.info("table %s.%s: a truncate deleted %d rows", self._schema, each.entity, count)
        merge(connection, rows)

    def _collapse(self, batches: Sequence[MutationBatch]) -> dict[str, dict[Any, MutationRecord]]:
        """Return the last mutation of each key of each entity: one statement cannot write a row twice."""
        latest: dict[str, dict[Any, MutationRecord]] = {}
        for batch in batches:
            identify = self._merges[batch.entity].identify
            by_key = latest.setdefault(batch.entity, {})
            if batch.unknown:
                for record in batch.records:
                    key = identify(record.key)
                    by_key[key] = fold(by_key.get(key), batch, record)
                continue
            for record in batch.records:
                by_key[identify(record.key)] = record
        return latest

    def _merge(self, connection: Connection, batches: Sequence[MutationBatch]) -> None:
        for entity, by_key in self._collapse(batches).items():
            self._merges[entity].apply(connection, by_key.values())

    def _salvage(self, refuse: Refuse, connection: Connection, batches: Sequence[MutationBatch]) -> None:
        letters: list[DeadLetter] = []
        for entity, by_key in self._collapse(batches).items():
            own = [batch for batch in batches if batch.entity == entity]
            letters += salvage(self.name, connection, self._merges[entity], list(by_key.values()), own)
        if letters:
            refuse(letters)

    def _prepare(self, connection: Connection, entities: Iterable[str]) -> None:
        for entity in entities:
            if entity not in self._prepared:
                self._merges[entity].prepare(connection)
                self._prepared.add(entity)

    def _insist(self, work: Callable[[Connection], _Result]) -> _Result:
        """Do some work, again on a fresh connection after each outage, as long as the config says."""
        attempts = Retrying(
            retry=retry_if_exception(lambda error: cause_of(error) is Cause.OUTAGE),
            wait=wait_random_exponential(multiplier=_FIRST_PAUSE_S, max=_PAUSE_S_MAX),
            stop=stop_after_delay(self.model.retry_s_max),
            reraise=True,
        )
        try:
            result: _Result = attempts(self._attempt, work)
        except (psycopg.Error, ValueError, TypeError) as error:
            raise self._translate(error) from error
        return result

    def _insist_no_row(self, work: Callable[[Connection], _Result]) -> _Result:
        """Do work as `_insist` does, where no row of a batch can be set aside for what is refused."""
        try:
            return self._insist(work)
        except _BadRowError as error:
            raise self._refusal(str(error)) from error

    def _attempt(self, work: Callable[[Connection], _Result]) -> _Result:
        try:
            if self._connection is None:
                self._connection = self._connect()
                _LOG.info("sink %s: connected to %s as %s", self.name, self.address, self.model.user)
            return work(self._connection)
        except psycopg.Error as error:
            if cause_of(error) is Cause.OUTAGE:
                _LOG.warning("sink %s (%s): %s; trying again", self.name, self.address, describe(error))
                self.close()
            raise

    def _connect(self) -> Connection:
        model = self.model
        return psycopg.connect(
            host=model.host,
            port=model.port,
            dbname=model.database,
            user=model.user,
            password=model.password.resolve(self.client) if model.password else None,
            sslmode=model.sslmode,
            connect_timeout=model.connect_timeout_s,
            application_name=f"tillstream-{self.client}",
            client_encoding="UTF8",
            options=_SESSION,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=_ANSWER_MS_MAX,
            autocommit=True,
        )

    def _translate(self, error: Exception) -> Exception:
        cause = cause_of(error)
        if cause is Cause.ROW:
            return _BadRowError(describe(error))
        if cause is Cause.OUTAGE:
            return SinkUnavailableError(
                f"sink {self.name}: no lasting answer from Postgres at {self.address} within "
                f"{self.model.retry_s_max} s: {describe(error)}: check that the server is up, reachable "
                "from here, and has room"
            )
        if cause is Cause.ENTRY:
            return SinkError(
                f"sink {self.name}: Postgres at {self.address} does not let user {self.model.user!r} in: "
                f"{describe(error)}: check the sink's user, password and database, and the server's "
                "pg_hba.conf"
            )
        return self._refusal(describe(error))

    def _refusal(self, said: str) -> SinkError:
        return SinkError(
            f"sink {self.name}: Postgres at {self.address} refuses: {said}: check the rights "
            f"of user {self.model.user!r} on schema {self._schema!r}, and that its tables are as the sink "
            "left them: it creates and widens them when the job starts"
        )


class _BadRowError(SinkError):
    """Say that some row of a transaction is refused; never leaves this module."""
