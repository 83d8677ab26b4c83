"""A shard's state is what was committed, whatever happens to bundles, instances and checkpoints."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tillstream.transforms import shard_state
from tillstream.transforms.fake_state import FakeState, Snapshot
from tillstream.transforms.shard_state import Key, Shard, ShardMemory, specs

HORIZON_US = 50
SHARDS = (b"s0", b"s1")
KEYS: list[Key] = [("orders", 1), ("orders", "é"), b"raw", ("", "topic", 0), ("items", 1, 2.5, True)]
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(KEYS), st.integers(0, 200)),
        st.tuples(st.just("delete"), st.sampled_from(KEYS)),
        st.tuples(st.just("count"), st.sampled_from(["sequence", "held"])),
    ),
    max_size=6,
)


class Model:
    """Be what a shard's state should look like: plain dicts."""

    def __init__(self) -> None:
        self.entries: dict[Key, tuple[Any, ...]] = {}
        self.counters: dict[str, int] = {}
        self.newest_us: int | None = None

    def copy(self) -> Model:
        """Return another one with the same contents."""
        other = Model()
        other.entries, other.counters = dict(self.entries), dict(self.counters)
        other.newest_us = self.newest_us
        return other

    def apply(self, operation: tuple[Any, ...], value: int) -> None:
        """Do one operation."""
        kind, key, *time_us = operation
        if kind == "put":
            self.entries[key] = (*time_us, value)
            self.newest_us = max(self.newest_us or 0, *time_us)
        elif kind == "delete":
            self.entries.pop(key, None)
        else:
            self.counters[key] = self.counters.get(key, 0) + 1

    def visible(self) -> dict[Key, tuple[Any, ...]]:
        """Return the entries within the horizon."""
        floor_us = (self.newest_us or 0) - HORIZON_US
        return {key: entry for key, entry in self.entries.items() if entry[0] >= floor_us}


def apply(shard: Shard[Any], operation: tuple[Any, ...], value: int) -> None:
    """Do one operation of the model's on a shard."""
    kind, key, *time_us = operation
    if kind == "put":
        shard.put(key, (*time_us, value))
    elif kind == "delete":
        shard.delete(key)
    else:
        shard.counters[key] = shard.counters.get(key, 0) + 1


class ShardStates(RuleBasedStateMachine):
    """Let instances take turns at shards, fail, and be rolled back to any earlier checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.memories: list[ShardMemory[Any]] = [ShardMemory(HORIZON_US) for _ in range(3)]
        self.states = {key: FakeState() for key in SHARDS}
        self.models = {key: Model() for key in SHARDS}
        self.history: list[dict[bytes, tuple[Snapshot, Model]]] = []
        self.value = 0

    @initialize()
    def checkpoint_of_nothing(self) -> None:
        """Start from nothing, which is also a state to go back to."""
        self.checkpoint()

    def checkpoint(self) -> None:
        """Take a checkpoint of all shards."""
        self.history.append({key: (self.states[key].snapshot(), self.models[key].copy()) for key in SHARDS})

    def open(self, instance: int, key: bytes) -> Shard[Any]:
        """Open a shard and compare it with its model."""
        state, model = self.states[key], self.models[key]
        shard = self.memories[instance].open(key, state.cell, state.bag)
        assert {each: found for each in KEYS if (found := shard.get(each)) is not None} == model.visible()
        assert shard.counters == model.counters
        assert shard.newest_us == model.newest_us
        return shard

    @rule(
        instance=st.integers(0, 2),
        key=st.sampled_from(SHARDS),
        operations=OPERATIONS,
        compact=st.booleans(),
        ending=st.sampled_from(["committed", "committed", "committed", "failed", "thrown away"]),
    )
    def batch(self, instance: int, key: bytes, operations: list[Any], *, compact: bool, ending: str) -> None:
        """Process a batch, which may fail before its commit, or be thrown away with its bundle."""
        before = self.states[key].snapshot()
        model = self.models[key].copy()
        shard = self.open(instance, key)
        for operation in operations:
            self.value += 1
            apply(shard, operation, self.value)
            model.apply(operation, self.value)
        if compact:
            shard.compact()
        if ending == "failed":
            return
        shard.commit()
        if ending == "thrown away":
            self.states[key].restore(before)
        else:
            self.models[key] = model
            self.checkpoint()

    @rule(choice=st.integers(0, 10**6))
    def roll_back(self, choice: int) -> None:
        """Go back to any earlier checkpoint, with the instances' memories as they are."""
        for key, (snapshot, model) in self.history[choice % len(self.history)].items():
            self.states[key].restore(snapshot)
            self.models[key] = model.copy()

    @rule(instance=st.integers(0, 2))
    def restart(self, instance: int) -> None:
        """Start an instance anew."""
        self.memories[instance] = ShardMemory(HORIZON_US)


@pytest.mark.parametrize("slack", [0, 64, 4096])
def test_state_is_what_was_committed(slack: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under failures, roll-backs, compactions and several instances a shard equals a plain dict."""
    monkeypatch.setattr(shard_state, "_SLACK", slack)
    monkeypatch.setattr(shard_state, "_CHUNK_ENTRIES", 2)
    run_state_machine_as_test(
        ShardStates, settings=settings(max_examples=60, stateful_step_count=25, deadline=None)
    )


def opened(memory: ShardMemory[Any], state: FakeState) -> Shard[Any]:
    """Return the only shard."""
    return memory.open(b"s0", state.cell, state.bag)


def test_a_batch_that_changes_nothing_writes_nothing() -> None:
    """Reading alone costs no state, and leaves the memory current."""
    memory, state = ShardMemory[Any](None), FakeState()
    shard = opened(memory, state)
    shard.put(b"k", (1, "v"))
    shard.commit()
    before = state.snapshot()
    index = opened(memory, state)
    index.commit()
    assert state.snapshot() == before
    assert opened(memory, state).index is index.index


def test_a_batch_appends_one_frame_of_what_it_changed() -> None:
    """A second batch writes its own keys only, and a nonce that differs."""
    memory, state = ShardMemory[Any](None), FakeState()
    sizes = []
    for start in (0, 1000):
        shard = opened(memory, state)
        count = 1000 if start == 0 else 1
        shard.update({(start + each,): (each,) for each in range(count)})
        shard.commit()
        sizes.append((len(state.bag.values), len(state.bag.values[-1])))
    assert sizes[0][0] == 1
    assert sizes[1][0] == 2
    assert sizes[1][1] < 20


def test_a_key_may_be_deleted_and_set_again_in_one_batch() -> None:
    """The last word counts, also after a rebuild."""
    memory, state = ShardMemory[Any](None), FakeState()
    for value in ("old", "new"):
        shard = opened(memory, state)
        shard.delete(b"k")
        shard.put(b"k", (1, value))
        shard.put(b"gone", (1, value))
        shard.delete(b"gone")
        shard.commit()
    assert opened(ShardMemory[Any](None), state).index == {b"k": (1, "new")}


def test_memory_is_reused_while_nobody_else_writes() -> None:
    """With the remembered nonce the log is not read; with another instance's it is."""
    first, second, state = ShardMemory[Any](None), ShardMemory[Any](None), FakeState()
    shard = opened(first, state)
    shard.put(b"k", (1, "first"))
    shard.commit()
    assert opened(first, state).index is shard.index
    other = opened(second, state)
    other.put(b"k", (2, "second"))
    other.commit()
    assert opened(first, state).get(b"k") == (2, "second")


def test_the_log_is_compacted_when_deltas_outweigh_live_entries() -> None:
    """Whatever is written over and over, the log stays within twice the live entries and the slack."""
    memory, state = ShardMemory[Any](None), FakeState()
    for batch in range(100):
        shard = opened(memory, state)
        shard.update({(each,): (batch, "value") for each in range(1000)})
        shard.commit()
        assert sum(len(frame) for frame in state.bag.values) < (2 * 1000 + 4096 + 1000) * 20
    assert len(opened(ShardMemory[Any](None), state).index) == 1000


def test_entries_past_the_horizon_leave_the_state() -> None:
    """Keys that come once, as events do, are bounded by the horizon."""
    memory, state = ShardMemory[Any](10_000), FakeState()
    for batch in range(100):
        shard = opened(memory, state)
        shard.update({(batch, each): (batch * 1000,) for each in range(1000)}, batch * 1000)
        shard.commit()
    found = opened(ShardMemory[Any](10_000), state)
    assert found.get((89, 0)) == (89_000,)
    assert found.get((88, 0)) is None
    assert len(found.index) < 35_000


def test_specs_keep_their_names() -> None:
    """The names are part of every savepoint."""
    assert [spec.name for spec in specs("dedup")] == ["dedup_head", "dedup_log"]


# Written by the first release: two frames, the second with a delete, and a counter.
V1_HEAD = "0196c410000102030405060708090a0b0c0d0e0f020400cf000640b5eece000281a873657175656e63652a"
V1_LOG = [
    "0193008292a66f72646572730193cf000640b5eece00009400cf000000059682f00001cf000000059682f000ce12345678c40372617792cf000640b5eece0001a17890",
    "0193018192a66f7264657273a2c3a993cf000640b5eece0002900091c403726177",
]


def test_version_1_is_read() -> None:
    """State that the first release wrote is found whole, and written on by this one."""
    state = FakeState()
    state.restore((bytes.fromhex(V1_HEAD), tuple(map(bytes.fromhex, V1_LOG))))
    memory = ShardMemory[Any](None, tuple[int, tuple[int, ...], int])
    # The frozen log holds an entry of another type, which only an untyped memory reads.
    untyped = opened(ShardMemory[Any](None), state)
    assert untyped.counters == {"sequence": 42}
    assert untyped.newest_us == 1_760_000_000_000_002
    assert untyped.index == {
        ("orders", 1): (1_760_000_000_000_000, [0, 24_000_000_000, 1, 24_000_000_000], 0x12345678),
        ("orders", "é"): (1_760_000_000_000_002, [], 0),
    }
    untyped.delete(("orders", 1))
    untyped.compact()
    untyped.commit()
    assert opened(memory, state).index == {("orders", "é"): (1_760_000_000_000_002, (), 0)}


@pytest.mark.parametrize("damage", [b"", b"\x02\x90", b"\x01\xc1"])
def test_damaged_or_newer_state_is_refused(damage: bytes) -> None:
    """State that cannot be read is never taken for an empty one."""
    state = FakeState()
    state.cell.write(damage)
    with pytest.raises(ValueError, match="shard state: found"):
        opened(ShardMemory[Any](None), state)
    state = FakeState()
    shard = opened(ShardMemory[Any](None), state)
    shard.put(b"k", (1,))
    shard.commit()
    state.bag.add(damage)
    with pytest.raises(ValueError, match="shard state: found"):
        opened(ShardMemory[Any](None), state)
