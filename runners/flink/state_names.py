"""Find the names of keyed state at the head of a state file.

Source: Flink 1.19, `KeyedBackendSerializationProxy` and `StateMetaInfoSnapshotReadersWriters`: version,
whether key groups are compressed, the key's serializer, then each state: name, kind of state, options,
serializers. Serializers are written by classes of their own, without their length, so the names cannot be
reached by reading one after the other: each state is known by what follows its name.
"""

from __future__ import annotations

import struct

__all__ = ["HEAD_BYTES_MAX", "state_names"]

# Some four kilobytes a state.
HEAD_BYTES_MAX = 1 << 20
_VERSIONS = range(3, 7)
# The kind (KEY_VALUE), a count of options, and the one option that such a state has.
_SIGN = struct.pack(">iiH", 0, 1, len("KEYED_STATE_TYPE")) + b"KEYED_STATE_TYPE"
_NAME_BYTES_MAX = 512
_INT_BYTES = 4


def state_names(head: bytes) -> tuple[str, ...] | None:
    """Return the names of keyed state in a file, in order; None where it is no file of a keyed backend.

    Args:
        head: the first `HEAD_BYTES_MAX` bytes of it, or all.
    """
    if len(head) < _INT_BYTES or int.from_bytes(head[:_INT_BYTES], "big") not in _VERSIONS:
        return None
    found = set()
    place = head.find(_SIGN)
    while place >= 0:
        name = _name_before(head, place)
        if name is not None:
            found.add(name)
        place = head.find(_SIGN, place + 1)
    return tuple(sorted(found))


def _name_before(head: bytes, end: int) -> str | None:
    # A name holds no null, so only its own length can be read before it.
    for length in range(1, min(_NAME_BYTES_MAX, end - 2)):
        start = end - length
        if int.from_bytes(head[start - 2 : start], "big") == length:
            text = head[start:end].decode("utf-8", errors="replace")
            return text if text.isprintable() else None
    return None
