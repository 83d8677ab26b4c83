"""Give what lies in state a version, so that a later release can tell what an older one wrote."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

__all__ = ["LOOKUPS_VERSION", "Form"]

LOOKUPS_VERSION = 1
_VERSION_BYTE = bytes((LOOKUPS_VERSION,))
_Value = TypeVar("_Value")
_encode = msgspec.msgpack.Encoder().encode


class Form(Generic[_Value]):
    """Be the form of one kind of value: a version byte, then MessagePack.

    Args:
        name: of the kind, for messages.
        kind: its type, as msgspec decodes it; structs may get further fields at their ends.
    """

    def __init__(self, name: str, kind: Any) -> None:
        self._name = name
        self._decode = msgspec.msgpack.Decoder(kind).decode

    def encode(self, value: _Value) -> bytes:
        """Return a value as state holds it."""
        return _VERSION_BYTE + _encode(value)

    def decode(self, state: bytes) -> _Value:
        """Read a value.

        Raises:
            ValueError: if it is damaged, or of a version that this release does not read.
        """
        if state[:1] != _VERSION_BYTE:
            raise ValueError(
                f"{self._name} of lookups: found version {state[:1]!r}, expected {_VERSION_BYTE!r}: "
                "restore it with the release that wrote it"
            )
        value: _Value = self._decode(memoryview(state)[1:])
        return value
