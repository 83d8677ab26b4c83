"""Few keys spread evenly over Flink's subtasks."""

from __future__ import annotations

from collections import Counter

import pytest

from tillstream.pipelines.sharding import key_group, partition_key, shard_key, shard_subtask


@pytest.mark.parametrize("parallelism", [1, 2, 4, 8, 16])
def test_shards_spread_evenly(parallelism: int) -> None:
    """Each subtask gets the same number of shards, by Flink's own placement formula."""
    groups = [key_group(shard_key(shard, 16, 128), 128) for shard in range(16)]
    subtasks = Counter(group * parallelism // 128 for group in groups)
    assert subtasks == dict.fromkeys(range(parallelism), 16 // parallelism)


def test_key_group_is_the_one_that_flink_computes() -> None:
    """The formula agrees with KeyGroupRangeAssignment.assignToKeyGroup of Flink 1.19."""
    assert [key_group(key, 128) for key in (b"s0#278", b"a", b"")] == [4, 75, 123]


@pytest.mark.parametrize("parallelism", [2, 4])
def test_partitions_of_a_topic_spread(parallelism: int) -> None:
    """No subtask gets more than one partition above its share."""
    for topic in ("acme.public.orders", "bench", "x" * 249):
        groups = [key_group(partition_key(topic, partition, 128), 128) for partition in range(8)]
        subtasks = Counter(group * parallelism // 128 for group in groups)
        assert max(subtasks.values()) <= 8 // parallelism + 1


def test_keys_are_distinct() -> None:
    """Two partitions never share state."""
    keys = {
        partition_key(topic, partition, 128) for topic in ("a", "b", "y" * 240) for partition in range(64)
    }
    assert len(keys) == 192


def test_key_group_of_known_keys() -> None:
    """Keys are part of every savepoint: they must not change between releases."""
    assert shard_key(0, 16, 128) == b"s0#278"
    assert partition_key("acme.public.orders", 0, 128) == b"acme.public.orders/a8056bd4/0#295"


@pytest.mark.parametrize(("shards", "max_parallelism"), [(1, 1), (16, 128), (16, 100), (7, 128), (60, 61)])
def test_a_shards_subtask_is_known(shards: int, max_parallelism: int) -> None:
    """What a sink assumes about who writes a shard is where Flink's formula puts the shard's key."""
    for parallelism in range(1, min(shards, 16) + 1):
        for shard in range(shards):
            group = key_group(shard_key(shard, shards, max_parallelism), max_parallelism)
            subtask = group * parallelism // max_parallelism
            assert shard_subtask(shard, shards, max_parallelism, parallelism) == subtask
