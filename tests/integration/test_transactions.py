"""A transaction of the source becomes visible in the warehouse at once, whatever is killed meanwhile."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import UserError
from tillstream.runners.flink.launch import launch
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.local.capture import register_debezium
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.local.toolchain import ensure_jars

from .jobs.conftest import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(500)]

ROWS, BALANCE = 20, 1000
TABLES = ("accounts", "savings", "audit", "latest", "tokens", "recent")
# After so many transfers the table of the recent ones is truncated.
RECENT_MAX = 25
CREATE = """
create table accounts (id int primary key, balance numeric(12,2) not null);
create table savings (id int primary key, balance numeric(12,2) not null);
create table audit (id bigserial primary key, account int, amount numeric(12,2) not null);
create table latest (id int primary key);
create table tokens (id int primary key);
create table recent (id int primary key);
insert into latest values (0);
insert into tokens values (0);
insert into accounts select id, 1000 from generate_series(1, 20) id;
insert into savings select id, 1000 from generate_series(1, 20) id;
"""
# What a person with read access sees, in one snapshot.
LOOK = """
select (select count(*) from {0}.accounts), (select count(*) from {0}.savings),
(select sum(balance) from {0}.accounts) + (select sum(balance) from {0}.savings),
(select count(*) from {0}.audit), (select coalesce(sum(amount), 0) from {0}.audit),
(select array_agg(id) from {0}.latest), (select array_agg(id) from {0}.tokens),
(select coalesce(array_agg(id order by id), '{{}}') from {0}.recent)
"""
TRANSFERS_MIN = 200
LOOKS_MIN = 10
# A fraction of that is enough where nothing else runs.
WAIT_S = 150.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Return a local stack of this test's own, which captures the tables with their transactions."""
    local = LocalStack.open(tmp_path_factory.mktemp("transactions") / "stack")
    try:
        local.up()
        with psycopg.connect(local.addresses.source.dsn(), autocommit=True) as connection:
            connection.execute(CREATE)
        # With several, a truncate may overtake rows of other partitions (docs/transactions.md).
        admin = AdminClient({"bootstrap.servers": local.addresses.kafka})
        admin.create_topics([NewTopic("bank.public.recent", 1, 1)])["bank.public.recent"].result()
        tables = [f"public.{table}" for table in TABLES]
        register_debezium(local, "bank", "bank", tables, partitions=3, transactions=True)
        yield local
    finally:
        local.down(wipe=True)


def config(stack: LocalStack, client: str, atomicity: str) -> ClientConfig:
    """Return a client that copies the tables."""
    warehouse = stack.addresses.warehouse
    balances = {"id": "int32", "balance": "decimal(12,2)"}
    contracts = {"accounts": balances, "savings": balances}
    contracts |= {table: {"id": "int32"} for table in ("latest", "tokens", "recent")}
    contracts["audit"] = {"id": "int64", "account": "int32", "amount": "decimal(12,2)"}
    model = {
        "client": client,
        "source": {"kafka": {"bootstrap_servers": stack.addresses.kafka}},
        "entities": {
            table: {
                "topic": f"bank.public.{table}",
                "key": ["id"],
                "contract": contracts[table],
                "sinks": ["warehouse"],
            }
            for table in TABLES
        },
        "sinks": {"warehouse": warehouse.as_sink()},
        "delivery": {"checkpoint_interval_ms": 300, "atomicity": atomicity},
        "flink": {"rest_url": stack.addresses.flink, "shards": 4},
    }
    return ClientConfig.model_validate(model)


class Transfers(threading.Thread):
    """Move money between the tables all the time, two entries of the audit each.

    Each transfer has a number, which is the new key of the row in `latest`. It is put in place of the one
    before in `tokens`, and beside the others in `recent`.
    """

    def __init__(self, stack: LocalStack) -> None:
        super().__init__()
        self._dsn = stack.addresses.source.dsn()
        self._ends = threading.Event()
        self.made = 0

    def run(self) -> None:
        """Make transfers until `end`."""
        choose = random.Random(7)  # noqa: S311  (it shuffles, it keeps no secret)
        with psycopg.connect(self._dsn) as connection:
            while not self._ends.wait(0.005):
                amount, first, second = choose.randint(1, 9), choose.randint(1, ROWS), choose.randint(1, ROWS)
                with connection.transaction():
                    connection.execute(
                        "update accounts set balance = balance - %s where id = %s", (amount, first)
                    )
                    connection.execute(
                        "insert into audit (account, amount) values (%s, %s)", (first, -amount)
                    )
                    connection.execute(
                        "update savings set balance = balance + %s where id = %s", (amount, second)
                    )
                    connection.execute(
                        "insert into audit (account, amount) values (%s, %s)", (second, amount)
                    )
                    self._number(connection)
                self.made += 1

    def _number(self, connection: psycopg.Connection[Any]) -> None:
        """Change a key, delete a row, and sometimes truncate before a row is inserted."""
        ((number,),) = connection.execute("update latest set id = id + 1 returning id").fetchall()
        connection.execute("delete from tokens")
        connection.execute("insert into tokens values (%s)", (number,))
        if number % RECENT_MAX == 1:
            connection.execute("truncate recent")
        connection.execute("insert into recent values (%s)", (number,))

    def end(self) -> None:
        """Stop, and wait until it has."""
        self._ends.set()
        self.join()

    @property
    def audits(self) -> int:
        """Return how many entries the audit has."""
        with psycopg.connect(self._dsn) as connection:
            ((found,),) = connection.execute("select count(*) from audit").fetchall()
            return int(found)


def at(number: int) -> tuple[Any, ...]:
    """Return what is seen after a transfer."""
    recent = range(number - (number - 1) % RECENT_MAX, number + 1) if number else ()
    total = 2 * ROWS * BALANCE
    return (ROWS, ROWS, total, 2 * number, 0, (number,), (number,), tuple(recent))


class Reader(threading.Thread):
    """Look at a client's tables all the time, each time in one snapshot."""

    def __init__(self, stack: LocalStack, client: str) -> None:
        super().__init__()
        self._dsn = stack.addresses.warehouse.dsn()
        self._look = LOOK.format(client)
        self._ends = threading.Event()
        self.seen: set[tuple[Any, ...]] = set()

    def run(self) -> None:
        """Look until `end`, from when the snapshot is whole."""
        began = False
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self._ends.wait(0.01):
                try:
                    (found,) = connection.execute(self._look.encode()).fetchall()
                except psycopg.errors.UndefinedTable:
                    continue
                began = began or (found[:2] == (ROWS, ROWS) and None not in found)
                if began:
                    self.seen.add(tuple(tuple(each) if isinstance(each, list) else each for each in found))

    def end(self) -> None:
        """Stop, and wait until it has."""
        self._ends.set()
        self.join()

    @property
    def audits(self) -> int:
        """Return how many entries of the audit have been seen."""
        return max((found[3] for found in list(self.seen)), default=0)

    @property
    def torn(self) -> list[tuple[Any, ...]]:
        """Return what no instant of the source has looked like."""
        return [found for found in self.seen if found != at(found[3] // 2)]


@pytest.fixture
def transfers(stack: LocalStack) -> Iterator[Transfers]:
    """Return transfers that are being made."""
    found = Transfers(stack)
    found.start()
    try:
        yield found
    finally:
        found.end()


@contextmanager
def job(stack: LocalStack, atomicity: str) -> Iterator[Reader]:
    """Run a job, and return who looks at its tables."""
    reader, rest = Reader(stack, atomicity), FlinkRest(stack.addresses.flink)
    launch(config(stack, atomicity, atomicity), ensure_jars().flink_runner)
    reader.start()
    try:
        yield reader
    finally:
        reader.end()
        for job_id in rest.running(atomicity):
            rest.cancel(job_id)


def test_row_by_row_a_transaction_is_seen_in_part(stack: LocalStack, transfers: Transfers) -> None:
    """Else the other test would prove nothing."""
    with job(stack, "row") as reader:
        wait_until(lambda: reader.torn, "a transaction that is seen in part", WAIT_S)
    assert transfers.made > 0


def test_a_transaction_is_visible_at_once(stack: LocalStack, transfers: Transfers) -> None:
    """Sums over two tables hold at every instant, through the kill of a TaskManager.

    So do changed keys, deletes and truncates. What is held goes into no job that delivers row by row.
    """
    with job(stack, "transaction") as reader:
        wait_until(lambda: len(reader.seen) > LOOKS_MIN, "transfers before the kill", WAIT_S)
        stack.kill("taskmanager")
        made = transfers.audits
        stack.up(["taskmanager"])
        wait_until(lambda: reader.audits > made + TRANSFERS_MIN, "transfers after the kill", WAIT_S)
        transfers.end()
        wait_until(lambda: reader.audits == transfers.audits, "all transfers", WAIT_S)
        rest = FlinkRest(stack.addresses.flink)
        (job_id,) = rest.running("transaction")
        savepoint = rest.savepoint(job_id, stop=True)
        with pytest.raises(UserError, match=r"delivery\.atomicity was set from transaction to row"):
            launch(config(stack, "transaction", "row"), ensure_jars().flink_runner, savepoint=savepoint)
    assert reader.torn == []
