"""Keep one group's totals, as they lie in the state of its shard."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from tillstream.pipelines.errors import TransformError
from tillstream.transforms.aggregates import exact_values
from tillstream.transforms.aggregates.combining import Combine

__all__ = ["GROUP_VERSION", "Group", "GroupEntry", "digest_of", "signature_of"]

# End of the window in microseconds, and the group as below.
GroupEntry: TypeAlias = tuple[int, bytes]
Key: TypeAlias = tuple[Any, ...]

GROUP_VERSION = 1
_VERSION = bytes((GROUP_VERSION,))
_DIGEST_BYTES = 8


class _Kept(msgspec.Struct, array_like=True):
    """Be what state keeps of a group; fields may be appended.

    Attributes:
        signature: of the totals: what they add up.
        count: how many contributions the group has.
        totals: in the order of their names, in the form of `exact_values`.
        written: digest of each row that was written, by key.
        generation: of the launch that wrote them; None where launches cannot be told apart.
    """

    signature: int
    count: int
    totals: bytes
    written: dict[Key, bytes]
    generation: int | None


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(_Kept)


def signature_of(combine: Mapping[str, Combine]) -> int:
    """Return a number that changes whenever what is added up does."""
    return zlib.crc32(repr(sorted(combine.items())).encode())


def digest_of(values: Any) -> bytes:
    """Return what tells a row's values from others."""
    return hashlib.blake2b(_encode(values), digest_size=_DIGEST_BYTES).digest()


class Group:
    """Be one group in one window, while a batch changes it.

    Args:
        name: of the aggregate, for messages.
        combine: what is added up, in the order of the names.
        signature: of that, from `signature_of`.
        entry: what state keeps of the group; None where it is new.

    Attributes:
        count: how many contributions it has.
        written: digest of each of its rows that was written, by key.
        generation: of the launch that wrote them.
    """

    def __init__(
        self, name: str, combine: Mapping[str, Combine], signature: int, entry: GroupEntry | None
    ) -> None:
        self._combine, self._signature = combine, signature
        self._adds = [each.add for each in combine.values()]
        self.count = 0
        self.written: dict[Key, bytes] = {}
        self.generation: int | None = None
        if entry is None:
            self._totals = [each.zero() for each in self._combine.values()]
            return
        kept = self._kept(name, entry[1])
        self.count, self.written, self.generation = kept.count, kept.written, kept.generation
        self._totals = exact_values.decode(kept.totals)

    def add(self, values: Mapping[str, Any], times: int) -> None:
        """Add the values of a contribution, or take them back."""
        self.count += times
        totals = self._totals
        for place, add in enumerate(self._adds):
            totals[place] = add(totals[place], values, times)

    def results(self) -> dict[str, Any]:
        """Return the totals as the author of `rows` sees them."""
        pairs = zip(self._combine.items(), self._totals, strict=True)
        return {name: combine.result(total) for (name, combine), total in pairs}

    def encode(self) -> bytes:
        """Return what state keeps: one version byte, then MessagePack."""
        totals = exact_values.encode(self._totals)
        return _VERSION + _encode(_Kept(self._signature, self.count, totals, self.written, self.generation))

    def _kept(self, name: str, data: bytes) -> _Kept:
        if data[:1] != _VERSION:
            raise ValueError(
                f"aggregate {name!r}: found a group of version {data[:1].hex() or 'none'}, expected 01: "
                "restore it with the release that wrote it"
            )
        try:
            kept = _decoder.decode(memoryview(data)[1:])
        except msgspec.MsgspecError as error:
            raise ValueError(f"aggregate {name!r}: found damaged state: {error}") from error
        if kept.signature != self._signature:
            raise TransformError(
                f"aggregate {name!r}: found state that adds up something else than "
                f"{', '.join(f'{key} = {value!r}' for key, value in self._combine.items())}; expected the "
                "same: give the transform a new name, or start the job anew from the first offset"
            )
        return kept
