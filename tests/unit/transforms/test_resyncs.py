"""While a table is read again its rows are delivered again, and then what the source lacks goes."""

from __future__ import annotations

from typing import Any

import pytest

from tillstream.configs import ClientConfig
from tillstream.io.controls import ControlMessage, read_control
from tillstream.pipelines.records import (
    ChangeBatch,
    ChangeRecord,
    MutationBatch,
    MutationKind,
    MutationRecord,
    Operation,
    Position,
)
from tillstream.transforms.api import Parameters
from tillstream.transforms.deduplicate import Entry
from tillstream.transforms.fake_state import FakeState
from tillstream.transforms.flows import Flow
from tillstream.transforms.resyncs import Resyncs
from tillstream.transforms.shard_state import Key, ShardMemory
from tillstream.transforms.transform_changes import TransformChanges

TOPIC = "acme.public.orders"
# Of the log when the resync begins.
BEGIN: Position = (0, 50, 0, 50)


def client(**orders: Any) -> ClientConfig:
    """Return a client of one table."""
    entity = {"topic": TOPIC, "key": ["id"], "contract": {"id": "int64"}, "sinks": ["table"], **orders}
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "k:1"}},
            "entities": {"orders": entity},
            "sinks": {"table": {"type": "postgres", "host": "h", "database": "d", "user": "u"}},
            "flink": {"shards": 1},
        }
    )


class Shard:
    """Run one shard's changes through the stage; a job that is launched again keeps its state."""

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._states = [FakeState() for _ in range(3)]
        self._offset = -1
        self.launch()

    def launch(self) -> None:
        """Set the stage up anew."""
        self._stage = TransformChanges(self._config, generation=1)
        self._stage.setup()

    def read(
        self, *rows: tuple[int, int], op: Operation = Operation.SNAPSHOT, time_us: int | None = None
    ) -> list[tuple[Any, ...]]:
        """Return what is delivered of rows, each a key and its place in the log, by default its time too."""
        records = []
        for key, lsn in rows:
            self._offset += 1
            kind = 0 if op is Operation.SNAPSHOT else 1
            after = None if op is Operation.DELETE else b'{"id":%d}' % key
            position = (0, lsn, kind, lsn)
            at_us = lsn if time_us is None else time_us
            records.append(ChangeRecord(self._offset, op, (key,), position, at_us, None, after))
        return self._take(ChangeBatch("acme", "orders", 0, TOPIC, 0, ("id",), tuple(records)))

    def note(self, entries: dict[Key, Entry]) -> None:
        """Put entries into the state, as an earlier release has left them."""
        memory: ShardMemory[Entry] = ShardMemory(None, Entry)
        found = memory.open(b"s0", self._states[0].cell, self._states[0].bag)
        found.update(entries)
        found.commit()

    def tell(self, control: Any, *starts: int, position: Position = BEGIN) -> list[tuple[Any, ...]]:
        """Return what is delivered when a control message comes."""
        message = ControlMessage(control, "orders", "r1", position, 60, starts)
        found = read_control(self._config, ("tillstream.acme.replay", 0, 3), message.encode())
        assert isinstance(found, list)
        return self._take(found[0])

    def _take(self, batch: ChangeBatch) -> list[tuple[Any, ...]]:
        cells = [cell for each in self._states for cell in (each.cell, each.bag)]
        made = self._stage.process((b"s0", batch.encode()), *cells)
        batches = [MutationBatch.decode(each[1]) for each in made if isinstance(each, tuple)]
        return [(record.kind.value, *record.key) for each in batches for record in each.records]


@pytest.fixture
def shard() -> Shard:
    """Return a shard that has read two rows."""
    found = Shard(client())
    assert found.read((1, 10), (2, 20), op=Operation.CREATE) == [("u", 1), ("u", 2)]
    return found


def test_rows_that_are_known_are_delivered_again_while_a_resync_goes_on(shard: Shard) -> None:
    """Without one a snapshot repeats nothing; with one it writes every row."""
    assert shard.read((1, 45)) == []
    assert shard.tell("resync", 0) == []
    assert shard.read((1, 55), (2, 55)) == [("u", 1), ("u", 2)]


def test_a_snapshot_from_before_the_resync_repeats_nothing(shard: Shard) -> None:
    """Reads with a lower position are of another snapshot."""
    shard.tell("resync", 0)
    assert shard.read((1, 49)) == []


def test_the_sweep_ends_it(shard: Shard) -> None:
    """All older rows go from the table, and snapshots repeat nothing from then on."""
    shard.tell("resync", 0)
    shard.read((1, 55))
    assert shard.tell("sweep", 3) == [("t",)]
    assert shard.read((1, 60)) == []


def test_a_resync_outlives_a_launch(shard: Shard) -> None:
    """What was told is in the job's state."""
    shard.tell("resync", 0)
    shard.launch()
    assert shard.read((1, 55)) == [("u", 1)]
    shard.launch()
    assert shard.tell("sweep", 3) == [("t",)]


def test_a_resync_outlives_the_horizon(shard: Shard) -> None:
    """One that takes longer, or a change that is dated ahead, takes neither reads nor the sweep from it."""
    ahead_us = 10 * client().dedup.horizon_us
    shard.tell("resync", 0)
    assert shard.read((3, 60), op=Operation.CREATE, time_us=ahead_us) == [("u", 3)]
    # Known anew, after the jump.
    assert shard.read((1, 61), op=Operation.UPDATE, time_us=ahead_us) == [("u", 1)]
    assert shard.read((1, 62), time_us=ahead_us) == [("u", 1)]
    assert shard.tell("sweep", 5) == [("t",)]
    assert shard.read((1, 63), time_us=ahead_us) == []


def test_a_note_of_an_earlier_release_is_read(shard: Shard) -> None:
    """It bears an event time, and goes with the horizon."""
    shard.note({("", "resync:", "orders"): (30, BEGIN, 0), ("", "resync, read:", "orders"): (30, (1,), 0)})
    assert shard.read((1, 55)) == [("u", 1)]
    assert shard.tell("sweep", 3) == [("t",)]


def test_rows_that_outlive_a_truncate_outlive_a_sweep() -> None:
    """With on_truncate keep rows are written again, and nothing is deleted."""
    shard = Shard(client(on_truncate="keep"))
    shard.read((1, 10), (2, 20), op=Operation.CREATE)
    shard.tell("resync", 0)
    assert shard.read((1, 55)) == [("u", 1)]
    assert shard.tell("sweep", 4) == []


def test_a_change_that_comes_meanwhile_wins(shard: Shard) -> None:
    """A read that was taken before a change does not take it back."""
    shard.tell("resync", 0)
    assert shard.read((1, 70), op=Operation.UPDATE) == [("u", 1)]
    assert shard.read((1, 70)) == []


def test_nothing_is_swept_where_reads_may_have_been_dropped(shard: Shard) -> None:
    """A shard that had read past the snapshot's beginning before it was told keeps what it has."""
    shard.read((1, 55), (2, 55))
    shard.tell("resync", 0)
    assert shard.tell("sweep", 2) == []


def test_nothing_is_swept_that_was_not_begun(shard: Shard) -> None:
    """A sweep without its beginning, or of another resync, does nothing."""
    assert shard.tell("sweep", 9) == []
    shard.tell("resync", 0)
    assert shard.tell("sweep", 9, position=(0, 51, 0, 51)) == []


def test_rows_that_were_not_read_again_count_as_deleted(shard: Shard) -> None:
    """A late change from before the sweep does not bring its row back."""
    shard.tell("resync", 0)
    shard.read((1, 55))
    shard.tell("sweep", 3)
    assert shard.read((2, 30), op=Operation.UPDATE) == []
    assert shard.read((2, 80), op=Operation.CREATE) == [("u", 2)]


def test_rows_of_a_dofn_with_state_are_not_swept() -> None:
    """It may make nothing of a row that has not changed, so an old row of it is no stale one."""
    flows = [
        Flow("orders", "orders", "copy"),
        Flow("orders", "firsts", "record", parameters=Parameters(states={"seen": object()}, lookups={})),  # type: ignore[dict-item]
    ]
    truncate = MutationRecord(MutationKind.TRUNCATE, (), None, BEGIN, 60, 3)
    made = [
        MutationBatch("acme", name, 0, TOPIC, 0, ("id",), ("id",), (truncate,))
        for name in ("orders", "firsts")
    ]
    sifted = Resyncs(client(), {"orders": flows}).sifted(made)
    assert [batch.entity for batch in sifted] == ["orders"]
