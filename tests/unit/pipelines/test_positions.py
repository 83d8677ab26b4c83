"""Positions compare as their sources' logs do."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.positions import (
    CONNECTORS,
    position_of,
    postgres_position,
    reconcile,
    sortable,
)
from tillstream.pipelines.records import Position

# The blocks of Debezium's documentation, section "Data change events" of each connector, without the fields
# that all connectors share and nothing is read from.
DOCUMENTED: dict[str, dict[str, Any]] = {
    "postgresql": {
        "connector": "postgresql",
        "name": "PostgreSQL_server",
        "ts_ms": 1559033904863,
        "snapshot": False,
        "db": "postgres",
        "sequence": '["24023119","24023128"]',
        "schema": "public",
        "table": "customers",
        "txId": 555,
        "lsn": 24023128,
        "xmin": None,
    },
    "mysql": {
        "connector": "mysql",
        "name": "mysql-server-1",
        "ts_ms": 0,
        "snapshot": False,
        "db": "inventory",
        "table": "customers",
        "server_id": 0,
        "gtid": None,
        "file": "mysql-bin.000003",
        "pos": 154,
        "row": 0,
        "thread": 7,
    },
    "mariadb": {"connector": "mariadb", "gtid": None, "file": "mariadb-bin.000003", "pos": 154, "row": 0},
    "sqlserver": {
        "connector": "sqlserver",
        "name": "server1",
        "snapshot": False,
        "db": "testDB",
        "schema": "dbo",
        "table": "customers",
        "change_lsn": "00000027:00000758:0003",
        "commit_lsn": "00000027:00000758:0005",
        "event_serial_no": "1",
    },
    "oracle": {
        "connector": "oracle",
        "name": "server1",
        "txId": "6.28.807",
        "scn": "2122185",
        "commit_scn": "2122186",
        "rs_id": "001234.00012345.0124",
        "ssn": 1,
        "redo_thread": 1,
        "snapshot": False,
        "row_id": "AAASgjAAMAAAACnAAA",
    },
    "mongodb": {
        "connector": "mongodb",
        "name": "fulfillment",
        "ts_ms": 1558965508000,
        "snapshot": False,
        "db": "inventory",
        "rs": "rs0",
        "collection": "customers",
        "ord": 31,
        "h": 1546547425148721999,
    },
}
EXPECTED: dict[str, Position] = {
    "postgresql": (0, 24023128, 1, 24023128),
    "mysql": (0, 0, 3, 154, 1, 0),
    "mariadb": (0, 0, 3, 154, 1, 0),
    "sqlserver": (0, 0x27, 0x758, 5, 1, 0x27, 0x758, 3, 1),
    "oracle": (0, 2122186, 1, 2122185, 0, 0x1234, 0x12345, 0x124, 1, ""),
    "mongodb": (0, 1558965508, 31, 1, 0),
}


def at(connector: str, **changed: Any) -> Position:
    """Return the position of a documented block with some fields changed."""
    return position_of({**DOCUMENTED[connector], **changed})


@pytest.mark.parametrize("connector", CONNECTORS)
def test_documented_blocks_have_positions(connector: str) -> None:
    """Each connector's documented block is read as the module's table says."""
    assert at(connector) == EXPECTED[connector]


def seq(commit: int | None, lsn: int) -> dict[str, Any]:
    """Return Postgres' fields for a last commit and an LSN."""
    last = "null" if commit is None else f'"{commit}"'
    return {"sequence": f'[{last},"{lsn}"]', "lsn": lsn}


UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
IN_ORDER: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "postgres: a transaction that began earlier commits later": (
        "postgresql",
        [seq(100, 150), seq(180, 120), seq(180, 190), seq(300, 250)],
    ),
    "postgres: a fresh slot's first transaction, then the second": (
        "postgresql",
        [seq(None, 110), seq(None, 120), seq(130, 115)],
    ),
    "postgres: a connector restarted within the first transaction": (
        "postgresql",
        [seq(None, 110), seq(105, 120), seq(130, 115)],
    ),
    "postgres: around a snapshot": (
        "postgresql",
        [seq(80, 90), {**seq(None, 200), "snapshot": "last"}, seq(200, 150), seq(210, 220)],
    ),
    "postgres: around an incremental snapshot's chunk": (
        "postgresql",
        [seq(80, 90), {**seq(100, 99), "snapshot": "incremental"}, seq(100, 101)],
    ),
    "mysql: binlogs roll over, also beyond six digits": (
        "mysql",
        [
            {"pos": 900, "row": 1},
            {"file": "mysql-bin.000004", "pos": 4},
            {"file": "mysql-bin.999999", "pos": 4},
            {"file": "mysql-bin.1000000", "pos": 4},
        ],
    ),
    "mysql: rows of one event": ("mysql", [{"row": 0}, {"row": 1}, {"pos": 155}]),
    "mysql: around a snapshot": (
        "mysql",
        [{"pos": 100}, {"pos": 154, "snapshot": "true"}, {"pos": 154}, {"pos": 155}],
    ),
    "mysql: transactions by number, whatever the replica's files": (
        "mysql",
        [
            {},
            {"gtid": f"{UUID}:9", "file": "a.000009", "pos": 9},
            {"gtid": f"{UUID}:10", "file": "b.000001", "pos": 4},
            {"gtid": f"{UUID}:10", "file": "b.000001", "pos": 5},
            {"gtid": f"{UUID}:tag:11", "file": "b.000001", "pos": 4},
        ],
    ),
    "mariadb: transactions by number": (
        "mariadb",
        [{"gtid": "0-1-9"}, {"gtid": "0-1-10"}],
    ),
    "sqlserver: commit, change, serial number": (
        "sqlserver",
        [
            {"commit_lsn": "00000026:00000ac0:0007"},
            {},
            {"event_serial_no": "2"},
            {"event_serial_no": 10},
            {"change_lsn": "00000027:00000758:0004"},
            {"commit_lsn": "00000027:00000ac0:0007", "change_lsn": "00000027:00000758:0001"},
        ],
    ),
    "sqlserver: around a snapshot": (
        "sqlserver",
        [
            {"commit_lsn": "00000027:00000758:0004"},
            {"snapshot": "true", "change_lsn": None, "event_serial_no": None},
            {},
        ],
    ),
    "oracle: by commit, then within the transaction": (
        "oracle",
        [
            {"scn": "2122184"},
            {},
            {"ssn": 2},
            {"rs_id": " 0x001234.00012345.0125 "},
            {"scn": "2000000", "commit_scn": "2122187"},
            {"scn": "2000000", "commit_scn": "10000000000"},
        ],
    ),
    "oracle: around a snapshot, whose block may name a later commit": (
        "oracle",
        [
            {"scn": "2122180", "commit_scn": "2122181"},
            {"scn": "2122185", "commit_scn": "2122199", "snapshot": "true", "txId": None},
            {"scn": "2122180", "commit_scn": "2122186"},
        ],
    ),
    "oracle: without commit SCNs": (
        "oracle",
        [{"scn": "9", "commit_scn": None}, {"scn": "10", "commit_scn": None, "rs_id": None, "ssn": None}],
    ),
    "mongodb: by the oplog's timestamp": (
        "mongodb",
        [
            {"ord": 30},
            {"snapshot": "true"},
            {},
            {"ord": 100},
            {"ts_ms": 1558965509000, "ord": 1},
        ],
    ),
}


@pytest.mark.parametrize("case", IN_ORDER)
def test_positions_follow_the_log(case: str) -> None:
    """What happened later has the greater position, in tuples and in bytes."""
    connector, blocks = IN_ORDER[case]
    positions = [at(connector, **block) for block in blocks]
    assert all(earlier < later for earlier, later in pairwise(positions)), positions
    assert all(earlier < later for earlier, later in pairwise(map(sortable, positions)))


@pytest.mark.parametrize("connector", CONNECTORS)
def test_a_later_epoch_is_newer(connector: str) -> None:
    """When a log starts over, the epoch says so."""
    assert position_of(DOCUMENTED[connector], epoch=1) > position_of(DOCUMENTED[connector])
    assert position_of(DOCUMENTED[connector], epoch=1)[0] == 1


def test_unknown_connectors_have_no_position() -> None:
    """Nothing is guessed about a log that is not known here."""
    assert position_of({"connector": "vitess", "vgtid": "[]"}) == ()
    assert position_of({}) == ()


def test_postgres_without_a_sequence_uses_the_lsn() -> None:
    """Old releases send an LSN alone."""
    assert postgres_position(None, 5, "false") < postgres_position(None, 6, None)


@pytest.mark.parametrize(
    ("connector", "damage"),
    [
        ("postgresql", {"sequence": "[]"}),
        ("postgresql", {"sequence": '["x","1"]'}),
        ("postgresql", {"sequence": '["-1","1"]'}),
        ("postgresql", {"sequence": f'["{1 << 63}","1"]'}),
        ("postgresql", {"sequence": None, "lsn": {}}),
        ("mysql", {"file": "binlog"}),
        ("mysql", {"pos": None}),
        ("mysql", {"gtid": "what"}),
        ("sqlserver", {"commit_lsn": None}),
        ("sqlserver", {"commit_lsn": "1:2"}),
        ("sqlserver", {"change_lsn": "x:y:z"}),
        ("sqlserver", {"event_serial_no": float("inf")}),
        ("oracle", {"scn": None, "commit_scn": None}),
        ("oracle", {"commit_scn": "1.5"}),
        ("mongodb", {"ts_ms": []}),
    ],
)
def test_damaged_blocks_are_refused(connector: str, damage: dict[str, Any]) -> None:
    """A block without its place in the log becomes a dead letter that names the field."""
    with pytest.raises(RecordError, match=r"malformed: found source\.\w+ .*, expected"):
        at(connector, **damage)


def test_a_strange_snapshot_field_is_a_snapshot() -> None:
    """What Debezium does not send counts as a read, which never wins over a newer event."""
    assert at("mysql", snapshot={}) == at("mysql", snapshot="true") < at("mysql")


def test_the_first_transaction_behind_a_snapshot_is_newer() -> None:
    """A transaction that was open when the slot was made follows the read that does not contain it."""
    snapshot = at("postgresql", **seq(None, 100), snapshot="true")
    first = at("postgresql", **seq(None, 90))
    second = at("postgresql", **seq(None, 95))
    later = at("postgresql", **seq(110, 105))
    assert first < snapshot
    better = reconcile(first, snapshot)
    assert better is not None
    best = reconcile(second, better)
    assert best is not None
    assert snapshot < better < best < later
    assert reconcile(first, better) is None
    assert reconcile(first, best) is None
    assert reconcile(snapshot, best) is None
    assert reconcile(at("postgresql", **seq(80, 90)), snapshot) is None
    assert reconcile(second, position_of({**DOCUMENTED["postgresql"], **seq(None, 100)}, epoch=1)) is None


def test_a_snapshot_read_behind_gtids_compares_by_file() -> None:
    """A later snapshot repairs a row that was last known from the stream; an earlier one does not."""
    known = at("mysql", gtid=f"{UUID}:10", pos=200)
    after, before = at("mysql", pos=300, snapshot="true"), at("mysql", pos=200, snapshot="true")
    better = reconcile(after, known)
    assert better is not None
    assert known < better < at("mysql", gtid=f"{UUID}:11", pos=310)
    assert reconcile(before, known) is None
    assert reconcile(at("mysql", pos=300), known) is None


ELEMENTS = st.one_of(st.integers(-(1 << 127), 1 << 127), st.integers(-300, 300))
TEXTS = st.text(st.characters(codec=None), max_size=4) | st.sampled_from(["", "a", "a\0", "a\0\xff", "a\x01"])


@given(st.lists(st.tuples(ELEMENTS, TEXTS, ELEMENTS), min_size=2, max_size=2))
def test_sortable_keeps_the_order(pair: list[tuple[int, str, int]]) -> None:
    """Bytes compare as the tuples do."""
    left, right = pair
    assert (left < right) == (sortable(left) < sortable(right))
    assert (left == right) == (sortable(left) == sortable(right))


@given(st.lists(ELEMENTS, max_size=4).map(tuple), st.lists(ELEMENTS, max_size=4).map(tuple))
def test_sortable_keeps_the_order_of_lengths(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    """A tuple that another one continues comes first."""
    assert (left < right) == (sortable(left) < sortable(right))


def test_numbers_of_no_source_are_refused() -> None:
    """Sixteen bytes are the most that a sortable number takes."""
    with pytest.raises(ValueError, match="expected at most 16"):
        sortable((1 << 128,))
