"""Tests of the made-up traffic."""

from itertools import islice
from typing import Any

from tillstream.runners.demo.schema import TABLES, TABLES_BY_NAME
from tillstream.runners.demo.traffic import Traffic, Transaction


def play(seed: int, count: int) -> list[Transaction]:
    """Return the opening and the first transactions of a seed."""
    traffic = Traffic(seed)
    return [*traffic.opening(customers=50, products=20, stores=4), *islice(traffic.transactions(), count)]


def test_same_seed_gives_the_same_transactions() -> None:
    """A seed alone decides every row of every transaction."""
    assert play(7, 2_000) == play(7, 2_000)


def test_another_seed_gives_other_transactions() -> None:
    """Seeds differ in what they produce."""
    assert play(7, 50) != play(8, 50)


def test_every_table_sees_every_operation() -> None:
    """Inserts, updates and deletes reach all six tables within some thousand transactions."""
    seen = {(s.table, s.operation) for transaction in play(1, 5_000) for s in transaction}
    assert seen == {(t.name, operation) for t in TABLES for operation in ("insert", "update", "delete")}


def test_every_statement_fits_the_rows_before_it() -> None:
    """Only absent keys are inserted, only present ones updated or deleted, references always hold."""
    rows: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {table.name: {} for table in TABLES}
    for transaction in play(3, 5_000):
        for statement in transaction:
            assert statement.rows
            table = TABLES_BY_NAME[statement.table]
            for row in statement.rows:
                key = tuple(row[column] for column in table.key)
                if statement.operation == "insert":
                    assert set(row) == set(table.columns)
                    assert key not in rows[table.name]
                    assert all((row[c],) in rows[other] for c, other in table.references.items())
                    rows[table.name][key] = row
                elif statement.operation == "update":
                    assert set(row) > set(table.key)
                    rows[table.name][key] |= row
                else:
                    del rows[table.name][key]
    for table in TABLES:
        for row in rows[table.name].values():
            assert all((row[column],) in rows[other] for column, other in table.references.items())


def test_keys_come_back_after_a_delete() -> None:
    """Some key is deleted and inserted again, as pipelines must be able to carry in order."""
    deleted: set[tuple[int, int]] = set()
    back = 0
    for transaction in play(2, 5_000):
        for statement in transaction:
            if statement.table == "inventory":
                keys = {(row["store_id"], row["product_id"]) for row in statement.rows}
                back += len(keys & deleted) if statement.operation == "insert" else 0
                deleted |= keys if statement.operation == "delete" else set()
    assert back > 0
