"""Give records a binary form.

A frame is one version byte followed by MessagePack. The version rises whenever a field changes its
meaning or its place; a field may be appended at the end without that, because older frames then
decode to the field's default.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
from typing_extensions import Self

__all__ = ["Framed"]

_encode = msgspec.msgpack.Encoder().encode


class Framed(msgspec.Struct, frozen=True, array_like=True):
    """Give a record its versioned binary form."""

    FRAME_VERSION: ClassVar[int] = 1
    _decoder: ClassVar[msgspec.msgpack.Decoder[Any] | None] = None

    def encode(self) -> bytes:
        """Return the frame: one version byte, then MessagePack."""
        return bytes((self.FRAME_VERSION,)) + _encode(self)

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        """Read a frame.

        Raises:
            ValueError: if the frame is damaged, or of a version that this release does not read.
        """
        if not frame or frame[0] != cls.FRAME_VERSION:
            found = frame[0] if frame else "none"
            raise ValueError(
                f"{cls.__name__}: found frame version {found}, expected {cls.FRAME_VERSION}: "
                "read it with the release that wrote it"
            )
        if cls._decoder is None:
            cls._decoder = msgspec.msgpack.Decoder(cls)
        try:
            record: Self = cls._decoder.decode(memoryview(frame)[1:])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ValueError(f"{cls.__name__}: damaged frame: {error}") from error
        return record
