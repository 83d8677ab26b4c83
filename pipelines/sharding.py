"""Choose key bytes so that few keys spread evenly over Flink's subtasks.

Flink places a key by `murmur(hash) % max_parallelism` (KeyGroupRangeAssignment), where the hash is that of
the Java ByteBuffer which holds the encoded key. With sixteen keys chance alone would leave one subtask with
far more than its neighbour, so each key carries a salt that puts it into the key group that we want.
"""

from __future__ import annotations

import itertools
import zlib
from functools import lru_cache
from typing import Any

import msgspec

__all__ = ["key_group", "partition_key", "shard_key", "shard_of", "shard_subtask"]

_MASK = 0xFFFFFFFF
# Close to the golden ratio of 128 and odd: successive partitions land far apart at every parallelism.
_PARTITION_STRIDE = 79
_encode = msgspec.json.Encoder().encode


def _signed(value: int) -> int:
    value &= _MASK
    return value - (1 << 32) if value >= 1 << 31 else value


def _buffer_hash(encoded: bytes) -> int:
    """Compute java.nio.ByteBuffer.hashCode over signed bytes, last to first."""
    result = 1
    for byte in reversed(encoded):
        result = (31 * result + (byte - 256 if byte > 127 else byte)) & _MASK  # noqa: PLR2004
    return result


def _murmur(code: int) -> int:
    """Compute org.apache.flink.util.MathUtils.murmurHash."""
    code = (code * 0xCC9E2D51) & _MASK
    code = ((code << 15) | (code >> 17)) & _MASK
    code = (code * 0x1B873593) & _MASK
    code = ((code << 13) | (code >> 19)) & _MASK
    code = (code * 5 + 0xE6546B64) & _MASK
    code ^= 4
    code ^= code >> 16
    code = (code * 0x85EBCA6B) & _MASK
    code ^= code >> 13
    code = (code * 0xC2B2AE35) & _MASK
    code ^= code >> 16
    signed = _signed(code)
    return signed if signed >= 0 else (-signed if signed != -(1 << 31) else 0)


def key_group(key: bytes, max_parallelism: int) -> int:
    """Return the Flink key group of a Beam key of bytes.

    Beam encodes the key in nested context: its length as a varint, then the bytes.

    Args:
        key: shorter than 128 bytes, so that its length takes one byte.
        max_parallelism: the job's number of key groups.
    """
    return _murmur(_buffer_hash(bytes((len(key),)) + key)) % max_parallelism


def _salted(name: bytes, group: int, max_parallelism: int) -> bytes:
    for salt in itertools.count():
        key = name + b"#" + str(salt).encode()
        if key_group(key, max_parallelism) == group:
            return key
    raise AssertionError  # unreachable: count() does not end


@lru_cache(maxsize=4096)
def shard_key(shard: int, shards: int, max_parallelism: int) -> bytes:
    """Return the Beam key of a shard; shards divide the key groups evenly among them."""
    return _salted(f"s{shard}".encode(), _shard_group(shard, shards, max_parallelism), max_parallelism)


def shard_of(entity: str, key: tuple[Any, ...], shards: int) -> int:
    """Return the shard of a row, as codecs place its changes.

    Args:
        entity: part of the hash, so that entities spread apart.
        key: its values, spelt as the entity's codec spells them.
        shards: how many the client has.
    """
    return zlib.crc32(_encode(key), zlib.crc32(entity.encode())) % shards


def shard_subtask(shard: int, shards: int, max_parallelism: int, parallelism: int) -> int:
    """Return the subtask that works on a shard (KeyGroupRangeAssignment.computeOperatorIndexForKeyGroup)."""
    return _shard_group(shard, shards, max_parallelism) * parallelism // max_parallelism


def _shard_group(shard: int, shards: int, max_parallelism: int) -> int:
    return (2 * shard + 1) * max_parallelism // (2 * shards)


@lru_cache(maxsize=65536)
def partition_key(topic: str, partition: int, max_parallelism: int) -> bytes:
    """Return the Beam key of a topic-partition; made of nothing else, so that state is found again."""
    name = f"{zlib.crc32(topic.encode()):08x}/{partition}"
    group = (zlib.crc32(topic.encode()) + partition * _PARTITION_STRIDE) % max_parallelism
    return _salted(f"{topic[-80:]}/{name}".encode()[-100:], group, max_parallelism)
