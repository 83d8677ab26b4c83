"""Held keys lie in a state of their own, with a version."""

from __future__ import annotations

import pytest

from tillstream.pipelines.errors import TransformError
from tillstream.pipelines.records import ChangeBatch, ChangeRecord, Operation
from tillstream.transforms.fake_state import FakeState
from tillstream.transforms.flows import using
from tillstream.transforms.keyed_state import StateEntry
from tillstream.transforms.registry import Registry
from tillstream.transforms.replays.holding import Holds
from tillstream.transforms.resolving import resolve
from tillstream.transforms.shard_state import ShardMemory

from .job import Slow, config

# As it lies in checkpoints of version 1: key 7 of `things` waits for letter `abc`, and one change with it.
MARK = bytes.fromhex("0193a36162630001")
EVENT = bytes.fromhex("0198a461636d65a67468696e677300a1740091a26964919707a175910791070ac0c0c0")


def holds(state: FakeState, counters: dict[str, int]) -> Holds:
    """Return the held keys of a state, as a process that just started finds them."""
    memory: ShardMemory[StateEntry] = ShardMemory(None, StateEntry)
    return Holds({"things": 2}, counters, lambda: memory.open(b"s0", state.cell, state.bag))


def change(offset: int) -> ChangeBatch:
    """Return a change of key 7."""
    record = ChangeRecord(offset, Operation.UPDATE, (7,), (offset,), 10, None, None)
    return ChangeBatch("acme", "things", 0, "t", 0, ("id",), (record,))


def test_what_is_kept_back_survives_in_order() -> None:
    """Another process takes it over; what has no room is refused."""
    state, counters = FakeState(), dict[str, int]()
    first = holds(state, counters)
    first.hold("things", (7,), "abc", 10)
    first.hold("things", (7,), "later", 10)
    assert [first.keep_back("things", change(offset)) for offset in (1, 2, 3)] == [True, True, False]
    first.commit()
    second = holds(state, counters)
    assert second.letter_of("things", (7,)) == "abc"
    assert second.keys("things") == [(7,)]
    assert [each.records[0].offset for each in second.take("things", (7,))] == [1, 2]
    second.commit()
    third = holds(state, counters)
    assert (third.any_of("things"), third.keys("things"), third.take("things", (7,))) == (False, [], [])
    assert counters == {"held:": 0, "held:things": 0}


def test_state_of_version_1_stays_readable() -> None:
    """What waits in a checkpoint is found by every later release; other versions are refused."""
    state = FakeState()
    memory: ShardMemory[StateEntry] = ShardMemory(None, StateEntry)
    shard = memory.open(b"s0", state.cell, state.bag)
    shard.update({("k", "things", 7): (10, MARK), ("e", "things", 0, 7): (10, EVENT)})
    shard.put(("k", "things", 8), (10, b"\x02"))
    shard.commit()
    found = holds(state, {"held:": 2, "held:things": 2})
    assert found.letter_of("things", (7,)) == "abc"
    assert found.take("things", (7,)) == [change(7)]
    with pytest.raises(ValueError, match="held key: found version"):
        found.letter_of("things", (8,))


def test_keys_are_held_only_where_they_can_be() -> None:
    """A stage of its own tells what it refuses too late; `validate` says so before the job starts."""
    registry = Registry()
    registry.add(Slow)
    with using(registry), pytest.raises(TransformError, match="'prices': found on_error hold_key, expected"):
        resolve(config(on_error="hold_key", transform="acme.slow@1.0.0"))
